"""Small trainings for the tests of this folder, and what their child processes do; imported by name in these."""

import multiprocessing
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch._dynamo  # what optimizers import when they first step, here once for all children
from safetensors.torch import load_file

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DistillerError
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.data.loading.loader import GraphLoader
from mlff_distiller.distillation.distill import Task, distill
from mlff_distiller.distillation.distributed import world
from mlff_distiller.distillation.events import Listener
from mlff_distiller.distillation.plan import TrainingPlan
from mlff_distiller.distillation.trainer import Outcome, Trainer
from mlff_distiller.distillation.world import World
from mlff_distiller.potentials.analytic import morse
from mlff_distiller.students.painn.plan import PaiNNPlan

TEACHER = morse(depth=2.0, width=1.5, distance=1.2, cutoff=3.0)
STUDENT = PaiNNPlan(preset="ultra-tiny", n_channels=4, n_layers=1, n_readout=4, n_radial=4, cutoff=3.0)
PLAN = TrainingPlan(n_steps=24, batch_size=8, validation_interval=6, learning_rate=5e-3)
PAIR = Structure([1, 6], [[0, 0, 0], [0, 0, 1.1]])


def structures(n: int, seed: int, *, periodic: bool = False) -> list[Structure]:
    """Return disturbed corners of a cube: five of them, or a crystal of eight."""
    rng = np.random.default_rng(seed)
    corners = 1.3 * np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])[: 8 if periodic else 5]
    cell = {"cell": 2.6 * np.eye(3), "pbc": True} if periodic else {}
    return [
        Structure(rng.choice([1, 6], len(corners)), corners + rng.normal(0, 0.08, corners.shape), **cell)
        for _ in range(n)
    ]


def clusters(n: int, seed: int, *, periodic: bool = False) -> MolecularDataset:
    frames = structures(n, seed, periodic=periodic)
    return MolecularDataset.from_structures(frames, TEACHER.predict(frames, {"energy", "forces", "stress"}))


TRAIN, VALIDATION = clusters(44, 0), clusters(12, 1)


def run(
    folder: Path,
    plan: TrainingPlan = PLAN,
    *,
    train: MolecularDataset = TRAIN,
    validation: MolecularDataset = VALIDATION,
    seed: int = 3,
    digest: str = "d",
    student: PaiNNPlan = STUDENT,
    **settings: Any,
) -> Outcome:
    task = Task(student, plan, train=train, validation=validation, seed=seed, digest=digest)
    return distill(task, folder, **settings)


def plan_with(plan: TrainingPlan = PLAN, **changes: Any) -> TrainingPlan:
    return TrainingPlan.model_validate(plan.model_dump() | changes)


def loader(data: MolecularDataset, **settings: Any) -> GraphLoader:
    return GraphLoader(data, **{"cutoff": 3.0, "batch_size": 8, "seed": 0} | settings)


def energies_only(frames: list[Structure]) -> MolecularDataset:
    return MolecularDataset.from_structures(frames, [Labels(energy=-1.0 * len(s.numbers)) for s in frames])


def assert_same_files(first: Path, second: Path) -> None:
    """All weights, averages and moments bit for bit, and the history but for the time it took."""
    for name in ("best.safetensors", "last.safetensors", "state.safetensors"):
        ours, theirs = load_file(first / name), load_file(second / name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name
    assert history(first) == history(second)
    assert not list(second.glob("*.tmp"))


def history(folder: Path) -> list[str]:
    return [line.rsplit(",", 1)[0] for line in (folder / "history.csv").read_text().splitlines()]


# Child processes. They fork from a clean process that has imported all this, which takes a moment instead of seconds.

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["training_tasks"])


def begin(target: Callable[..., None], *arguments: Any) -> Any:
    process = CONTEXT.Process(target=target, args=arguments)
    with patch.dict(os.environ, PYTHONPATH=str(Path(__file__).parent)):  # the server's only way to find this module
        process.start()
    return process


class Signal(Listener):
    """Sends itself a signal when so many steps are done."""

    def __init__(self, step: int, number: signal.Signals) -> None:
        self._step, self._number = step, number

    def stepped(self, step: int) -> None:
        if step == self._step:
            os.kill(os.getpid(), self._number)


def killed_after_step(folder: Path, plan: TrainingPlan, step: int) -> None:
    run(folder, plan, listeners=[Signal(step, signal.SIGKILL)])


