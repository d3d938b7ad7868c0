"""``mlffd compare``: what is better beyond noise, in pairs where both were tested on the same frames."""

import sys
from pathlib import Path

import numpy as np
import pytest

from mlff_distiller.cli.main import main
from mlff_distiller.core.evidence import Evidence
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.recipes.judging import evidence, recipe_in
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.validation.difference import differences

sys.path.insert(0, str(Path(__file__).parent))
from judged_run import finish


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    slow = Measurement("step_time", 5.0, "ms", (4.8, 5.2), 20)
    finish(folder / "a", {"near": 2.050, "far": 2.1})
    finish(folder / "b", {"near": 2.051, "other": 2.0}, step_time=slow)
    return folder


@pytest.fixture
def said(monkeypatch, capsys):
    def call(*arguments) -> tuple[str, int]:
        monkeypatch.setattr(sys, "argv", ["mlffd", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "160")
        with pytest.raises(SystemExit) as ended:
            main()
        out = capsys.readouterr()
        return " ".join((out.out + out.err).split()), int(ended.value.code or 0)

    return call


def found(run: Path, name: str) -> dict[str, Evidence]:
    return evidence(recipe_in(run), RunDirectory(run), name)


def test_two_students_of_a_run_are_named(runs, said):
    text, code = said("compare", f"{runs / 'a'}:near", f"{runs / 'a'}:far")
    assert code == 0
    assert "A (" in text
    assert "far): REJECTED" in text
    assert "A is better beyond noise in: Force RMSE; Force MAE; Force R²" in text
    assert "B is better beyond noise in: nothing." in text


def test_runs_are_compared_student_by_student(runs, said):
    text, _ = said("compare", runs / "a", runs / "b")
    assert "a:near" in text
    assert "far" not in text
    assert "A is better beyond noise in: Force RMSE; Force MAE; Force R²;" in text
    assert "Time per MD step." in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a:far", "b"], "say which students to compare, RUN:STUDENT"),
        (["a:nobody", "b:near"], "there is no 'nobody'"),
        (["a", "nowhere"], "nowhere is no run directory"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(runs, said, monkeypatch, arguments, message):
    monkeypatch.chdir(runs)
    text, code = said("compare", *arguments)
    assert code == 2
    assert message in text


def test_in_pairs_small_differences_show_that_drown_in_the_frames(runs):
    """Both errors rise and fall with the same frames: 50 and 51 meV differ by far less than either's interval."""
    near, nearly = (found(runs / name, "near") for name in "ab")
    row = next(row for row in differences(near, nearly) if row.name == "force_rmse")
    assert row.paired
    assert row.better == "first"
    apart = {check: Evidence(one.measurements) for check, one in nearly.items()}
    alone = next(row for row in differences(near, apart) if row.name == "force_rmse")
    assert not alone.paired
    assert alone.better == ""
    assert alone.value == row.value
    assert alone.ci95[1] - alone.ci95[0] > 5 * (row.ci95[1] - row.ci95[0])


def test_a_potential_does_not_differ_from_itself_and_sides_can_be_swapped(runs):
    near, far = found(runs / "a", "near"), found(runs / "a", "far")
    assert all(row.better == "" and (row.value == 0 or row.value != row.value) for row in differences(near, near))
    swapped = {"first": "second", "second": "first", "": ""}
    for one, other in zip(differences(near, far), differences(far, near), strict=True):
        assert one.better == swapped[other.better]
        if one.ci95 is not None:
            np.testing.assert_allclose(one.ci95, [-end for end in reversed(other.ci95)], rtol=1e-9, atol=1e-15)


def step_time(value: float, half: float) -> dict[str, Evidence]:
    return {"timing": Evidence([Measurement("step_time", value, "ms", (value - half, value + half), 20)])}


def test_equal_potentials_are_told_apart_in_few_of_a_hundred_comparisons():
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(1000):
        one, other = 1.0 + 0.1 * rng.standard_normal(2)
        wrong += differences(step_time(one, 0.196), step_time(other, 0.196))[0].better != ""
    assert 30 <= wrong <= 70


def test_what_is_missing_or_has_no_interval_is_not_called_better():
    number = Measurement("nve_conservation_ratio", 0.1, "", None, 1)
    rows = differences({"nve": Evidence([number])}, {"nve": Evidence([Measurement("nve_drift", 0.0, "", (0, 1), 3)])})
    assert {row.name: (row.better, row.ci95) for row in rows} == {
        "nve_conservation_ratio": ("", None),
        "nve_drift": ("", None),
    }
    exact = [{"observables": Evidence([Measurement("frequency_mae", v, "1/cm")])} for v in (5.0, 4.0)]
    assert differences(*exact)[0].better == "second"
    warm = [{"nve": Evidence([Measurement("nve_temperature", v, "K", (v - 1, v + 1), 3)])} for v in (300.0, 350.0)]
    assert differences(*warm)[0].better == ""
