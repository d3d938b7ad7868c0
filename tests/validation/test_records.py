"""Measurements and arrays come back from disk as they went, and judging them again changes nothing."""

import json
from pathlib import Path

import numpy as np
import pytest

from mlff_distiller.core.errors import DataError
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.checks.force_errors import ForceErrorsPlan, Parity
from mlff_distiller.validation.checks.nve_drift import NVERecord
from mlff_distiller.validation.criteria import CriteriaPlan
from mlff_distiller.validation.records import read_arrays, read_measurements, write_arrays, write_measurements
from mlff_distiller.validation.verdict import judge


def test_measurements_come_back_with_nan_and_infinity_from_valid_json(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    detail = {"systems": {"a": {"mean": float("nan"), "replicas": [1.0, float("inf")]}}, "note": "x", "n": 3}
    write_measurements(path, [Measurement("a", float("inf"), "eV", (float("-inf"), 2.0), 4, detail)])
    json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    (back,) = read_measurements(path)
    assert (back.value, back.ci95, back.n_samples) == (float("inf"), (float("-inf"), 2.0), 4)
    assert np.isnan(back.detail["systems"]["a"]["mean"])
    assert back.detail["systems"]["a"]["replicas"][1] == float("inf")


def test_judging_from_disk_gives_the_same_verdict(tmp_path: Path, report_data) -> None:
    for name, student in report_data.students.items():
        path = tmp_path / f"{name}.json"
        write_measurements(path, student.measurements)
        plan = CriteriaPlan()
        fresh, again = judge(student.measurements, plan), judge(read_measurements(path), plan)
        assert fresh.verdict == again.verdict
        assert [c.outcome for c in fresh.checks] == [c.outcome for c in again.checks]


def test_arrays_come_back(tmp_path: Path, report_data) -> None:
    student = report_data.students["tiny"]
    for name, array, cls in (("parity", student.parity, Parity), ("nve", student.nve, NVERecord)):
        write_arrays(tmp_path / f"{name}.npz", array)
        back = read_arrays(tmp_path / f"{name}.npz", cls)
        for key, value in vars(array).items():
            np.testing.assert_array_equal(getattr(back, key), value)
    plan = ForceErrorsPlan()
    assert plan.summarize(read_arrays(tmp_path / "parity.npz", Parity)) == plan.summarize(student.parity)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not exist"),
        ("nonsense", "damaged"),
        ("[]", "damaged"),
        ('{"format": "other", "version": 1}', "holds no measurements"),
        ('{"format": "mlffd-measurements", "version": 9, "measurements": []}', "version 9"),
        ('{"format": "mlffd-measurements", "version": 1, "measurements": [{"name": "a"}]}', "damaged"),
    ],
)
def test_a_wrong_measurement_file_is_explained(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "m.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_measurements(path)


def test_a_missing_or_damaged_array_file_is_explained(tmp_path: Path, report_data) -> None:
    path = tmp_path / "nve.npz"
    with pytest.raises(DataError, match="does not exist"):
        read_arrays(path, NVERecord)
    write_arrays(path, report_data.students["tiny"].nve)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="damaged"):
        read_arrays(path, NVERecord)
    write_arrays(path, report_data.students["tiny"].parity)
    with pytest.raises(DataError, match="damaged"):
        read_arrays(path, NVERecord)
