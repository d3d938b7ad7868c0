"""Measurements and arrays come back from disk as they went, judging them again changes nothing, and no edit passes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.evidence import Evidence, Skipped
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.core.provenance import file_digest
from mlff_distiller.potentials.analytic import morse
from mlff_distiller.validation.checks.errors.plan import ForceErrorsPlan
from mlff_distiller.validation.criteria import CriteriaPlan
from mlff_distiller.validation.held_out import HeldOut
from mlff_distiller.validation.records import (
    evidence_digest,
    read_evidence,
    read_measurements,
    write_evidence,
    write_measurements,
)
from mlff_distiller.validation.trial import Trial
from mlff_distiller.validation.verdict import judge

EVIDENCE = Evidence(
    [
        Measurement(
            "force_rmse", 0.3, "eV/A", (0.25, 0.35), 9, {"per_system": {"water": 0.3}, "by_size": {2: 0.1, 10: 0.2}}
        )
    ],
    [Skipped("stress_rmse", "no system is periodic", applies=False)],
    {"errors": np.arange(3.0)},
)


def test_measurements_come_back_with_nan_and_infinity_from_valid_json(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    detail = {"systems": {"a": {"mean": float("nan"), "replicas": [1.0, float("inf")]}}, "note": "x", "n": 3}
    write_measurements(path, [Measurement("a", float("inf"), "eV", (float("-inf"), 2.0), 4, detail)])
    json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    (back,) = read_measurements(path)
    assert (back.value, back.ci95, back.n_samples) == (float("inf"), (float("-inf"), 2.0), 4)
    assert np.isnan(back.detail["systems"]["a"]["mean"])
    assert back.detail["systems"]["a"]["replicas"][1] == float("inf")


def test_judging_from_disk_gives_the_same_verdict(tmp_path: Path) -> None:
    plan = CriteriaPlan()
    found = Evidence(
        [*EVIDENCE.measurements, Measurement("nve_drift", float("nan"), "eV/atom/ps"), Measurement("rdf", 1.2, "")],
        [Skipped("stress_residual", "no system is periodic", applies=False), Skipped("step_time", "no time")],
    )
    write_evidence(tmp_path, found)
    back = read_evidence(tmp_path)
    fresh = judge(found.measurements, plan, skipped=found.skipped)
    again = judge(back.measurements, plan, skipped=back.skipped)
    assert repr(fresh) == repr(again)
    assert fresh.verdict == "INCONCLUSIVE"


def test_evidence_comes_back(tmp_path: Path) -> None:
    frames = [Structure([1, 1], [[0, 0, 0], [0, 0, 0.7 + 0.02 * k]]) for k in range(12)]
    teacher, student = (morse(depth=depth, width=1.9, distance=0.74, cutoff=6.0) for depth in (4.5, 4.6))
    held_out = HeldOut(frames, teacher.predict(frames), [f"s{k // 3}" for k in range(12)], ["H2"] * 12)
    evidence = ForceErrorsPlan().measure(Trial(student, held_out=held_out))
    write_evidence(tmp_path, evidence)
    back = read_evidence(tmp_path)
    assert back.measurements == list(evidence.measurements)
    assert back.skipped == list(evidence.skipped)
    assert list(back.arrays) == list(evidence.arrays)
    for key, value in evidence.arrays.items():
        np.testing.assert_array_equal(back.arrays[key], value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not exist"),
        ("nonsense", "damaged"),
        ("[]", "damaged"),
        ('{"format": "mlffd-measurements", "version": "new", "measurements": []}', "damaged"),
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


def test_a_missing_or_damaged_array_file_is_explained(tmp_path: Path) -> None:
    folder = tmp_path / "nve"
    with pytest.raises(DataError, match="does not exist"):
        read_evidence(folder)
    write_evidence(folder, EVIDENCE)
    arrays = folder / "arrays.npz"
    whole = arrays.read_bytes()
    arrays.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="was changed"):
        read_evidence(folder)
    arrays.unlink()
    with pytest.raises(DataError, match="does not exist"):
        read_evidence(folder)


def test_arrays_that_never_were_any_are_damaged(tmp_path: Path) -> None:
    (tmp_path / "arrays.npz").write_text("no arrays")
    write_measurements(tmp_path / "measurements.json", [], arrays=file_digest(tmp_path / "arrays.npz"))
    with pytest.raises(DataError, match="is damaged"):
        read_evidence(tmp_path)


def test_the_same_evidence_has_the_same_bytes_and_digest(tmp_path: Path) -> None:
    seals = [write_evidence(tmp_path / name, EVIDENCE) for name in "ab"]
    assert seals[0] == seals[1] == evidence_digest(tmp_path / "a")
    for name in ("measurements.json", "arrays.npz"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"value": 0.3', '"value": 0.03'),
        ("0.25", "0.01"),
        ('"n_samples": 9', '"n_samples": 90'),
        ('"applies": false', '"applies": true'),
        ('"water": 0.3', '"water": 0.1'),
        ('"name": "force_rmse"', '"name": "force_mae"'),
        ('"digest": "', '"digest": "0'),
    ],
)
def test_an_edited_number_is_refused(tmp_path: Path, old: str, new: str) -> None:
    write_evidence(tmp_path, EVIDENCE)
    path = tmp_path / "measurements.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    for read in (read_evidence, evidence_digest):
        with pytest.raises(DataError, match=r"was changed after it was measured; delete .* and validate again"):
            read(tmp_path)
    with pytest.raises(DataError, match="was changed"):
        read_measurements(path)


def test_other_arrays_are_refused_and_so_is_evidence_without_a_seal(tmp_path: Path) -> None:
    write_evidence(tmp_path / "a", EVIDENCE)
    write_evidence(tmp_path / "b", replace(EVIDENCE, arrays={"errors": np.arange(4.0)}))
    (tmp_path / "b" / "arrays.npz").replace(tmp_path / "a" / "arrays.npz")
    with pytest.raises(DataError, match=r"arrays\.npz was changed after it was measured"):
        read_evidence(tmp_path / "a")
    write_evidence(tmp_path / "a", EVIDENCE)
    path = tmp_path / "a" / "measurements.json"
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "version": 1}))
    with pytest.raises(DataError, match="older release and has no seal; validate again"):
        read_evidence(tmp_path / "a")
