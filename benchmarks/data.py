"""Time and memory of the data store beside four usual formats, in one run.

    python benchmarks/data.py [--large] [--json FILE] [--backends NAME,NAME]

20,000 structures of 21 atoms (aspirin, rattled) are written, read in random batches of 32, and go through one shuffled
epoch of training batches (graphs with neighbor lists within 5 Angstrom); with --large also 1,000,000, of the store and
the memory-mapped arrays. Every number comes from a process of its own, with one thread, and peak_mb is the most memory
that it had. The time of a training step of an ultra-tiny student on the same batches stands below the table. A peer
whose package is not installed is left out, and said so.
"""

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from data_peers import ENDINGS, LARGE, PEERS, Peer

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.provenance import machine
from mlff_distiller.data.columns import Columns

BATCH = 32
CUTOFF = 5.0
N_ATOMS = 21
BLOCK = 5_000
OPERATIONS = ("write", "random_batch", "epoch")


@cache
def aspirin() -> Structure:
    from mlff_distiller.sampling.smiles import SmilesSeed

    return SmilesSeed(smiles="CC(=O)Oc1ccccc1C(=O)O").build(1)[0]


def blocks(n: int) -> Iterator[Columns]:
    rng = np.random.default_rng(0)
    for first in range(0, n, BLOCK):
        size = min(BLOCK, n - first)
        places = aspirin().positions + rng.normal(0, 0.05, (size, N_ATOMS, 3))
        yield Columns(
            {
                "offsets": np.arange(size + 1) * N_ATOMS,
                "ids": np.arange(first, first + size),
                "numbers": np.tile(aspirin().numbers.astype(np.uint8), size),
                "positions": places.reshape(-1, 3),
                "cells": np.zeros((size, 3, 3)),
                "pbc": np.zeros((size, 3), dtype=np.uint8),
                "charge": np.zeros(size, dtype=np.int32),
                "spin": np.ones(size, dtype=np.int32),
                "mask": np.full(size, 3, dtype=np.uint32),
                "info_offsets": np.arange(size + 1) * 2,
                "info": np.frombuffer(b"{}" * size, dtype=np.uint8),
                "energy": rng.normal(-17000, 1, size),
                "forces": rng.normal(0, 1, (size * N_ATOMS, 3)),
            }
        )


def write(peer: Peer) -> float:
    aspirin()  # RDKit is not what is timed
    begin = time.perf_counter()
    peer.write(blocks(peer.n))
    return 1e3 * (time.perf_counter() - begin)


