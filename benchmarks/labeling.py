"""Structures a second and overhead of every teacher: direct, through its worker process, batched, in 1 and 2 processes.

Run it with: python benchmarks/labeling.py [KIND ...] [--weights FOLDER] [--blocks 15]

"direct" is our adapter of the teacher in its own environment, called there without a worker process between, with the
same structures; direct and worker take turns block by block, so that both see the same machine, and the overhead is
the median of the ratios of neighboring blocks. "label" is `mlffd`'s labeling as a whole, gates and store included.
Teachers whose environment or weights are not there are left out with the reason. The number of threads is that of the
environment (OMP_NUM_THREADS=1 for small molecules).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ase.build
import numpy as np

import mlff_distiller
from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Silent
from mlff_distiller.core.errors import DistillerError
from mlff_distiller.core.provenance import machine
from mlff_distiller.data.storage.writer import StoreWriter
from mlff_distiller.labeling.label import LabelingPlan, label
from mlff_distiller.potentials.plan import PotentialPlan
from mlff_distiller.potentials.worker.environment import interpreter
from mlff_distiller.potentials.worker.potential import WorkerPotential
from mlff_distiller.sampling.smiles import SmilesSeed
from mlff_distiller.scale.local import LocalPool
from mlff_distiller.teachers import TEACHERS

BATCH = 32
HERE = Path(__file__).parent


def teachers(weights: Path) -> dict[str, tuple[dict[str, Any], str]]:
    """Return settings and system of every teacher that the benchmark knows."""
    fennol, anicc = weights / "fennol" / "ani2x_model0.fnx", weights / "mace" / "ani500k_small_CC.model"
    return {
        "xtb": ({}, "aspirin"),
        "fennol": ({"model": str(fennol)}, "aspirin"),
        "torchani": ({"model": str(weights / "torchani" / "Neurochem"), "member": 0}, "aspirin"),
        "mace": ({"model": str(anicc)}, "aspirin"),
        "sevennet": ({"model": "7net-0"}, "aspirin"),
        "chgnet": ({}, "MgO"),
    }


def system(name: str) -> list[Structure]:
    """Return rattled copies of a system of about 21 atoms."""
    if name == "MgO":
        start = from_ase(ase.build.bulk("MgO", "rocksalt", a=4.2, cubic=True).repeat((3, 1, 1)))
    else:
        start = SmilesSeed(smiles="CC(=O)Oc1ccccc1C(=O)O", name="aspirin").build(1)[0]
    rng = np.random.default_rng(1)
    return [start.moved(start.positions + rng.normal(scale=0.03, size=(len(start), 3))) for _ in range(8 * BATCH)]


class Direct:
    """The teacher in its environment, asked for blocks of calls."""

    def __init__(self, plan: PotentialPlan, structures: list[Structure], folder: Path) -> None:
        python = sys.executable
        if plan.environment is not None:
            python = str(interpreter(plan.environment, plan.kind))
        cls = type(plan)
        listed = [
            {"numbers": s.numbers.tolist(), "positions": s.positions.tolist(), "cell": s.cell.tolist()}
            | {"pbc": s.pbc.tolist()}
            for s in structures
        ]
        settings = plan.model_dump(mode="json", exclude={"environment"})
        given = {"place": f"{cls.__module__}:{cls.__qualname__}", "settings": settings, "structures": listed}
        (folder / "direct.json").write_text(json.dumps(given))
        source = Path(mlff_distiller.__file__).parents[1]
        self._process = subprocess.Popen(
            [python, str(HERE / "labeling_direct.py"), str(folder / "direct.json")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": _only_ours(source, folder)},
        )
        while self._line().strip() != "ready":
            pass

    def seconds(self, batch: int, repeats: int) -> float:
        self._process.stdin.write(f"{batch} {repeats}\n")
        self._process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _line(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            raise DistillerError("the teacher did not start in its environment")
        return line


def _only_ours(source: Path, folder: Path) -> str:
    """Return a folder that holds our package and nothing else of what lies beside it."""
    link = folder / "package" / "mlff_distiller"
    if not link.exists():
        link.parent.mkdir()
        link.symlink_to(source / "mlff_distiller")
    return str(link.parent)


def through(worker: WorkerPotential, structures: list[Structure], batch: int, repeats: int) -> float:
    began = time.perf_counter()
    for _ in range(repeats):
        worker.predict(structures[:batch])
    return time.perf_counter() - began


def compared(direct: Direct, worker: WorkerPotential, structures: list[Structure], batch: int, n_blocks: int) -> Any:
    """Return structures a second direct and through the worker, and the median of the ratios of times."""
    for ask in (direct.seconds, lambda b, r: through(worker, structures, b, r)):
        ask(batch, 2)  # compile and warm up
    repeats = max(1, round(0.5 / max(direct.seconds(batch, 1), 1e-4)))
    pairs = np.array(
        [(direct.seconds(batch, repeats), through(worker, structures, batch, repeats)) for _ in range(n_blocks)]
    )
    rates = repeats * batch / np.median(pairs, axis=0)
    return rates, float(np.median(pairs[:, 1] / pairs[:, 0]))


def labeled(plan: PotentialPlan, structures: list[Structure], folder: Path, n_workers: int) -> float:
    """Return structures a second of labeling as a whole, the start of the processes left out."""
    times = []
    for n, name in ((BATCH * n_workers, "few"), (len(structures), "many")):
        writer = StoreWriter(folder / f"{name}-{n_workers}")
        writer.append(range(n), structures[:n])
        store, began = writer.seal(), time.perf_counter()
        out = folder / f"{name}-{n_workers}-labels"
        label(store, LabelingPlan(), plan, path=out, pool=LocalPool(n_workers), reporter=Silent())
        times.append(time.perf_counter() - began)
    return (len(structures) - BATCH * n_workers) / max(times[1] - times[0], 1e-9)


def rows(kinds: list[str], weights: Path, n_blocks: int) -> Iterator[str]:
    for kind, (settings, name) in teachers(weights).items():
        if kinds and kind not in kinds:
            continue
        try:
            cls = TEACHERS.get(kind)
            environment = {"environment": "installed"} if cls.requirements else {}
            plan = cls.parse({"kind": kind, **settings, **environment}, where=kind)
            with tempfile.TemporaryDirectory() as folder:
                yield row(plan, system(name), Path(folder), n_blocks)
        except DistillerError as error:
            yield f"{kind:10} left out: {error}"


def row(plan: PotentialPlan, structures: list[Structure], folder: Path, n_blocks: int) -> str:
    worker = plan.build(own_process=True)
    direct = Direct(plan, structures, folder)
    try:
        (one, one_worker), single = compared(direct, worker, structures, 1, n_blocks)
        (many, many_worker), batched = compared(direct, worker, structures, BATCH, n_blocks)
    finally:
        direct.close()
        worker.close()
    processes = [labeled(plan, structures, folder, n) for n in (1, 2)]
    cells = f"{len(structures[0]):5d} {one:9.1f} {one_worker:9.1f} {100 * (single - 1):+7.1f}"
    cells += f" {many:9.1f} {many_worker:9.1f} {100 * (batched - 1):+7.1f} {processes[0]:9.1f} {processes[1]:9.1f}"
    return f"{plan.kind:10} {cells}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", help="teachers; all unless named")
    parser.add_argument("--weights", type=Path, default=HERE.parents[1] / "shared" / "teachers")
    parser.add_argument("--blocks", type=int, default=15, help="blocks of about half a second, in turns")
    arguments = parser.parse_args()
    print(f"structures a second; {machine()['processor']}, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS')}")
    print(f"{'':16}  {'one by one':^27}  {'batches of ' + str(BATCH):^27}  {'labeling, processes':^19}")
    pair = f"{'direct':>9} {'worker':>9} {'over %':>7}"
    print(f"{'teacher':10} {'atoms':>5} {pair} {pair} {'1':>9} {'2':>9}")
    for line in rows(arguments.kinds, arguments.weights, arguments.blocks):
        print(line, flush=True)


if __name__ == "__main__":
    main()
