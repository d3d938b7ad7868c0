"""Extensivity: what is far apart adds up."""

from dataclasses import replace
from itertools import pairwise
from typing import Final

import numpy as np

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import UnsupportedStructureError
from mlff_distiller.core.evidence import Evidence, Skipped
from mlff_distiller.validation.surface.periodicity import supercells
from mlff_distiller.validation.surface.rms import rms
from mlff_distiller.validation.surface.subject import Subject, name_of

_BEYOND: Final = 5.0  # Angstrom beyond the cutoff
_FAR: Final = 50.0  # Angstrom, where no cutoff is known


def extensivity(subject: Subject) -> Evidence:
    """Compare two parts far apart with each alone: a molecule twice, and with the one of another system.

    Crystals are never far apart; of them, energies of larger cells are compared. Charged or open-shell molecules make
    pairs that a potential may not cover; these are left out, and named.
    """
    molecules = [k for k, structure in enumerate(subject.structures) if not structure.pbc.any()]
    cells = [k for k, structure in enumerate(subject.structures) if structure.pbc.any()]
    if not molecules:
        larger = next(m for m in supercells(subject, cells) if m.unit == "eV/atom")
        detail = {**larger.detail, "compared": "larger cells"}
        return Evidence([replace(larger, name="extensivity_error", detail=detail)])
    excesses: dict[tuple[int, int], float] = {}
    refused: list[str] = []
    for pair in _pairs(subject, molecules):
        try:
            excesses[pair] = _excess(subject, pair)
        except UnsupportedStructureError as error:
            refused.append(f"{_name(subject, pair)}: {error}")
    if not excesses:
        reason = f"the potential covers no two molecules at once: {refused[0]}"
        return Evidence(skipped=[Skipped("extensivity_error", reason, applies=False)])
    noise = [float((subject.energy_noise[list(pair)] ** 2).sum()) / _n_atoms(subject, pair) ** 2 for pair in excesses]
    largest: dict[str, float] = {}
    for pair, excess in excesses.items():
        largest[_name(subject, pair)] = max(largest.get(_name(subject, pair), 0.0), abs(excess))
    detail = {"systems_eV_per_atom": largest, "refused": refused, "compared": "two parts far apart"}
    squares = [np.array([excess**2]) for excess in excesses.values()]
    doubt = 2 * float(np.mean(noise))  # that of the sum is about that of the parts together
    return Evidence([rms("extensivity_error", "eV/atom", squares, doubt=doubt, detail=detail)])


def _excess(subject: Subject, pair: tuple[int, int]) -> float:
    """Return the energy of two molecules far apart beyond that of each alone, eV/atom."""
    one, other = (subject.structures[k] for k in pair)
    both = apart(one, other, cutoff=subject.probe.potential.cutoff)
    together, *alone = subject.probe.energies([both, one, other])
    return float(together - sum(alone)) / len(both)


def _n_atoms(subject: Subject, pair: tuple[int, int]) -> int:
    return sum(len(subject.structures[k]) for k in pair)


def _name(subject: Subject, pair: tuple[int, int]) -> str:
    return " + ".join(name_of(subject.structures[k]) for k in pair)


def _pairs(subject: Subject, molecules: list[int]) -> list[tuple[int, int]]:
    """Return each molecule with itself, and the first of each system with that of the next one."""
    first = list({name_of(subject.structures[k]): k for k in reversed(molecules)}.values())[::-1]
    return [*((k, k) for k in molecules), *pairwise(first)]


def apart(one: Structure, other: Structure, *, cutoff: float | None) -> Structure:
    """Return two molecules out of each other's reach.

    Examples
    --------
    >>> atom = Structure([10], [[0, 0, 0]])
    >>> apart(atom, atom, cutoff=6.0).positions[1].tolist()
    [11.0, 0.0, 0.0]
    """
    gap = _FAR if cutoff is None else cutoff + _BEYOND
    shift = np.array([one.positions[:, 0].max() - other.positions[:, 0].min() + gap, 0.0, 0.0])
    return Structure(
        np.concatenate([one.numbers, other.numbers]),
        np.concatenate([one.positions, other.positions + shift]),
        charge=one.charge + other.charge,
        spin=one.spin + other.spin - 1,
    )