def random_batch(peer: Peer) -> float:
    peer.open()
    rng = np.random.default_rng(1)
    samples: list[float] = []
    end = time.perf_counter() + 2.0
    while time.perf_counter() < end or len(samples) < 20:
        rows = rng.integers(0, peer.n, BATCH)
        begin = time.perf_counter()
        peer.read(rows)
        samples.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(samples[len(samples) // 4 :])  # the first ones find pages cold


def epoch(peer: Peer) -> float:
    begin = time.perf_counter()
    for _ in loader(peer).batches(epoch=0):
        pass
    return 1e3 * (time.perf_counter() - begin)


def loader(peer: Peer) -> Any:
    import torch

    from mlff_distiller.data.loading.dataset import MolecularDataset
    from mlff_distiller.data.loading.loader import GraphLoader

    torch.set_num_threads(1)
    peer.open()
    return GraphLoader(MolecularDataset(peer), cutoff=CUTOFF, batch_size=BATCH, seed=0)


def training_step(peer: Peer) -> float:
    """Return the median time of a step on batches that are ready, of an ultra-tiny student."""
    from itertools import islice

    from mlff_distiller.data.loading.dataset import MolecularDataset
    from mlff_distiller.distillation.initial import new_student
    from mlff_distiller.distillation.plan import TrainingPlan
    from mlff_distiller.distillation.state import TrainingState
    from mlff_distiller.distillation.trainer import Trainer
    from mlff_distiller.students import checkpoint
    from mlff_distiller.students.painn.plan import PaiNNPlan

    batches = list(islice(loader(peer).batches(epoch=0), 12))
    train = MolecularDataset(peer.take(np.arange(200)))
    student = new_student(PaiNNPlan(preset="ultra-tiny"), train, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        ready = loader(peer)
        plan, save = TrainingPlan(compile="never"), lambda student, path, row: checkpoint.save(student, path)
        trainer = Trainer(student, plan, train=ready, validation=ready, folder=Path(folder), digest="", save=save)
        state, samples = TrainingState(), []
        for batch in batches:
            begin = time.perf_counter()
            trainer.step([batch], state)
            samples.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(samples[2:])


def measured(name: str, backend: str, n: int, path: Path) -> dict[str, Any]:
    """Run one operation in a process of its own."""
    command = [sys.executable, __file__, "--one", name, backend, str(n), str(path)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        raise RuntimeError(found.stderr.strip().splitlines()[-1])
    record: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return record


def one(name: str, backend: str, n: int, path: Path) -> None:
    peer = PEERS[backend](path, n, N_ATOMS)
    run = {"write": write, "random_batch": random_batch, "epoch": epoch, "training_step": training_step}[name]
    median_ms = run(peer)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {"name": name, "backend": backend, "n_structures": n, "median_ms": median_ms, "peak_mb": round(peak_mb, 1)}
        )
    )


def compare(n: int, backends: list[str], folder: Path) -> list[dict[str, Any]]:
    records = []
    for backend in backends:
        path = folder / f"{backend.replace(' ', '-').replace(',', '')}-{n}{ENDINGS.get(backend, '')}"
        try:
            for name in OPERATIONS:
                records.append(measured(name, backend, n, path))
                print(f"  {n:>9,}  {backend:<24}{name:<14}{records[-1]['median_ms']:>12.3f} ms", flush=True)
        except RuntimeError as error:
            print(f"  {n:>9,}  {backend:<24}left out: {error}", flush=True)
        if backend != "mlffd store":
            shutil.rmtree(path, ignore_errors=True)
            path.unlink(missing_ok=True)
    if "mlffd store" in backends:
        records.append(measured("training_step", "mlffd store", n, folder / f"mlffd-store-{n}"))
    return records


def table(records: list[dict[str, Any]]) -> None:
    for n in sorted({record["n_structures"] for record in records}):
        own = {r["name"]: r for r in records if r["backend"] == "mlffd store" and r["n_structures"] == n}
        print(f"\n{n:,} structures of {N_ATOMS} atoms; ratio: time of the format / time of the mlffd store")
        print(f"{'':<26}" + "".join(f"{name + ' ms':>18}{'ratio':>8}{'MB':>7}" for name in OPERATIONS))
        for backend in dict.fromkeys(r["backend"] for r in records if r["n_structures"] == n):
            found = {r["name"]: r for r in records if r["backend"] == backend and r["n_structures"] == n}
            line = f"{backend:<26}"
            for name in OPERATIONS:
                if name in found:
                    ratio = found[name]["median_ms"] / own[name]["median_ms"] if name in own else float("nan")
                    line += f"{found[name]['median_ms']:>18,.3f}{ratio:>8.2f}{found[name]['peak_mb']:>7.0f}"
            print(line)
        if "training_step" in own:
            step, per_batch = own["training_step"]["median_ms"], own["epoch"]["median_ms"] / -(-n // BATCH)
            print(
                f"training step of ultra-tiny: {step:.1f} ms; data for it: {per_batch:.2f} ms, {per_batch / step:.1%}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="also 1,000,000 structures (about 5 GB of disk)")
    parser.add_argument("--json", type=Path, help="write the records as JSON lines")
    parser.add_argument("--backends", default=",".join(PEERS).replace("memmap,equal", "memmap, equal"))
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, backend, n, path = options.one
        one(name, backend, int(n), Path(path))
        return
    wanted = [name for name in PEERS if name in options.backends]
    print(f"{machine()}, one thread")
    with tempfile.TemporaryDirectory() as folder:
        records = compare(20_000, wanted, Path(folder))
        if options.large:
            records += compare(1_000_000, [name for name in wanted if name in LARGE], Path(folder))
    table(records)
    if options.json:
        options.json.write_text("".join(json.dumps(record) + "\n" for record in records))


if __name__ == "__main__":
    main()
