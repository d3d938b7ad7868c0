"""``mlffd validate`` judges what it has not trained: an ASE calculator against another, on structures of the user's."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.build
import pytest

BRIEF = [
    "sampling.samplers=[{kind: md, temperatures_K: [300], duration_ps: 0.1, equilibration_ps: 0.02, segment_ps: 0.02,"
    " gap_ps: 0.01, frame_interval_fs: 10, timestep_fs: 2, n_walkers: 2}]",
    "audit.enabled=false",
    "validation.nve.duration_ps=0.2",
    "validation.nve.timestep_fs=2",
    "validation.timestep.duration_ps=0.1",
    "validation.observables.duration_ps=0.05",
    "validation.observables.n_replicas=2",
    "timing.duration_s=0.05",
    "timing.n_blocks=6",
    "timing.memory.n_steps=200",
    "timing.memory.n_warmup_steps=20",
]


def command(folder: Path, out: Path, *more: str) -> list[str]:
    said = ["ase.calculators.emt:EMT", "--teacher", "ase.calculators.emt:EMT"]
    where = ["--structure", str(folder / "cluster.xyz"), "--out", str(out), "-j", "2"]
    settings = [text for setting in BRIEF for text in ("--set", setting)]
    return [sys.executable, "-m", "mlff_distiller.cli.main", "validate", *said, *where, *settings, *more]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("emt")
    cluster = ase.build.bulk("Cu", cubic=True)
    cluster.pbc = False
    cluster.rattle(0.02, seed=1)
    cluster.write(folder / "cluster.xyz")
    return folder


@pytest.fixture(scope="module")
def finished(folder: Path) -> Path:
    result = subprocess.run(command(folder, folder / "out"), capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    assert "report.html" in result.stderr
    return folder / "out"


def verdict(out: Path) -> dict:
    """Return a verdict file without what depends on the speed of the machine."""
    found = json.loads((out / "verdict.json").read_text())
    for one in found["students"].values():
        timed = ("step_time", "teacher_step_time", "speedup", "memory_growth")
        one["checks"] = [check for check in one["checks"] if check["name"] not in timed]
        one["evidence"].pop("timing")
    found.pop("seal")
    return found


def test_a_calculator_that_is_its_own_teacher_makes_no_errors(finished: Path) -> None:
    found = {check["name"]: check for check in verdict(finished)["students"]["EMT"]["checks"]}
    assert found["force_rmse"]["value"] == pytest.approx(0, abs=1e-9)
    assert found["visited_force_rmse"]["value"] == pytest.approx(0, abs=1e-9)
    assert found["force_rmse"]["outcome"] == "PASS"
    assert found["nve_stability"]["value"] == 1.0
    assert "<html" in (finished / "report.html").read_text()[:2000]


def test_what_was_not_shown_does_not_pass(finished: Path) -> None:
    """The runs are far shorter than what approval needs."""
    assert verdict(finished)["students"]["EMT"]["verdict"] == "INCONCLUSIVE"


@pytest.mark.slow
def test_killed_it_goes_on_and_ends_the_same(folder: Path, finished: Path) -> None:
    out = folder / "killed"
    for wait in (3.0, 5.0):
        process = subprocess.Popen(command(folder, out), stderr=subprocess.DEVNULL)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(1.0)  # its workers notice
    subprocess.run(command(folder, out), capture_output=True, timeout=300, check=True)
    assert verdict(out) == verdict(finished)


def test_another_potential_does_not_take_the_same_directory(folder: Path, finished: Path) -> None:
    other = command(folder, finished)
    other[other.index("ase.calculators.emt:EMT")] = "ase.calculators.lj:LennardJones"
    result = subprocess.run(other, capture_output=True, text=True, env=os.environ, timeout=60, check=False)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "holds the run of" in result.stderr
