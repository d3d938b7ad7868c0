"""Judging a run again: the teacher's floor counts as it was audited, one at a time writes, old verdicts are shown."""

import shutil
import sys
from pathlib import Path

import pytest

from mlff_distiller.core.errors import DataError, RunDirectoryError
from mlff_distiller.core.files import write_json
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.recipes.judging import held, judgement, recipe_in, standing_verdict
from mlff_distiller.recipes.recipe import Recipe
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.validation.audit.plan import AuditPlan
from mlff_distiller.validation.audit.result import AuditResult
from mlff_distiller.validation.criteria import CriteriaPlan

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
from judged_run import finish

GOLDEN = Path(__file__).parents[1] / "golden"
QUANTITATIVE = CriteriaPlan(preset="quantitative")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    mae = Measurement("force_mae", 0.03, "eV/A", (0.029, 0.031), 6)
    return finish(tmp_path_factory.mktemp("runs") / "run", {"near": 2.005}, force_mae=mae).path


@pytest.fixture
def directory(finished, tmp_path) -> RunDirectory:
    return RunDirectory(Path(shutil.copytree(finished, tmp_path / "run")))


def audited(directory: RunDirectory, floor: float, *, noted: float | None = None) -> Recipe:
    """Give the run a teacher of this error floor, as if its audit had noted another."""
    found = Measurement("error_floor", floor, "eV/A", (0.9 * floor, 1.1 * floor), 6, {"missing": [], "parts": {}})
    AuditResult({"kind": "ase", "version": "1"}, True, found, []).write(directory.audit_file)
    facts = {"error_floor": floor if noted is None else noted}
    write_json(directory.path / "stages" / "audit.json", {"digest": "x", "elapsed_s": 1.0, "facts": facts})
    return recipe_in(directory.path).model_copy(update={"audit": AuditPlan()})


@pytest.mark.parametrize(("floor", "outcome"), [(0.001, "FAIL"), (0.02, "PASS"), (float("nan"), "FAIL")])
def test_the_audited_floor_counts_under_quantitative(directory, floor, outcome):
    recipe = audited(directory, floor)
    judged = judgement(recipe, directory, criteria=QUANTITATIVE)
    assert judged.verdicts["near"][1].check("force_mae").outcome == outcome
    judged.write(directory.verdict_file)
    assert standing_verdict(directory)["error_floor_eV_per_A"] == (floor if floor == floor else None)


def test_without_an_audit_there_is_no_floor(directory):
    judged = judgement(recipe_in(directory.path), directory, criteria=QUANTITATIVE)
    assert judged.grounds.floor is None
    assert judged.verdicts["near"][1].check("force_mae").outcome == "FAIL"


def test_a_floor_that_was_edited_is_refused(directory):
    recipe = audited(directory, 0.05, noted=0.001)
    with pytest.raises(DataError, match=r"audit.json was changed after it was measured"):
        judgement(recipe, directory, criteria=QUANTITATIVE)


def test_a_run_in_use_is_left_alone(directory):
    with held(directory), pytest.raises(RunDirectoryError, match="is in use by another mlffd"), held(directory):
        pass
    with held(directory):
        pass


def test_a_directory_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError, match="cannot write to"), held(RunDirectory(tmp_path / "file")):
        pass


def test_a_verdict_of_an_older_release_is_shown_as_it_is(directory):
    shutil.copy(GOLDEN / "verdict-v1.json", directory.verdict_file)
    assert standing_verdict(directory)["students"]["tiny"]["verdict"] == "APPROVED"


def test_evidence_measured_anew_makes_the_verdict_stale(directory, tmp_path):
    other = finish(tmp_path / "other", {"near": 2.01})
    shutil.rmtree(directory.evidence("near", "errors"))
    shutil.copytree(other.evidence("near", "errors"), directory.evidence("near", "errors"))
    with pytest.raises(DataError, match="does not follow from what was measured of 'near'"):
        standing_verdict(directory)
