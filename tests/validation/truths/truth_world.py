"""A small world whose physics is known: pair potentials, two molecules and a sheared crystal, thermal frames.

Everything is vectorized over the batch, so that 10 ps of all systems and replicas take a second or two.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.units import BOLTZMANN
from mlff_distiller.potentials.base import Identity, Potential

Floats = np.ndarray

CUTOFF = 5.1
"""Range of the pair energies, Angstrom."""

SKIN = 1.0
"""How much further atoms are listed as neighbors, so that the list lasts for many steps, Angstrom."""

SWITCH = 4.3
"""From here on they are switched off smoothly, Angstrom."""

GERMANIUM, SELENIUM, BROMINE, SILVER = 32, 34, 35, 47
"""Heavy elements, so that a step of dynamics may be long."""

ATOMS = {GERMANIUM: -2.1, SELENIUM: -2.6, BROMINE: -1.8, SILVER: -0.3}
"""Energies of the atoms, eV."""

BONDS = {
    (GERMANIUM, BROMINE): (2.0, 0.7, 2.27),
    (BROMINE, BROMINE): (2.0, 1.0, 3.71),
    (GERMANIUM, GERMANIUM): (2.0, 0.7, 2.45),
    (GERMANIUM, SELENIUM): (2.0, 0.7, 2.35),
    (SELENIUM, SELENIUM): (0.5, 0.7, 3.7),
    (SILVER, SILVER): (0.25, 1.2, 3.4),
}
"""Depth (eV), width (1/Angstrom) and distance (Angstrom) of the Morse curve of each pair."""

OTHERS = (0.4, 0.8, 2.8)
"""The same for all other pairs."""

WALL = 60.0
"""Height at zero distance of the wall that pairs meet below 0.75 of their distance, eV."""


class PairWorld(Potential):
    """Morse pairs with a wall inside and a smooth end; energy, exact forces and stress.

    A student is the teacher with springs stiffer by a factor: the width of each Morse curve is larger by its root,
    so that depths and distances stay.
    """

    is_conservative = True
    properties = frozenset({"energy", "forces", "stress"})
    elements = frozenset(ATOMS)
    cutoff = CUTOFF

    def __init__(self, stiffness: float = 1.0) -> None:
        self.stiffness = stiffness
        self.identity = Identity("pairs", "analytic", f"springs times {stiffness:g}", "float64", "cpu")
        self._batches: dict[bytes, _Batch] = {}

    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        self.check(structures, properties)
        if not structures:
            return []
        batch = self._batch(structures)
        vectors, pairs = batch.near(np.concatenate([s.positions for s in structures]))
        r = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        energy, slope = self.pair(r, batch.depth[pairs], batch.width[pairs], batch.distance[pairs])
        energy, gradient = self.directed(vectors, r, energy, slope)
        weight = batch.weight[pairs]
        energies = batch.constant + np.bincount(batch.owner[pairs], weight * energy, len(structures))
        pull = weight[:, None] * gradient
        forces = batch.scatter(pull, pairs)
        stresses = batch.stresses(vectors, pull, pairs) if "stress" in properties else [None] * len(structures)
        rows = zip(energies, np.split(forces, batch.splits), stresses, strict=True)
        labels = [Labels(float(e), f, x) for e, f, x in rows]
        return labels if {"energy", "forces"} <= set(properties) else [x.only(properties) for x in labels]

    def pair(self, r: Floats, depth: Floats, width: Floats, distance: Floats) -> tuple[Floats, Floats]:
        """Return energies of pairs and their derivatives by the distance."""
        width = width * self.stiffness**0.5
        decay = np.exp(-width * (r - distance))
        energy, slope = depth * ((1 - decay) ** 2 - 1), 2 * depth * width * decay * (1 - decay)
        off, slope_off = _switched_off(r)
        energy, slope = energy * off, slope * off + energy * slope_off
        inside = np.maximum(1 - r / (0.75 * distance), 0.0)
        return energy + WALL * inside**4, slope - 4 * WALL * inside**3 / (0.75 * distance)

    def directed(self, vectors: Floats, r: Floats, energy: Floats, slope: Floats) -> tuple[Floats, Floats]:
        """Return energies of pairs and their gradients by the vector: along it, as nothing else would be isotropic."""
        return energy, (slope / r)[:, None] * vectors

    def _batch(self, structures: Sequence[Structure]) -> "_Batch":
        key = b"".join(x.numbers.tobytes() + b"|" + x.cell.tobytes() + x.pbc.tobytes() for x in structures)
        if key not in self._batches:
            if len(self._batches) > 32:
                self._batches.clear()
            self._batches[key] = _Batch(structures)
        return self._batches[key]


def _switched_off(r: Floats) -> tuple[Floats, Floats]:
    """Return a polynomial from 1 at SWITCH to 0 at CUTOFF with two smooth derivatives, and its slope."""
    x = np.clip((r - SWITCH) / (CUTOFF - SWITCH), 0.0, 1.0)
    return 1 - x**3 * (10 - 15 * x + 6 * x**2), -30 * x**2 * (1 - x) ** 2 / (CUTOFF - SWITCH)


class _Batch:
    """Which atoms of a batch can meet, with all periodic images within reach: everything but the positions."""

    def __init__(self, structures: Sequence[Structure]) -> None:
        sizes = np.array([len(s) for s in structures])
        self.splits = np.cumsum(sizes)[:-1]
        self.n_atoms = int(sizes.sum())
        self.constant = np.array([sum(ATOMS[z] for z in s.numbers.tolist()) for s in structures])
        self.volumes = [s.volume if s.is_periodic else None for s in structures]
        self.cells = np.array([np.where(s.pbc[:, None], s.cell, 0.0) for s in structures])
        self.inverse = np.linalg.pinv(self.cells)
        first = np.concatenate([[0], self.splits])
        parts = [_couples(s, int(start), row) for row, (s, start) in enumerate(zip(structures, first, strict=True))]
        self.i, self.j, self.row = np.concatenate([part[0] for part in parts]).T
        offsets = [np.searchsorted(self.row, row) for row in range(len(structures))]
        self.couple = np.concatenate([p[1] + offset for p, offset in zip(parts, offsets, strict=True)]).astype(int)
        self.shift = np.concatenate([part[2] for part in parts])
        self.centers, self.neighbors = self.i[self.couple], self.j[self.couple]
        self.owner = self.row[self.couple]
        self.weight = np.where(self.centers == self.neighbors, 0.5, 1.0)
        numbers = np.concatenate([s.numbers for s in structures])
        known = [BONDS.get((min(a, b), max(a, b)), OTHERS) for a, b in numbers[[self.i, self.j]].T.tolist()]
        self.depth, self.width, self.distance = np.array(known).reshape(-1, 3)[self.couple].T
        self.periodic = np.array([s.pbc.any() for s in structures])[self.row]
        self.reference: Floats | None = None
        self.listed, self.offsets = np.zeros(0, dtype=int), np.zeros((0, 3))

    def near(self, positions: Floats) -> tuple[Floats, np.ndarray]:
        """Return the vectors of all pairs within the cutoff, and which pairs they are."""
        if self.reference is None or np.abs(positions - self.reference).max() > SKIN / 4:
            self._look_around(positions)
        vectors = positions[self.neighbors[self.listed]] - positions[self.centers[self.listed]] + self.offsets
        near = np.einsum("ij,ij->i", vectors, vectors) < CUTOFF**2
        return vectors[near], self.listed[near]

    def _look_around(self, positions: Floats) -> None:
        """List all pairs that can come within the cutoff while no atom moves further than a quarter of the skin."""
        vectors, offsets = positions[self.j] - positions[self.i], np.zeros((len(self.i), 3))
        if self.periodic.any():
            rows = self.row[self.periodic]
            turns = np.rint(np.einsum("pi,pij->pj", vectors[self.periodic], self.inverse[rows]))
            offsets[self.periodic] = -np.einsum("pi,pij->pj", turns, self.cells[rows])
        offsets = offsets[self.couple] + self.shift
        vectors = vectors[self.couple] + offsets
        self.listed = np.flatnonzero(np.einsum("ij,ij->i", vectors, vectors) < (CUTOFF + SKIN) ** 2)
        self.reference, self.offsets = positions, offsets[self.listed]

    def scatter(self, pull: Floats, pairs: np.ndarray) -> Floats:
        """Return forces (N, 3): what each pair pulls its center with, and its neighbor against."""
        index = np.concatenate([self.centers[pairs], self.neighbors[pairs]])
        both = np.concatenate([pull, -pull])
        return np.stack([np.bincount(index, both[:, k], self.n_atoms) for k in range(3)], axis=1)

    def stresses(self, vectors: Floats, pull: Floats, pairs: np.ndarray) -> list[Floats | None]:
        virial = np.zeros((len(self.volumes), 3, 3))
        np.add.at(virial, self.owner[pairs], vectors[:, :, None] * pull[:, None, :])
        virial = (virial + virial.transpose(0, 2, 1)) / 2
        return [None if v is None else x / v for x, v in zip(virial, self.volumes, strict=True)]


def _couples(structure: Structure, start: int, row: int) -> tuple[np.ndarray, np.ndarray, Floats]:
    """Return couples (C, 3: center, neighbor, row), and of each image its couple and its shift in Angstrom."""
    cell = np.where(structure.pbc[:, None], structure.cell, 0.0)
    i, j, couple, shift = _images(len(structure), cell.tobytes())
    return np.stack([i + start, j + start, np.full(len(i), row)], axis=1), couple, shift


@lru_cache(maxsize=512)
def _images(n: int, cell_bytes: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray, Floats]:
    """Return the couples of n atoms, and of each image its couple and its shift; open directions have no cell."""
    cell = np.frombuffer(cell_bytes).reshape(3, 3)
    closed = cell.any(1)
    i, j = np.triu_indices(n, k=0 if closed.any() else 1)
    if not closed.any():
        return i, j, np.arange(len(i)), np.zeros((len(i), 3))
    heights = 1 / np.maximum(np.linalg.norm(np.linalg.pinv(cell), axis=0), 1e-9)
    reach = np.where(closed, np.floor((CUTOFF + SKIN) / heights + 0.5), 0).astype(int)
    images = np.stack(np.meshgrid(*[np.arange(-m, m + 1) for m in reach], indexing="ij"), axis=-1).reshape(-1, 3)
    couple, image = np.divmod(np.arange(len(i) * len(images)), len(images))
    itself = (i == j)[couple] & (images[image] == 0).all(1)
    return i, j, couple[~itself], images[image[~itself]] @ cell


@dataclass(frozen=True, eq=False)
class Mode:
    """A geometry at rest, and how it moves when it is warm: displacements (M, N, 3) for a unit of sqrt(eV)."""

    rest: Structure
    displacements: Floats


@cache
def systems() -> dict[str, Mode]:
    """Return a bipyramid, a tetrahedron and a sheared crystal, at rest in the teacher's eyes."""
    ring = 2.45 / 3**0.5 * np.array([[1, 0, 0], [-0.5, 0.75**0.5, 0], [-0.5, -(0.75**0.5), 0]])
    caps = np.array([[0, 0, 1.87], [0, 0, -1.87]])
    cage = Structure(3 * [GERMANIUM] + 2 * [SELENIUM], np.concatenate([ring, caps]))
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 3**0.5
    star = Structure([GERMANIUM] + 4 * [BROMINE], 2.27 * np.concatenate([np.zeros((1, 3)), corners]))
    return {"Ge3Se2": _settled(cage), "GeBr4": _settled(star), "silver": _settled(_crystal())}


