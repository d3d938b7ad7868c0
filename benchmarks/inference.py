"""Time of energies and forces of untrained students by every backend, beside a teacher and other libraries' PaiNN.

    python benchmarks/inference.py [--quick] [--threads 1 2] [--device cuda] [--json FILE] [--large] [--huge]
                                   [--schnetpack PYTHON] [--graph-pes PYTHON]

Systems: ethanol (9 atoms), aspirin (21), 64 aspirins in one call, and periodic water of 192 and 1,536 atoms; with
--large also of 12,288 by our kernels alone, whose cost for an atom should not depend on the size. Students: untrained
ones of all presets. Atoms move from call to call as in dynamics, and finding neighbors counts: students and GFN2-xTB
are asked through ``Potential.predict``, the peers through their ASE calculators, with a skin of the same width; "alone"
is our kernel on graphs that are there already. All that is timed for a system takes turns, block by block. Numbers are
medians in ms. The first run compiles for some minutes; --quick leaves out what must be compiled, two threads, and what
takes long.

With --huge a process of its own evaluates 101,376 atoms of water with ultra-tiny and says how much memory it took.
Then follow the ratios that matter with their goals, and how far our kernel on the CPU is from what a count of its
operations and bytes says the machine could do; see inference_floor.py.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the teacher; the students' threads are set for each of their calls

import ase.build
import numpy as np
import torch

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.neighbors import find_edges
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.benchmarking.backends import ready
from mlff_distiller.benchmarking.turns import Calls, Contender, Walk, take_turns
from mlff_distiller.core.errors import DistillerError
from mlff_distiller.core.provenance import machine
from mlff_distiller.sampling.smiles import SmilesSeed
from mlff_distiller.students.painn.plan import PRESETS, PaiNNPlan
from mlff_distiller.students.potential import StudentPotential
from mlff_distiller.students.student import Student
from mlff_distiller.teachers.xtb import XTBPlan

HERE = Path(__file__).parent
TEACHER = "GFN2-xTB"
ALONE = "kernel alone"
PEERS = {"schnetpack": "schnetpack_painn.py", "graph-pes": "graph_pes_painn.py"}
SKIN = 0.5
N_COPIES = 64
BACKENDS = {"cpu": ("eager", "compile", "package", "kernel"), "cuda": ("eager", "compile", "package", "triton")}
QUICK = ("eager", "kernel", "triton")
OURS = ("kernel", "triton")

Key = tuple[str, int]
"""What is timed, and with how many threads."""


def systems(options: argparse.Namespace) -> dict[str, list[Structure]]:
    """Return what is evaluated in one call, by name."""
    ethanol, aspirin = (SmilesSeed(smiles=smiles).build(1)[0] for smiles in ("CCO", "CC(=O)Oc1ccccc1C(=O)O"))
    found = {"ethanol": [ethanol], "aspirin": [aspirin], f"aspirin x {N_COPIES}": [aspirin] * N_COPIES}
    sides = (4,) if options.quick else (4, 8, 16) if options.large else (4, 8)
    found |= {f"water-{3 * n**3}": [water(n, n, n)] for n in sides}
    if unknown := set(options.system or ()) - set(found):
        raise SystemExit(f"there is no system {', '.join(sorted(unknown))} here; there are {', '.join(found)}")
    return {name: found[name] for name in options.system or found}


def water(*repeats: int) -> Structure:
    """Return a periodic box of molecules at the density of water, shaken."""
    box = ase.build.molecule("H2O", cell=[3.1] * 3, pbc=True).repeat(repeats)
    box.rattle(0.05, seed=1)
    return from_ase(box)


def student(preset: str, device: str) -> Student:
    torch.manual_seed(0)
    return Student(PaiNNPlan(preset=preset), {1: 0.0, 6: 0.0, 8: 0.0}, neighbor_norm=3.0).to(device)


class Alone(Calls):
    """Calls of our kernel itself: the graph is there already, and nothing is made of the results."""

    def __init__(self, potential: StudentPotential, structures: list[Structure]) -> None:
        super().__init__(potential, structures, n_threads=1)
        self._student, self._backend = potential.student, potential.choice.backend

    def prepared(self, structures: Sequence[Structure]) -> Graph:
        return Graph.from_structures(structures, self._student.cutoff, dtype=self._student.dtype)

    def evaluate(self, prepared: Graph) -> object:
        return self._backend.derive(prepared)


class Peer:
    """The process of another library; ``facts`` say its version, or why it failed."""

    def __init__(self, name: str, python: str, trajectories: Path, sizes: dict[str, Any]) -> None:
        self.name, self._log = name, trajectories.with_name(f"{name}.log")
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [python, str(HERE / "inference_peers" / PEERS[name]), str(trajectories), json.dumps(sizes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.facts = self._answer()

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, *question: Any) -> Any:
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; the answer says why
        answer = self._answer()
        if isinstance(answer, dict):
            raise DistillerError(answer["failed"])
        return answer

    def _answer(self) -> Any:
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"failed": (self._log.read_text().strip() or "no output").splitlines()[-1]}


class PeerCalls:
    """Calls of a peer for one system; see Calls."""

    def __init__(self, peer: Peer, system: str, n_threads: int) -> None:
        self._peer, self._asked = peer, (system, n_threads)

    def block(self, seconds: float) -> list[float]:
        system, n_threads = self._asked
        return self._peer.ask(system, seconds, n_threads)


def write_trajectories(path: Path, chosen: dict[str, list[Structure]]) -> None:
    """Write the motion of all single structures for the peers: that of our own calls."""
    arrays = {}
    for name, (first, *others) in chosen.items():
        if not others:
            walk = Walk([first])
            arrays |= {f"{name}/{what}": getattr(first, what) for what in ("numbers", "cell", "pbc")}
            arrays[f"{name}/positions"] = np.array([next(walk)[0].positions for _ in range(64)])
    np.savez(path, **arrays)


def potentials(preset: str, options: argparse.Namespace) -> dict[Key, StudentPotential]:
    """Return a student behind all backends that can be used."""
    found, own = {}, student(preset, options.device)
    for backend, threads in students_columns(options):
        try:
            found[backend, threads] = ready(own, backend, threads)
        except DistillerError as error:
            print(f"{backend} is left out: {error}", file=sys.stderr, flush=True)
    return found


def contenders(
    name: str,
    structures: list[Structure],
    own: dict[Key, StudentPotential],
    peers: list[Peer],
    options: argparse.Namespace,
) -> Iterator[tuple[Key, Contender]]:
    """Yield all that is timed for a system; what would take hours or too much memory is left out."""
    n_atoms = sum(map(len, structures))
    for (backend, threads), potential in own.items():
        if n_atoms < 10_000 or backend in OURS:
            yield (backend, threads), Calls(potential, structures, n_threads=threads)
    if ("kernel", 1) in own:
        yield (ALONE, 1), Alone(own["kernel", 1], structures)
    if n_atoms <= 21 and not options.no_teacher:
        yield (TEACHER, 1), Calls(XTBPlan().build(), structures)
    if len(structures) == 1 and n_atoms < 10_000:
        for peer in peers:
            for threads in options.threads:
                yield (peer.name, threads), PeerCalls(peer, name, threads)


def measured(preset: str, chosen: dict[str, list[Structure]], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the records of a preset, and print a line for each system."""
    own, records = potentials(preset, options), []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        peers = started(preset, folder, stack, chosen, options)
        for name, structures in chosen.items():
            able = {}
            for key, contender in contenders(name, structures, own, peers, options):
                try:
                    contender.block(0.0)
                    able[key] = contender
                except DistillerError as error:
                    print(f"{key[0]} is left out for {name}: {error}", file=sys.stderr, flush=True)
            samples = take_turns(able, seconds=options.seconds)
            new = [record(name, structures, preset, key, times) for key, times in samples.items()]
            print(line(new, options), flush=True)
            records += new
    return records


