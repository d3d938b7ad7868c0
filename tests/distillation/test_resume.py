"""A run that was killed, at any moment and any number of times, ends with the same bytes as one that was not."""

import signal

import pytest
from training_tasks import (
    PLAN,
    assert_same_files,
    begin,
    killed_after_step,
    killed_at_file_operation,
    killed_while_validating,
    plan_with,
    run,
)

RUNS = {
    "muon, cosine": {"optimizer": {"kind": "muon"}, "schedule": "cosine"},
    "adamw, plateau": {"optimizer": {"kind": "adamw"}, "schedule": "plateau", "plateau_patience": 1},
    "muon, one cycle, float64": {"optimizer": {"kind": "muon"}, "schedule": "one_cycle", "dtype": "float64"},
    "adamw, constant, parts": {"optimizer": {"kind": "adamw"}, "schedule": "constant", "edges_at_once": 60},
}


def died(target, *arguments) -> None:
    process = begin(target, *arguments)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("changes", RUNS.values(), ids=RUNS)
def test_killed_at_many_steps(tmp_path, changes):
    plan = plan_with(**changes)
    run(tmp_path / "whole", plan)
    for step in (1, 5, 6, 7, 12, 14, 17, 23):  # 6, 12 and 18 are validated and saved
        saved_after_each_step = plan_with(plan, state_interval_s=0.0 if step % 2 else 1e9)
        died(killed_after_step, tmp_path / "broken", saved_after_each_step, step)
    run(tmp_path / "broken", plan)
    assert_same_files(tmp_path / "whole", tmp_path / "broken")


@pytest.mark.parametrize("number", [1, 3])
def test_killed_while_validating(tmp_path, number):
    run(tmp_path / "whole")
    died(killed_while_validating, tmp_path / "broken", PLAN, number)
    run(tmp_path / "broken")
    assert_same_files(tmp_path / "whole", tmp_path / "broken")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was left alone, and how many times it wrote, renamed or removed a file."""
    folder = tmp_path_factory.mktemp("whole")
    process = begin(killed_at_file_operation, folder, PLAN, 0)
    process.join(60)
    assert process.exitcode == 0
    return folder, int((folder / "operations").read_text())


def demand_same_after_death_at(number, tmp_path, whole):
    folder = tmp_path / str(number)
    died(killed_at_file_operation, folder, PLAN, number)
    for rest in folder.glob(".*.tmp"):  # half a file may lie beside, where nobody looks
        rest.unlink()
    run(folder)
    assert_same_files(whole[0], folder)


def test_killed_while_writing(tmp_path, whole):
    """The first validation writes five files (last, best, two histories, the state), the others the same places."""
    _, n_operations = whole
    assert n_operations >= 4 * 4 * 2
    for number in (2, 4, 9, n_operations // 2, n_operations - 1, n_operations):
        demand_same_after_death_at(number, tmp_path, whole)


@pytest.mark.slow
def test_killed_at_every_change_of_a_file(tmp_path, whole):
    for number in range(1, whole[1] + 1):
        demand_same_after_death_at(number, tmp_path, whole)


@pytest.mark.slow
def test_killed_with_a_compiled_step(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    plan = plan_with(compile="always", state_interval_s=0.0)
    run(tmp_path / "whole", plan)
    for step in (5, 6, 13):
        died(killed_after_step, tmp_path / "broken", plan, step)
    run(tmp_path / "broken", plan)
    assert_same_files(tmp_path / "whole", tmp_path / "broken")