def _crystal() -> Structure:
    """Return eight atoms of a face-centered crystal under a little tension and shear, so that no stress is zero."""
    sites = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    sites = np.concatenate([sites, sites + np.array([1, 0, 0])]) / [2, 1, 1]
    strain = np.array([[1.012, 0.025, 0.01], [0.0, 1.01, 0.015], [0.0, 0.0, 1.006]])
    cell = 4.6 * np.diag([2.0, 1.0, 1.0]) @ strain
    return Structure(8 * [SILVER], sites @ cell, cell=cell, pbc=True)


def _settled(structure: Structure) -> Mode:
    """Relax, by Newton's method without the motions that cost nothing, and return the modes of vibration."""
    teacher = PairWorld()
    for _ in range(30):
        force = np.asarray(teacher.predict([structure])[0].forces)
        curvatures, vectors = np.linalg.eigh(_hessian(teacher, structure))
        inner = np.abs(curvatures) > 1e-3
        step = vectors[:, inner] @ ((vectors[:, inner].T @ force.ravel()) / np.abs(curvatures[inner]))
        structure = structure.moved(structure.positions + np.clip(step, -0.1, 0.1).reshape(-1, 3))
        if np.abs(force).max() < 1e-10:
            break
    amplitudes = vectors[:, inner] / np.sqrt(curvatures[inner])
    return Mode(structure, amplitudes.T.reshape(-1, len(structure), 3))


