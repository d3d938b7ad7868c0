"""Several processes: the same student as one gives, and one sentence when one of them fails."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file
from training_tasks import (
    TRAIN,
    VALIDATION,
    all_explode,
    begin_together,
    history,
    one_fails,
    one_gets_a_signal,
    one_structure,
    plan_with,
    run,
    train_alike_but_data,
    train_together,
)

from mlff_distiller.core.errors import DataError
from mlff_distiller.distillation.distributed import world
from mlff_distiller.distillation.state import TrainingState
from mlff_distiller.distillation.world import World

EXACT = plan_with(dtype="float64", optimizer={"kind": "adamw"}, n_steps=12)


def ended(processes, *, within_s=60.0) -> list[int]:
    """Exit codes, by rank."""
    until = time.monotonic() + within_s
    for process in processes:
        process.join(max(0.1, until - time.monotonic()))
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return codes


def said(folder, size) -> list[str]:
    """Return what the processes said; where the first has gone, torch's library may note that its socket closed."""
    logs = [folder.with_name(f"{folder.name}-{rank}.log").read_text() for rank in range(size)]
    return [re.sub(r"(?ms)^\[rank\d+\]:\[W.*?\n(?=mlffd|Traceback|\Z)", "", log) for log in logs]


def largest_difference(first, second) -> float:
    ours, theirs = (load_file(folder / "best.safetensors") for folder in (first, second))
    return max(float((ours[name].double() - theirs[name].double()).abs().max()) for name in ours)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    run(folder, EXACT)
    return folder


@pytest.mark.parametrize(("size", "parts"), [(2, None), (3, 60)], ids=["2 processes", "3 processes, in parts"])
def test_several_processes_train_as_one_does(tmp_path, alone, size, parts):
    """Batches are of 8, the last of an epoch of 4: neither is divisible by 3."""
    folder = tmp_path / "run"
    assert ended(begin_together(size, train_together, folder, plan_with(EXACT, edges_at_once=parts))) == [0] * size
    assert said(folder, size) == [""] * size
    assert largest_difference(alone, folder) < 1e-10
    assert [row.split(",")[0] for row in history(folder)] == [row.split(",")[0] for row in history(alone)]


def test_parts_of_a_batch_add_up(tmp_path, alone):
    run(tmp_path, plan_with(EXACT, edges_at_once=20))  # one structure at a time
    assert largest_difference(alone, tmp_path) < 1e-10


def test_processes_without_a_share_take_part(tmp_path):
    run(tmp_path / "alone", EXACT, train=TRAIN.subset([0]), validation=VALIDATION.subset([0]))
    assert ended(begin_together(3, one_structure, tmp_path / "run", EXACT)) == [0, 0, 0]
    assert largest_difference(tmp_path / "alone", tmp_path / "run") < 1e-10


@pytest.mark.parametrize("dead", [0, 2])
def test_a_killed_process_ends_all_and_one_says_so(tmp_path, alone, dead):
    folder = tmp_path / "run"
    processes = begin_together(3, one_gets_a_signal, folder, EXACT, dead, 8, signal.SIGKILL)
    codes, logs = ended(processes, within_s=40), said(folder, 3)
    assert codes == [2 if rank != dead else -signal.SIGKILL for rank in range(3)]
    lines = [line for log in logs for line in log.splitlines() if line.startswith("mlffd")]
    assert lines == [
        f"mlffd: process {dead} of 3 died or cannot be reached; what was saved before is kept, "
        "and the same command continues from it"
    ]
    assert not any("Traceback" in log for log in logs)
    assert TrainingState.load(folder / "state.safetensors", digest="d").step == 6
    run(folder, EXACT)  # even alone
    assert largest_difference(alone, folder) < 1e-10


def test_an_error_in_one_process_is_said_by_the_first(tmp_path):
    folder, failure = tmp_path / "run", DataError("shard 3 is gone; copy it again")
    codes = ended(begin_together(3, one_fails, folder, EXACT, 1, 5, failure))
    assert codes == [2, 2, 2]
    assert said(folder, 3) == ["mlffd: process 1 of 3 failed: shard 3 is gone; copy it again\n", "", ""]


def test_a_fault_of_ours_keeps_its_traceback(tmp_path):
    folder = tmp_path / "run"
    codes = ended(begin_together(2, one_fails, folder, EXACT, 1, 5, ZeroDivisionError("division by zero")))
    first, second = said(folder, 2)
    assert codes == [2, 1]
    assert first == "mlffd: process 1 of 2 failed: ZeroDivisionError: division by zero; its traceback says where\n"
    assert "Traceback" in second


def test_divergence_is_seen_by_all_at_the_same_step(tmp_path):
    folder = tmp_path / "run"
    codes = ended(begin_together(2, all_explode, folder, EXACT))
    first, second = said(folder, 2)
    assert (codes, second) == ([2, 2], "")
    assert TrainingState.load(folder / "state.safetensors", digest="d").step == 6
    assert re.fullmatch(r"mlffd: training diverged at step 9 \(.*\n", first)


def test_an_interruption_of_one_stops_all_at_the_same_step(tmp_path, alone):
    folder = tmp_path / "run"
    codes = ended(begin_together(3, one_gets_a_signal, folder, EXACT, 1, 7, signal.SIGTERM))
    assert codes == [130, 130, 130]
    assert said(folder, 3)[1:] == ["", ""]
    assert "training stopped at step 9 of 12, which is saved" in said(folder, 3)[0]
    assert ended(begin_together(2, train_together, folder, EXACT)) == [0, 0]  # with another number of processes
    assert largest_difference(alone, folder) < 1e-10


def test_processes_with_other_data_are_refused(tmp_path):
    folder = tmp_path / "run"
    assert ended(begin_together(2, train_alike_but_data, folder, EXACT)) == [2, 2]
    assert "process 1 has other settings or data than process 0; give all machines" in said(folder, 2)[0]


def test_states_that_are_due_by_the_clock_are_agreed_on(tmp_path):
    folder, plan = tmp_path / "run", plan_with(EXACT, state_interval_s=1e-3, validation_interval=1000)
    assert ended(begin_together(2, train_together, folder, plan)) == [0, 0]


def test_alone_without_torchrun():
    with world() as found:
        assert type(found) is World


SCRIPT = """
import sys; sys.path.insert(0, {tests!r})
from pathlib import Path
import training_tasks as tasks
folder, plan = Path(sys.argv[1]), tasks.plan_with(dtype="float64", optimizer={{"kind": "adamw"}}, n_steps=12)
killed = (tasks.one_gets_a_signal, folder, plan, 1, 8, 9)
work = killed if len(sys.argv) > 2 else (tasks.train_together, folder, plan)
tasks.end_as_the_command_line_does(lambda: tasks.joined(*work))
"""


def torchrun(tmp_path, size, *arguments):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.format(tests=os.path.dirname(__file__)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}", str(script)]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.slow
def test_torchrun_starts_them(tmp_path, alone):
    result = torchrun(tmp_path, 2, str(tmp_path / "run"))
    assert result.returncode == 0, result.stderr
    assert largest_difference(alone, tmp_path / "run") < 1e-10


@pytest.mark.slow
def test_torchrun_leaves_the_first_time_to_say_what_happened(tmp_path):
    result = torchrun(tmp_path, 3, str(tmp_path / "run"), "killed")
    assert result.returncode != 0
    assert result.stderr.count("mlffd: process 1 of 3 died or cannot be reached") == 1
    assert result.stderr.count("mlffd: ") == 1
    assert torch.isfinite(load_file(tmp_path / "run" / "best.safetensors")["network.readout.0.weight"]).all()