def started(
    preset: str, folder: Path, stack: ExitStack, chosen: dict[str, list[Structure]], options: argparse.Namespace
) -> list[Peer]:
    pythons = {"schnetpack": options.schnetpack, "graph-pes": options.graph_pes}
    path, peers = folder / "trajectories.npz", []
    if any(pythons.values()):
        write_trajectories(path, chosen)
    for name in [name for name, python in pythons.items() if python]:
        sizes = PaiNNPlan(preset=preset).model_dump() | {"skin": SKIN, "device": options.device}
        peer = stack.enter_context(Peer(name, pythons[name], path, sizes))
        if "failed" in peer.facts:
            print(f"{name} is left out: {peer.facts['failed']}", file=sys.stderr, flush=True)
        else:
            peers.append(peer)
    return peers


def record(name: str, structures: list[Structure], preset: str, key: Key, times: np.ndarray) -> dict[str, Any]:
    return {
        "system": name,
        "n_atoms": sum(map(len, structures)),
        "preset": preset,
        "backend": key[0],
        "threads": key[1],
        "median_ms": float(np.median(times)),
        "p95_ms": float(np.quantile(times, 0.95)),
        "n_calls": len(times),
    }


def students_columns(options: argparse.Namespace) -> list[Key]:
    backends = options.backend or [b for b in BACKENDS[options.device] if b in QUICK or not options.quick]
    return [(backend, n) for n in options.threads for backend in backends]