def _hessian(potential: Potential, structure: Structure, step: float = 1e-4) -> Floats:
    n = 3 * len(structure)
    moves = step * np.concatenate([np.eye(n), -np.eye(n)]).reshape(-1, len(structure), 3)
    labels = potential.predict([structure.moved(structure.positions + move) for move in moves])
    up, down = np.array([x.forces for x in labels]).reshape(2, n, n)
    hessian = (down - up) / (2 * step)
    return (hessian + hessian.T) / 2


def thermal(
    name: str, temperature_K: float, rng: np.random.Generator, *, n: int, memory: float = 0.0, strain: float = 0.0
) -> list[Structure]:
    """Return n frames of a system as it is when warm, in the harmonic picture; each remembers the last a little.

    Like frames of a trajectory: neighbors are correlated by ``memory``, and every frame by itself has the same
    distribution, so that means over it are known from as many independent frames as one likes. Cells of crystals are
    strained at random by about ``strain``.
    """
    mode = systems()[name]
    n_modes = len(mode.displacements)
    drawn = rng.standard_normal((n, n_modes + 6))
    for k in range(1, n):
        drawn[k] = memory * drawn[k - 1] + (1 - memory**2) ** 0.5 * drawn[k]
    size = (BOLTZMANN * temperature_K) ** 0.5
    moves = size * np.einsum("fm,mix->fix", drawn[:, :n_modes], mode.displacements)
    if not mode.rest.pbc.any() or strain == 0:
        return [mode.rest.moved(mode.rest.positions + move) for move in moves]
    turns = np.eye(3) + strain * drawn[:, n_modes:][:, [[0, 5, 4], [5, 1, 3], [4, 3, 2]]]
    rest = mode.rest
    return [
        rest.moved((rest.positions + move) @ turn, cell=rest.cell @ turn)
        for move, turn in zip(moves, turns, strict=True)
    ]
