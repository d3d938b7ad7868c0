"""Structures a second of a training step, ours beside those of graph-pes' and SchNetPack's PaiNN of equal width.

    python benchmarks/training.py [--preset tiny] [--json FILE] [--graph-pes PYTHON] [--schnetpack PYTHON]

A step is: energies and forces of a batch, the loss (energies 1 : forces 100, mean squares), its gradient by a second
backward pass, and AdamW; ours includes the learning rate's schedule, clipping and averaging of the weights, theirs do
not. Neighbors are searched and batches collated before, for all engines alike; all get the same structures and pairs,
float32 and one thread, as many layers, channels and radial functions, and the same cutoff. "compiled" is a library's
step through torch.compile, where that works as it comes.

Each engine is a process of its own. They take turns, block by block of all batches, so that all see the same machine.
Rates are of the process's CPU time, which with one thread is the time on an idle machine and does not grow where the
machine has other work; the wall-clock rate stands beside it in the JSON lines. Ratios are medians over the rounds of
our rate / the engine's, with the quartiles.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from training_peers.serving import Data, Engine, serve

from mlff_distiller import __version__
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.neighbors import find_edges
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.provenance import machine
from mlff_distiller.sampling.smiles import SmilesSeed
from mlff_distiller.students.painn.plan import PRESETS, PaiNNPlan
from mlff_distiller.teachers.xtb import XTBPlan

HERE = Path(__file__).parent
SMILES = "CCO,C[C@H](N)C(=O)O,c1ccccc1,CC(=O)O"
AMPLITUDE = 0.05
OURS = "mlffd"
MODES = ("eager", "compiled")
INSTALL = {
    "graph-pes": "python3 -m venv ENV; ENV/bin/pip install torch; ENV/bin/pip install graph-pes",
    # Its pin of sympy keeps pip from choosing the newest release beside a torch of today.
    "schnetpack": "python3 -m venv ENV; ENV/bin/pip install torch; ENV/bin/pip install schnetpack==2.0.4 matscipy; "
    "ENV/bin/pip install --no-deps schnetpack==2.1.1",
}
PEERS = {"graph-pes": "graph_pes_painn.py", "schnetpack": "schnetpack_painn.py"}

Engines = dict[tuple[str, str], str]
"""Engine and mode to the interpreter that runs it."""


def labeled(smiles: list[str], n: int) -> tuple[list[Structure], list[Labels]]:
    """Return rattled copies of the molecules in turns, labeled by GFN2-xTB."""
    rng = np.random.default_rng(0)
    molecules = [SmilesSeed(smiles=one).build(1)[0] for one in smiles]
    chosen = [molecules[index % len(molecules)] for index in range(n)]
    structures = [s.moved(s.positions + rng.normal(scale=AMPLITUDE, size=(len(s), 3))) for s in chosen]
    return structures, XTBPlan().build().predict(structures)


def columns(structures: list[Structure], labels: list[Labels], *, batch_size: int, cutoff: float) -> dict[str, Any]:
    """Return the arrays that every engine gets; see Data."""
    edges = [find_edges(structure, cutoff) for structure in structures]
    energy = np.array([label.energy for label in labels])
    counts = np.array([np.bincount(s.numbers, minlength=119) for s in structures], dtype=np.float64)
    return {
        "numbers": np.concatenate([s.numbers for s in structures]),
        "positions": np.concatenate([s.positions for s in structures]),
        "forces": np.concatenate([label.forces for label in labels]),
        "energy": energy,
        "relative_energy": energy - counts @ np.linalg.lstsq(counts, energy, rcond=None)[0],
        "centers": np.concatenate([e.centers for e in edges]),
        "neighbors": np.concatenate([e.neighbors for e in edges]),
        "atom_offsets": np.cumsum([0, *map(len, structures)]),
        "edge_offsets": np.cumsum([0, *map(len, edges)]),
        "batch_size": batch_size,
    }


def our_engine(data: Data, mode: str, sizes: dict[str, Any]) -> Engine:
    n_elements = len(np.unique(data.numbers))
    network = PaiNNPlan(preset=sizes["preset"]).build(n_elements)
    return Engine(our_step(sizes["preset"], mode, data), sum(p.numel() for p in network.parameters()), __version__)


def our_step(preset: str, mode: str, data: Data) -> Callable[[int], None]:
    """Return what makes a training step on the batch of a number."""
    from mlff_distiller.data.loading.dataset import MolecularDataset
    from mlff_distiller.data.loading.loader import GraphLoader
    from mlff_distiller.distillation.initial import new_student
    from mlff_distiller.distillation.optimizers.adamw import AdamWPlan
    from mlff_distiller.distillation.plan import TrainingPlan
    from mlff_distiller.distillation.state import TrainingState
    from mlff_distiller.distillation.trainer import Trainer
    from mlff_distiller.students.checkpoint import save

    rows = [data.structure(index) for index in range(len(data))]
    structures = [Structure(row["numbers"], row["positions"]) for row in rows]
    labels = [Labels(energy=float(e), forces=row["forces"]) for e, row in zip(data.energy, rows, strict=True)]
    dataset, plan = MolecularDataset.from_structures(structures, labels), PaiNNPlan(preset=preset)
    loader = GraphLoader(dataset, cutoff=plan.cutoff, batch_size=data.batch_size, seed=0, shuffle=False)
    student = new_student(plan, dataset, seed=0)
    training = TrainingPlan(optimizer=AdamWPlan(), compile={"eager": "never", "compiled": "always"}[mode])
    trainer = Trainer(student, training, train=loader, validation=loader, folder=Path(), digest="", save=save)
    batches, state = list(loader.batches(epoch=0)), TrainingState()

    def step(number: int) -> None:
        trainer.step([batches[number]], state)

    return step


class Running:
    """The process of an engine; ``facts`` say what it is, or why it failed."""

    def __init__(self, engine: str, mode: str, *, python: str, data: Path, sizes: dict[str, Any]) -> None:
        self.engine, self.mode = engine, mode
        self.blocks: list[list[float]] = []
        script = [str(HERE / "training_peers" / PEERS[engine])] if engine in PEERS else [__file__, "--serve"]
        self._log = data.with_name(f"{data.stem}-{engine}-{mode}.log")
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [python, *script, str(data), mode, json.dumps(sizes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            )
        self.facts = self._answer()

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, n_steps: int) -> None:
        """Time a block of steps."""
        self._process.stdin.write(f"{n_steps}\n")
        self._process.stdin.flush()
        answer = self._answer()
        if "failed" in answer:
            raise SystemExit(f"{self.engine}, {self.mode}, ended while it was timed: {answer['failed']}")
        self.blocks.append(answer)

    def _answer(self) -> Any:
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"failed": (self._log.read_text().strip() or "no output").splitlines()[-1]}


def measured(preset: str, engines: Engines, path: Path, *, n_rounds: int) -> list[dict[str, Any]]:
    """Return the records of all engines for a preset; one that fails is named and taken out of ``engines``."""
    with np.load(path) as arrays:
        n_structures, batch_size = len(arrays["energy"]), int(arrays["batch_size"])
    sizes = PaiNNPlan(preset=preset).model_dump()
    with ExitStack() as stack:
        running = []
        for (engine, mode), python in list(engines.items()):
            one = stack.enter_context(Running(engine, mode, python=python, data=path, sizes=sizes))
            if "failed" in one.facts:
                print(f"{engine}, {mode}, is left out: {one.facts['failed'][:200]}", flush=True)
                del engines[engine, mode]
            else:
                running.append(one)
        for _ in range(n_rounds):
            for one in running:
                one.run(n_structures // batch_size)
        return compared([record(preset, one, n_structures) for one in running])


def chosen(options: argparse.Namespace) -> Engines:
    """Return what is compared; a peer without an interpreter is left out."""
    pythons = {OURS: sys.executable, "graph-pes": options.graph_pes, "schnetpack": options.schnetpack}
    for name in [name for name, python in pythons.items() if not python]:
        print(f"{name} is left out; to compare with it: {INSTALL[name]}; then add --{name} ENV/bin/python")
        del pythons[name]
    return {(name, mode): python for name, python in pythons.items() for mode in options.mode or MODES}


def record(preset: str, engine: Running, n_structures: int) -> dict[str, Any]:
    rates = n_structures / np.array(engine.blocks)
    return {
        "engine": engine.engine,
        "mode": engine.mode,
        "preset": preset,
        "structures_per_s": float(np.median(rates[:, 0])),
        "wall_structures_per_s": float(np.median(rates[:, 1])),
        "blocks": rates[:, 0].tolist(),
        **engine.facts,
    }


def compared(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to each record how many times faster our fastest mode is: quartiles over the rounds."""
    ours = max((r for r in records if r["engine"] == OURS), key=lambda r: r["structures_per_s"], default=None)
    for one in records if ours else ():
        ratios = np.array(ours["blocks"]) / np.array(one["blocks"])
        one["ours_faster_by"] = np.quantile(ratios, [0.25, 0.5, 0.75]).tolist()
    return records