def columns(options: argparse.Namespace) -> list[Key]:
    own = students_columns(options)
    peers = [(name, n) for name in PEERS if getattr(options, name.replace("-", "_")) for n in options.threads]
    teacher = [] if options.no_teacher else [(TEACHER, 1)]
    return own + [(ALONE, 1)] * (("kernel", 1) in own) + teacher + peers


def line(records: list[dict[str, Any]], options: argparse.Namespace) -> str:
    found = {(r["backend"], r["threads"]): f"{r['median_ms']:.3f}" for r in records}
    first = f"{records[0]['preset']:<12}{records[0]['system']:<14}{records[0]['n_atoms']:>7,}"
    return first + "".join(f"{found.get(key, '-'):>15}" for key in columns(options))


def header(options: argparse.Namespace) -> str:
    names = [f"{backend} {threads}" for backend, threads in columns(options)]
    return f"{'preset':<12}{'system':<14}{'atoms':>7}" + "".join(f"{name:>15}" for name in names)


def huge() -> dict[str, Any]:
    """Evaluate 101,376 atoms of water with ultra-tiny in this process; return time and memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    box = water(33, 32, 32)
    calls = Calls(ready(student("ultra-tiny", "cpu"), "kernel", 1), [box], n_threads=1)
    times = [ms for _ in range(7) for ms in calls.block(0.0)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    later = np.array(times[2:])  # the second call makes the list of neighbors that others use
    row = record(f"water-{len(box)}", [box], "ultra-tiny", ("kernel", 1), later)
    return row | {"peak_GB": peak * 1024 / 1e9, "memory_per_atom_kB": (peak - before) * 1.024 / len(box)}


def huge_alone() -> dict[str, Any]:
    """Do so in a process of its own, whose peak is that of this alone."""
    done = subprocess.run([sys.executable, __file__, "--huge-alone"], stdout=subprocess.PIPE, text=True, check=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{row['n_atoms']:,} atoms of water, ultra-tiny, kernel, one thread: {row['median_ms']:.0f} ms, "
        f"{row['peak_GB']:.1f} GB at the most, {row['memory_per_atom_kB']:.1f} kB an atom"
    )
    return row


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = sorted({name for one in BACKENDS.values() for name in one})
    parser.add_argument("--device", choices=list(BACKENDS), default="cpu")
    parser.add_argument("--threads", type=int, nargs="+", help="of students and peers on a CPU; 1 and 2 unless given")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each number; three calls at least")
    parser.add_argument("--preset", action="append", choices=list(PRESETS), help="may be repeated; all unless given")
    parser.add_argument(
        "--system", action="append", help="one of those in the table; may be repeated; all unless given"
    )
    parser.add_argument(
        "--backend", action="append", choices=names, help="may be repeated; all of the device unless given"
    )
    parser.add_argument("--quick", action="store_true", help="eager and our kernel up to 192 atoms; under two minutes")
    parser.add_argument("--large", action="store_true", help="water of 12,288 atoms, too")
    parser.add_argument("--huge", action="store_true", help="water of 101,376 atoms, too, and its memory")
    parser.add_argument("--huge-alone", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--no-teacher", action="store_true", help="leave GFN2-xTB out")
    parser.add_argument("--json", type=Path, help="write the records as JSON lines")
    for name in PEERS:
        parser.add_argument(f"--{name}", metavar="PYTHON", help=f"interpreter of an environment with {name}")
    options = parser.parse_args()
    options.threads = options.threads or ([1] if options.quick or options.device == "cuda" else [1, 2])
    return options


def main() -> None:
    options = arguments()
    if options.huge_alone:
        print(json.dumps(huge()))
        return
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch finds no GPU here; leave --device out")
    began, chosen, records = time.monotonic(), systems(options), []
    print(f"{machine()}, students on {options.device}, float32, torch {torch.__version__}; ms, and number of threads")
    print(header(options), flush=True)
    for preset in options.preset or PRESETS:
        records += measured(preset, chosen, options)
    if options.huge:
        records.append(huge_alone())
    if options.json:
        options.json.write_text("".join(json.dumps(one) + "\n" for one in records))
    from inference_goals import report

    edges = {name: sum(len(find_edges(s, PaiNNPlan().cutoff)) for s in one) for name, one in chosen.items()}
    report(records, edges, lambda preset: student(preset, "cpu").network)
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
