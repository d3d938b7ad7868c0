"""Batches: as many structures as memory has room for, fewer when it runs out, and the one to blame by name."""

import numpy as np
import pytest

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PredictionError
from mlff_distiller.potentials.batching import Batching
from mlff_distiller.potentials.memory import Memory, is_out_of_memory


def chain(n: int) -> Structure:
    return Structure([1] * n, np.arange(3.0 * n).reshape(-1, 3))


class Room:
    """A machine with a memory of so many atoms."""

    def __init__(self, n_atoms: int, *, text: str = "CUDA out of memory. Tried to allocate 2 GiB") -> None:
        self.n_atoms, self.text, self.batches = n_atoms, text, []

    def __call__(self, structures):
        n = sum(map(len, structures))
        self.batches.append(n)
        if n > self.n_atoms:
            raise RuntimeError(self.text)
        return [Labels(energy=float(len(s))) for s in structures]


@pytest.mark.parametrize("n_atoms", [7, 20, 1000])
def test_halved_until_it_fits_and_every_structure_answered_once(n_atoms: int) -> None:
    structures = [chain(1 + k % 7) for k in range(50)]
    room, batching = Room(n_atoms), Batching(512)
    assert [x.energy for x in batching.run(structures, room)] == [len(s) for s in structures]
    assert sum(n for n in room.batches if n <= n_atoms) == sum(map(len, structures))
    tried = len(room.batches)
    batching.run(structures, room)
    assert all(n <= n_atoms for n in room.batches[tried:]), "it remembers what did not fit"


def test_one_structure_beyond_memory_is_named() -> None:
    with pytest.raises(PredictionError, match=r"out of memory \(9 atoms\)") as caught:
        Batching(512).run([chain(2), chain(9), chain(3)], Room(8))
    assert caught.value.index == 1


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes do not match"):
        Batching(512).run([chain(3)], Room(0, text="shapes do not match"))


def test_the_index_counts_from_the_first_structure() -> None:
    def evaluate(structures):
        for k, structure in enumerate(structures):
            if len(structure) == 3:
                raise PredictionError(k, "three")
        return [Labels(energy=0.0) for _ in structures]

    with pytest.raises(PredictionError) as caught:
        Batching(4).run([chain(2), chain(2), chain(1), chain(3)], evaluate)
    assert (caught.value.index, caught.value.reason) == (3, "three")


def test_positions_that_are_no_numbers_are_not_passed_on() -> None:
    broken = chain(2).moved(np.array([[0, 0, 0], [np.inf, 0, 0]]))
    room = Room(100)
    with pytest.raises(PredictionError, match="not a finite number") as caught:
        Batching(2).run([chain(2), broken], room)
    assert (caught.value.index, room.batches) == (1, [2])


def test_batches_grow_while_memory_has_room_and_stop_before_it_has_none() -> None:
    bytes_per_atom = 2_000_000

    def evaluate(structures):
        batches.append(sum(map(len, structures)))
        np.ones(batches[-1] * bytes_per_atom, dtype=np.uint8)
        return [Labels(energy=0.0) for _ in structures]

    batches: list[int] = []
    taken = Memory("cpu", limit_GB=1000.0)
    batching = Batching(memory=Memory("cpu", limit_GB=_taken_GB() + 1.5))
    batching.run([chain(8)] * 400, evaluate)
    assert taken.room > 0
    assert batches[0] == 256
    assert max(batches) in (512, 1024)  # 512 atoms take 1.0 GB of the 1.5; 256 say that they fit


def _taken_GB() -> float:
    from pathlib import Path

    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("memory is measured on Linux only")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024 / 1e9


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes"),
        ValueError("Unable to allocate 74.5 GiB for an array"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_every_way_to_say_that_memory_ran_out(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert not is_out_of_memory(ValueError("no memory of this element"))