def killed_at_file_operation(folder: Path, plan: TrainingPlan, kill_at: int) -> None:
    """Die just before the n-th time that a file is opened for writing, renamed or removed; before the 0-th: never."""
    n_operations = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal n_operations
        changes = event in ("os.rename", "os.remove") or (event == "open" and str(arguments[1]) in ("w", "wb"))
        if changes and str(folder) in str(arguments[0]):
            n_operations += 1
            if n_operations == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    run(folder, plan)
    (folder / "operations").write_text(str(n_operations))


def killed_while_validating(folder: Path, plan: TrainingPlan, number: int) -> None:
    """Die in the middle of a validation, with the averaged weights in the student."""
    passes, in_order = 0, GraphLoader.all_in_order

    def dying(self: GraphLoader) -> Any:
        nonlocal passes
        passes += not self.shuffle and len(self) == len(VALIDATION)
        for batch in in_order(self):
            if passes == number:
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch

    GraphLoader.all_in_order = dying  # type: ignore[method-assign]
    run(folder, plan)


def interrupted(folder: Path, plan: TrainingPlan, step: int, number: signal.Signals) -> None:
    """Get a signal after a step; what is said goes to ``error``."""
    os.dup2(os.open(folder.with_name("error"), os.O_CREAT | os.O_WRONLY), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job ignores
    end_as_the_command_line_does(lambda: run(folder, plan, listeners=[Signal(step, number)]))


# Processes that train together.


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def begin_together(size: int, target: Callable[..., None], folder: Path, *arguments: Any) -> list[Any]:
    port = free_port()
    return [begin(in_world, rank, size, port, target, folder, *arguments) for rank in range(size)]


def in_world(rank: int, size: int, port: int, target: Callable[..., None], folder: Path, *arguments: Any) -> None:
    """Do what torchrun and the command line do around a training."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_WORLD_SIZE": str(size)}
    os.dup2(os.open(folder.with_name(f"{folder.name}-{rank}.log"), os.O_CREAT | os.O_WRONLY), 2)
    end_as_the_command_line_does(lambda: joined(target, folder, *arguments))


def joined(target: Callable[..., None], folder: Path, *arguments: Any) -> None:
    with world() as together:
        target(together, folder, *arguments)


def end_as_the_command_line_does(work: Callable[[], None]) -> None:
    code = 0
    try:
        work()
    except DistillerError as error:
        print(f"mlffd: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt as error:
        print(f"mlffd: {error}", file=sys.stderr)
        code = 130
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)


def train_together(together: World, folder: Path, plan: TrainingPlan) -> None:
    run(folder, plan, world=together)


def train_alike_but_data(together: World, folder: Path, plan: TrainingPlan) -> None:
    """Train with a digest of its own in each process."""
    run(folder, plan, world=together, digest=f"data of {together.rank}")


def one_structure(together: World, folder: Path, plan: TrainingPlan) -> None:
    """Train and validate with fewer structures than processes, on batches larger than the data."""
    run(folder, plan, world=together, train=TRAIN.subset([0]), validation=VALIDATION.subset([0]))


def all_explode(together: World, folder: Path, plan: TrainingPlan) -> None:
    """Let the weights of all processes grow beyond all bounds after a few steps."""
    move = Trainer._move

    def exploding(self: Trainer, state: Any) -> None:
        move(self, state)
        if state.step >= 8:
            self.flat.values.data *= 1e300

    Trainer._move = exploding  # type: ignore[method-assign]
    run(folder, plan, world=together)


def one_gets_a_signal(together: World, folder: Path, plan: TrainingPlan, rank: int, step: int, number: int) -> None:
    """Send a signal to one process at the beginning of a step."""
    take = Trainer.step

    def watched(self: Trainer, parts: Any, state: Any, *flags: bool) -> list[bool]:
        if state.step == step and together.rank == rank:
            os.kill(os.getpid(), number)
        return take(self, parts, state, *flags)

    Trainer.step = watched  # type: ignore[method-assign]
    run(folder, plan, world=together)


def one_fails(together: World, folder: Path, plan: TrainingPlan, rank: int, step: int, failure: Exception) -> None:
    """Let one process raise an error in its share of the work."""
    take = Trainer._agreed

    def failing(self: Trainer, *arguments: Any) -> Any:
        failing.calls += 1  # type: ignore[attr-defined]
        if together.rank == rank and failing.calls == step:  # type: ignore[attr-defined]
            raise failure
        return take(self, *arguments)

    failing.calls = 0  # type: ignore[attr-defined]
    Trainer._agreed = failing  # type: ignore[method-assign]
    run(folder, plan, world=together)