def table(records: list[dict[str, Any]]) -> None:
    for r in records:
        rates = f"{r['structures_per_s']:>10.0f}{r['wall_structures_per_s']:>10.0f}"
        ratio = "{1:>8.2f} ({0:.2f} to {2:.2f})".format(*r["ours_faster_by"]) if "ours_faster_by" in r else ""
        names = f"{r['preset']:<12}{r['engine']:<12}{r['mode']:<10}"
        print(f"{names}{r['n_parameters']:>10,}{rates}{ratio}  {r['version']}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", action="append", choices=list(PRESETS), help="may be repeated; all unless given")
    parser.add_argument("--mode", action="append", choices=MODES, help="may be repeated; both unless given")
    parser.add_argument("--smiles", default=SMILES, help="molecules, with commas between them")
    parser.add_argument("--batch-size", type=int, default=16, help="structures in a step")
    parser.add_argument("--batches", type=int, default=8, help="different batches; a block is one pass through them")
    parser.add_argument("--repeats", type=int, default=15, help="rounds in which all engines take their turn")
    parser.add_argument("--json", type=Path, help="write the records as JSON lines")
    for name in PEERS:
        parser.add_argument(f"--{name}", metavar="PYTHON", help=f"interpreter of an environment with {name}")
    options = parser.parse_args()
    print(f"{machine()}, one thread, torch {version('torch')}")
    engines = chosen(options)
    structures, labels = labeled(options.smiles.split(","), options.batch_size * options.batches)
    cutoff = PaiNNPlan().cutoff
    arrays = columns(structures, labels, batch_size=options.batch_size, cutoff=cutoff)
    n_atoms, n_edges = (len(arrays[name]) / options.batches for name in ("numbers", "centers"))
    print(f"{options.batch_size} structures, {n_atoms:.0f} atoms and {n_edges:.0f} pairs a step; structures a second:")
    print(f"{'preset':<12}{'engine':<12}{'mode':<10}{'parameters':>10}{'CPU':>10}{'wall':>10}    ours faster by")
    records = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "batches.npz"
        np.savez(path, **arrays)
        for preset in options.preset or PRESETS:
            records += measured(preset, engines, path, n_rounds=options.repeats)
            table([r for r in records if r["preset"] == preset])
    if options.json:
        options.json.write_text("".join(json.dumps(one) + "\n" for one in records))


if __name__ == "__main__":
    if "--serve" in sys.argv:
        serve(our_engine)
    else:
        main()
