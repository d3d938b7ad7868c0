"""Symmetry: nothing may depend on how a structure is turned, mirrored, placed or numbered."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.evidence import Evidence
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.surface.rms import rms, spread
from mlff_distiller.validation.surface.subject import Subject

Floats = NDArray[np.float64]
Change = tuple[Structure, Callable[[Floats], Floats]]
"""A changed structure, and how its forces are changed back."""

_SHIFT_A: Final = 5.0
_KINDS: Final = ("rotation", "translation", "permutation")


class _Samples:
    """Energies per atom and back-transformed forces of one structure under all changes."""

    def __init__(self, subject: Subject, index: int) -> None:
        structure, n = subject.structures[index], subject.plan.n_rotations
        rng = subject.rng("symmetry", index)
        turns = [random_rotation(rng) for _ in range(n)]
        changes = [
            *(_turned(structure, turn) for turn in turns),
            *(_turned(structure, -turn) for turn in turns),
            *(_shifted(structure, rng) for _ in range(n)),
            *(_reordered(structure, rng) for _ in range(n)),
        ]
        energies, forces = subject.probe.labels([structure, *(changed for changed, _ in changes)])
        energies = energies / len(structure)
        turned_back = np.stack([forces[0], *(back(f) for (_, back), f in zip(changes, forces[1:], strict=True))])
        parts = np.split(np.arange(1, 4 * n + 1), 4)
        self.energies = {kind: energies[[0, *parts[k]]] for kind, k in zip(_KINDS, (0, 2, 3), strict=True)}
        self.forces = {kind: turned_back[[0, *parts[k]]] for kind, k in zip(_KINDS, (0, 2, 3), strict=True)}
        self.mirrored = turned_back[parts[1]]
        self.mirrored_energies = energies[parts[1]]


def measure(subject: Subject) -> Evidence:
    """Turn, mirror, shift and renumber, and look how energies and back-transformed forces scatter."""
    samples = [_Samples(subject, k) for k in range(len(subject.structures))]
    found = []
    for kind in _KINDS:
        found += [
            rms(f"{kind}_force_spread", "eV/A", [spread(x.forces[kind]) for x in samples]),
            rms(f"{kind}_energy_spread", "eV/atom", [spread(x.energies[kind]) for x in samples]),
        ]
    return Evidence([*found, *_reflection(samples)])


def _reflection(samples: Sequence[_Samples]) -> list[Measurement]:
    """Return half the difference between a structure and its mirror image, cleared of the scatter of each."""
    pairs = {
        "reflection_force_spread": ("eV/A", [(x.forces["rotation"], x.mirrored) for x in samples]),
        "reflection_energy_spread": ("eV/atom", [(x.energies["rotation"], x.mirrored_energies) for x in samples]),
    }
    found = []
    for name, (unit, both) in pairs.items():
        squares = [((a.mean(0) - b.mean(0)) ** 2).ravel() / 4 for a, b in both]
        noise = [spread(x) / (4 * len(x)) for pair in both for x in pair]
        found.append(rms(name, unit, squares, noise=2 * float(np.concatenate(noise).mean())))
    return found


def random_rotation(rng: np.random.Generator) -> Floats:
    """Return a proper rotation matrix, all directions alike.

    Examples
    --------
    >>> round(float(np.linalg.det(random_rotation(np.random.default_rng(0)))), 12)
    1.0
    """
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q = q * np.sign(np.diag(r))
    return np.asarray(q if np.linalg.det(q) > 0 else -q)


def _turned(structure: Structure, matrix: Floats) -> Change:
    center = structure.positions.mean(0)
    positions = (structure.positions - center) @ matrix.T + center
    return structure.moved(positions, cell=structure.cell @ matrix.T), lambda forces: forces @ matrix


def _shifted(structure: Structure, rng: np.random.Generator) -> Change:
    return structure.moved(structure.positions + rng.uniform(-_SHIFT_A, _SHIFT_A, 3)), lambda forces: forces


def _reordered(structure: Structure, rng: np.random.Generator) -> Change:
    order = rng.permutation(len(structure))
    back = np.argsort(order)
    changed = Structure(
        structure.numbers[order],
        structure.positions[order],
        cell=structure.cell,
        pbc=structure.pbc,
        charge=structure.charge,
        spin=structure.spin,
    )
    return changed, lambda forces: forces[back]
