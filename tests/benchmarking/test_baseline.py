"""Baselines: a planted slowdown is a regression, noise is none, and files that are not what they seem are refused."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.benchmarking import baseline as baselines
from mlff_distiller.benchmarking.baseline import Baseline, compare, matched, read_baseline, write_baseline
from mlff_distiller.benchmarking.benchmark import BenchmarkPlan
from mlff_distiller.benchmarking.comparison import Ratio, paired, unpaired
from mlff_distiller.benchmarking.contenders import Entrant, student_entrants
from mlff_distiller.core.errors import DataError, PlanError
from mlff_distiller.students.checkpoint import save
from mlff_distiller.students.painn.plan import PaiNNPlan
from mlff_distiller.students.student import Student

H2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.75]])
SYSTEMS = {"H2": [H2]}
BRIEF = BenchmarkPlan(seconds=0.4, rounds=12, threads=1)


class Working:
    """A potential that works through a loop of the interpreter of some length."""

    def __init__(self, n: int) -> None:
        self.n = n

    def predict(self, structures, properties=("energy", "forces")):
        total = 0
        for k in range(self.n):
            total += k & 3
        return []


def working(n: int, name: str = "loop") -> Entrant:
    return Entrant(name, "teacher", lambda: Working(n), settings={"kind": "xtb"})


@pytest.mark.slow
def test_a_planted_slowdown_is_a_regression_and_equal_ones_are_none() -> None:
    """Twenty comparisons of equals, and as many of one that takes half as long again, in the same rounds."""
    plan, flagged = BenchmarkPlan(seconds=0.12, rounds=30, threads=1), {1000: 0, 1500: 0}
    for _ in range(20):
        for n in flagged:
            found = plan.measure([working(n, "now"), working(1000, "then")], SYSTEMS)
            now, then = (found.row(name, "H2").rounds_ms for name in ("now", "then"))
            flagged[n] += paired(now, then).outcome(0.1) == "slower"
    assert flagged[1000] <= 1
    assert flagged[1500] >= 18  # 20, where the machine has no others to serve


def test_a_slowdown_is_found_against_a_file_too(tmp_path) -> None:
    write_baseline(tmp_path / "b.json", BRIEF.measure([working(2000)], SYSTEMS), SYSTEMS)
    then = read_baseline(tmp_path / "b.json")
    outcomes = [compare(then, [working(n)], BRIEF)[0][0].ratio.outcome(0.1) for n in (2000, 6000)]
    assert outcomes[0] != "slower"
    assert outcomes[1] == "slower"


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("student") / "hydrogen.safetensors"
    save(Student(PaiNNPlan(preset="ultra-tiny", n_channels=16), {1: -13.6}), path)
    return path


@pytest.fixture(scope="module")
def larger(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("larger") / "new.safetensors"
    save(Student(PaiNNPlan(preset="ultra-tiny", n_channels=256, n_layers=5), {1: -13.6}), path)
    return path


@pytest.fixture(scope="module")
def stored(path, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("baseline") / "baseline.json"
    entrants = student_entrants(path, backends=["kernel"], n_threads=1)
    write_baseline(file, BRIEF.measure(entrants, SYSTEMS), SYSTEMS)
    return file


def fast(path: Path, name: str = "") -> list[Entrant]:
    return student_entrants(path, name=name, backends=["kernel"], n_threads=1)


def test_another_student_is_timed_against_the_one_of_then_in_the_same_rounds(stored, larger) -> None:
    then = read_baseline(stored)
    (change,), found = compare(then, matched(fast(larger), then), BRIEF)
    assert change.ratio.how == "paired"
    assert change.ratio.outcome(0.1) == "slower"
    assert {row.name for row in found.rows} == {"hydrogen", "hydrogen (baseline)"}


def test_the_same_student_is_compared_by_normalized_times(stored, path) -> None:
    then = read_baseline(stored)
    (change,), _ = compare(then, matched(fast(path), then), BRIEF)
    assert change.ratio.how == "normalized"
    assert change.ratio.outcome(0.1) != "slower"


def test_a_student_of_then_that_is_gone_or_changed_is_not_paired(stored, larger, tmp_path) -> None:
    value = json.loads(stored.read_text())
    for entry in value["entries"]:
        entry["file"] = str(tmp_path / "gone.safetensors")
    then = Baseline.parse(value, where="test")
    (change,), _ = compare(then, matched(fast(larger), then), BRIEF)
    assert change.ratio.how == "normalized"
    with pytest.raises(
        DataError, match=r"gone.safetensors, the student 'hydrogen' of the baseline, is no longer there"
    ):
        then.entrants()


def test_what_seems_slower_once_is_measured_once_more(monkeypatch) -> None:
    then = Baseline.of(BRIEF.measure([working(1000)], SYSTEMS), SYSTEMS)
    lengths = [4000, 1000]  # a machine that was busy the first time
    said: list[str] = []
    busy = Entrant("loop", "teacher", lambda: Working(lengths.pop(0)), settings={"kind": "xtb"})
    (change,), _ = compare(then, [busy], BRIEF, tell=said.append)
    assert "what seems slower is measured once more" in said
    assert change.ratio.outcome(0.1) != "slower"


def test_a_baseline_knows_its_machine(stored, monkeypatch) -> None:
    then = read_baseline(stored)
    assert then.is_of_this_machine
    monkeypatch.setattr(baselines, "machine", lambda: {"processor": "other", "cores": 1, "system": "x"})
    assert not then.is_of_this_machine


def test_names_decide_who_is_compared_with_whom(stored, path) -> None:
    then = read_baseline(stored)
    assert [e.name for e in matched(fast(path, "renamed"), then)] == ["hydrogen"]
    two = [*fast(path, "a"), *fast(path, "b")]
    with pytest.raises(DataError, match="the baseline speaks of hydrogen, and of none of what is given"):
        matched(two, then)
    assert [e.name for e in then.entrants()] == ["hydrogen"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda v: v | {"version": 99}, "has format version 99, this release reads up to 1; install a newer one"),
        (lambda v: v | {"format": "x"}, "is no baseline of mlffd"),
        (lambda v: [v], "is no baseline of mlffd"),
        (lambda v: {k: v[k] for k in v if k != "entries"}, "the key 'entries' is missing"),
        (lambda v: v | {"colour": 1}, "unknown key 'colour'"),
    ],
)
def test_wrong_files_are_refused(change: Callable, sentence: str, stored, tmp_path) -> None:
    (tmp_path / "b.json").write_text(json.dumps(change(json.loads(stored.read_text()))))
    with pytest.raises((DataError, PlanError), match=r"b\.json") as refused:
        read_baseline(tmp_path / "b.json")
    assert sentence in str(refused.value)


def test_damaged_and_missing_files_are_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="does not exist; write a baseline first"):
        read_baseline(tmp_path / "b.json")
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(DataError, match="is damaged"):
        read_baseline(tmp_path / "b.json")


@pytest.mark.parametrize("kind", ["paired", "unpaired"])
def test_intervals_hold_what_they_should(kind) -> None:
    rng = np.random.default_rng(0)
    held = []
    for _ in range(400):
        then, now = (np.exp(0.2 * rng.standard_normal(14)) for _ in range(2))
        found = paired(1.3 * now, then) if kind == "paired" else unpaired(1.3 * now, then)
        held.append(found.ci95[0] <= 1.3 <= found.ci95[1])
    assert np.mean(held) >= 0.93


def test_too_few_rounds_decide_nothing() -> None:
    assert Ratio(5.0, (4.0, 6.0), "paired", 3).outcome(0.1) == "too few rounds"
    assert Ratio(0.5, (0.4, 0.6), "paired", 16).outcome(0.1) == "faster"


def test_written_files_hold_versions_machine_and_summaries(stored) -> None:
    value = json.loads(stored.read_text())
    assert value["format"] == "mlffd-baseline"
    assert value["machine"]["cores"] >= 1
    assert "numpy" in value["versions"]
    (entry,) = value["entries"]
    assert {"median_ms", "mean_ms", "p95_ms", "p99_ms", "ns_per_day", "n_calls"} <= set(entry["summary"])
    assert len(entry["sha256"]) == 64
    assert time.strptime(value["created"], "%Y-%m-%dT%H:%M:%SZ")
