"""``mlffd verdict`` judges again without running, and nothing but measurements changes a verdict."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from mlff_distiller.cli.main import main
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.recipes import reporting
from mlff_distiller.validation.report import ReportData
from mlff_distiller.validation.verdict import read_verdict

sys.path.insert(0, str(Path(__file__).parent))
from judged_run import DRIFT, finish


@pytest.fixture(scope="module")
def healthy(tmp_path_factory) -> Path:
    return finish(tmp_path_factory.mktemp("runs") / "healthy", {"near": 2.005, "far": 2.9}).path


@pytest.fixture
def run(healthy, tmp_path) -> Path:
    return Path(shutil.copytree(healthy, tmp_path / "run"))


@pytest.fixture
def said(monkeypatch, capsys):
    """Return a function that runs mlffd here and returns what it prints, in one line, and its exit code."""

    def call(*arguments) -> tuple[str, int]:
        monkeypatch.setattr(sys, "argv", ["mlffd", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            main()
        out = capsys.readouterr()
        return " ".join((out.out + out.err).split()), int(ended.value.code or 0)

    return call


@pytest.fixture
def pages(monkeypatch) -> list[ReportData]:
    """What reports are made of; the page itself needs more behind its numbers than these runs have."""
    kept: list[ReportData] = []

    def keep(path: Path, data: ReportData) -> None:
        kept.append(data)
        path.write_text(data.name)

    monkeypatch.setattr(reporting, "write_report", keep)
    return kept


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_run_is_judged_again_and_nothing_is_written(run, said):
    before = files(run)
    text, code = said("verdict", run)
    assert code == 0
    assert "near: APPROVED every required check passes with its whole 95 % interval" in text
    assert "far: REJECTED" in text
    assert "FAIL Force RMSE is" in text
    assert "does not apply: Stress error (no held-out frame is periodic in three directions)" in text
    assert files(run) == before


def test_other_criteria_give_another_verdict_and_say_why(run, said, tmp_path):
    text, _ = said("verdict", run, "--criteria", "quantitative", "--student", "near")
    assert "near: INCONCLUSIVE" in text
    assert "judged by the preset quantitative" in text
    assert "Radial distribution against the teacher was not measured" in text
    assert "far:" not in text
    assert "near: SCREENING ONLY every required check passes" in said("verdict", run, "--criteria", "screening")[0]
    text, _ = said(
        "verdict", run, "--set", "force_rmse.limit=1e-3", "--set", "criteria.force_rmse.screening_limit=9e-2"
    )
    assert "near: SCREENING ONLY FAIL Force RMSE is" in text
    assert "limit ≤ 0.00100; the screening limit ≤ 0.0900 is kept." in text
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"criteria": {"force_rmse": {"limit": 1e-6, "screening_limit": 1e-6}}}))
    assert "near: REJECTED" in said("verdict", run, "--criteria", file)[0]


def test_an_undecided_check_says_what_would_settle_it(tmp_path, said):
    drift = Measurement("nve_drift_percent", 0.9, "%", (0.6, 1.2), 3, DRIFT | {"half_width": 0.3, "scaling": -2.0})
    run = finish(tmp_path / "run", {"near": 2.005}, nve_drift_percent=drift).path
    text, _ = said("verdict", run)
    assert "near: INCONCLUSIVE" in text
    assert "limit ≤ 1.00: undecided. About" in text
    assert "ps more per run (validation.nve.duration_ps:" in text
    assert "more replicas of each system (validation.nve.n_replicas) would settle it." in text


@pytest.mark.parametrize(
    ("more", "student", "code"),
    [(["--require", "approved"], "near", 0), (["--require", "approved"], "far", 1), ([], "far", 0)],
)
def test_the_exit_code_speaks_only_when_asked(run, said, more, student, code):
    assert said("verdict", run, "--student", student, *more)[1] == code


def test_all_students_must_reach_what_is_required(run, said):
    assert said("verdict", run, "--require", "approved")[1] == 1
    screening = ["--criteria", "screening", "--student", "near"]
    assert said("verdict", run, *screening, "--require", "screening")[1] == 0
    assert said("verdict", run, *screening, "--require", "approved")[1] == 1


def test_written_anew_the_verdict_says_by_which_criteria(run, said, pages):
    before = read_verdict(run / "verdict.json")
    text, _ = said("verdict", run, "--write")
    assert "Written:" in text
    assert read_verdict(run / "verdict.json") == before
    said("verdict", run, "--criteria", "screening", "--write")
    assert [data.recipe["criteria"]["preset"] for data in pages] == ["production", "screening"]
    assert [data.students["near"].verdict.verdict for data in pages] == ["APPROVED", "SCREENING_ONLY"]
    assert (run / "report.html").exists()
    value = read_verdict(run / "verdict.json")
    assert value["criteria"]["preset"] == "screening"
    assert value["students"]["near"]["verdict"] == "SCREENING_ONLY"
    assert "verdict        near: SCREENING ONLY" in "".join(f"{line}\n" for line in describe(run))


def describe(run: Path) -> list[str]:
    from mlff_distiller.cli.info import describe

    return list(describe(run))


def test_a_waiver_is_signed_and_leaves_the_verdict(run, said, pages):
    arguments = ["--waive", "force_rmse", "--reason", "only the shape of it matters", "--signed", "A. Chemist"]
    text, _ = said("verdict", run, *arguments, "--student", "far")
    assert "far: REJECTED" in text
    assert "only the shape of it matters. The verdict stays as it is." in text
    value = read_verdict(run / "verdict.json")
    assert [waiver["signed"] for waiver in value["waivers"]] == ["A. Chemist"]
    assert value["students"]["far"]["verdict"] == "REJECTED"
    shown = {name: [waiver.signed for waiver in one.verdict.waivers] for name, one in pages[0].students.items()}
    assert shown == {"near": [], "far": ["A. Chemist"]}
    assert "force_rmse of far is waived by A. Chemist" in said("verdict", run)[0]
    again = [*arguments[:3], "a better reason", *arguments[4:], "--student", "far"]
    assert "only the shape" not in said("verdict", run, *again)[0]
    assert len(read_verdict(run / "verdict.json")["waivers"]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--waive", "force_rmse"], "a waiver is signed: give --reason"),
        (["--reason", "because"], "name the check with --waive"),
        (
            ["--waive", "nve_drit", "--reason", "a", "--signed", "b"],
            "unknown check 'nve_drit' in a waiver (did you mean",
        ),
        (
            ["--waive", "force_mae", "--reason", "a", "--signed", "b", "--criteria", "screening"],
            "leave --criteria and --set out, or add --write",
        ),
        (["--criteria", "productive"], "no preset of criteria (did you mean 'production'?)"),
        (["--criteria", "nowhere.yaml"], "nowhere.yaml does not exist"),
        (["--set", "force_rmse.limit=5"], "a verdict cannot be loosened; sign a waiver instead"),
        (["--set", "nve_duration.required=false"], "a verdict cannot be loosened; sign a waiver instead"),
        (["--set", "force_rms.limit=0.1"], "unknown key 'force_rms' (did you mean 'force_rmse'?)"),
        (["--student", "middle"], "there is no 'middle'"),
        (["--require", "good"], "give approved or screening"),
    ],
)
def test_wrong_uses_are_one_sentence_and_change_nothing(run, said, arguments, message):
    before = files(run)
    text, code = said("verdict", run, *arguments)
    assert code == 2
    assert message in text
    assert {name: content for name, content in files(run).items() if name != ".lock"} == before


def test_a_directory_without_a_verdict_is_one_sentence(tmp_path, said):
    assert "is no run directory" in said("verdict", tmp_path)[0]
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "recipe.yaml").write_text("students: {}\n")
    assert "has no verdict; validate its students first" in said("verdict", tmp_path)[0]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_an_edited_number_is_refused_everywhere(run, said):
    edit(run / "validation" / "far" / "nve" / "measurements.json", '"value": 10.0', '"value": 50.0')
    for arguments in (["verdict", run], ["verdict", run, "--write"], ["compare", f"{run}:near", f"{run}:far"]):
        text, code = said(*arguments)
        assert code == 2
        assert "measurements.json was changed after it was measured" in text
    assert any("verdict none that stands:" in " ".join(line.split()) for line in describe(run))
    assert not any("APPROVED" in line or "REJECTED" in line for line in describe(run))


def test_what_was_measured_with_other_settings_is_no_evidence(run, said):
    """As after a change of the recipe, when the run was killed before its students were measured again."""
    edit(run / "recipe.yaml", "n_steps: ", "n_steps: 1")
    text, code = said("verdict", run)
    assert code == 2
    assert "with its present settings; continue the run before" in text


@pytest.mark.usefixtures("pages")
def test_an_edited_verdict_is_refused(run, said):
    edit(run / "verdict.json", "REJECTED", "APPROVED")
    text, code = said("info", run)
    assert code == 2
    assert "verdict.json was changed after it was written" in text
    text, _ = said("verdict", run, "--write")
    assert "far: REJECTED" in text
    assert "verdict        far: REJECTED" in describe(run)


def test_a_sealed_verdict_that_does_not_follow_is_refused(run, said):
    """Whoever seals an edited verdict anew meets the measurements."""
    from mlff_distiller.core.provenance import digest

    value = json.loads((run / "verdict.json").read_text())
    del value["seal"]
    value["students"]["far"]["verdict"] = "APPROVED"
    (run / "verdict.json").write_text(json.dumps({**value, "seal": digest(value)}))
    text, _ = said("info", run)
    assert "does not follow from what was measured of 'far'; judge again with" in text
    assert "far: APPROVED" not in text


def test_while_something_is_measured_anew_the_rest_of_a_run_is_still_described(run):
    shutil.rmtree(run / "validation" / "near" / "nve")
    lines = describe(run)
    assert lines[0].startswith("run            clusters")
    assert "none that stands" in lines[-1]
    shutil.copy(Path(__file__).parents[1] / "golden" / "verdict-v1.json", run / "verdict.json")
    assert (
        describe(run)[-1] == "verdict        tiny: APPROVED (by an older release, not held against what was measured)"
    )


def test_evidence_that_was_sealed_anew_is_not_what_the_stage_noted(run, said):
    from mlff_distiller.validation.records import evidence_digest, read_evidence, write_evidence

    folder = run / "validation" / "far" / "errors"
    stage = run / "stages" / "validate-far-errors.json"
    record = json.loads(stage.read_text()) | {"facts": {"evidence": evidence_digest(folder)}}
    stage.write_text(json.dumps(record))
    assert "far: REJECTED" in said("verdict", run)[0]
    better = read_evidence(run / "validation" / "near" / "errors")
    write_evidence(folder, better)
    text, code = said("verdict", run)
    assert code == 2
    assert "errors was changed after it was measured; delete it and validate again" in text


def test_two_runs_of_the_same_seed_have_the_same_verdict_but_for_times(tmp_path):
    slow = Measurement("step_time", 2.0, "ms", (1.9, 2.1), 20)
    first = finish(tmp_path / "a", {"near": 2.005}).verdict_file.read_bytes()
    assert finish(tmp_path / "b", {"near": 2.005}).verdict_file.read_bytes() == first
    values = [
        json.loads(first),
        json.loads(finish(tmp_path / "c", {"near": 2.005}, step_time=slow).verdict_file.read_bytes()),
    ]
    for value in values:
        del value["seal"]
        del value["students"]["near"]["evidence"]["timing"]
        value["students"]["near"]["checks"] = [
            check for check in value["students"]["near"]["checks"] if check["name"] != "step_time"
        ]
    assert values[0] == values[1]
    assert str(tmp_path) not in first.decode()
