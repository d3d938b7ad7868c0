"""Determinism and precision: the same call twice, alone or in a batch, and the rounding of the energy."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.evidence import Evidence
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.surface.energy_noise import rounding_error
from mlff_distiller.validation.surface.rms import rms, spread
from mlff_distiller.validation.surface.subject import Subject

Floats = NDArray[np.float64]
Answers = tuple[Floats, list[Floats]]


def measure(subject: Subject) -> Evidence:
    """Ask the same thing again, in other batches and orders, and along very short lines."""
    structures, probe = list(subject.structures), subject.probe
    singles = [_one_by_one(subject) for _ in range(subject.plan.n_repeats)]
    batch = probe.labels(structures)
    energies, forces = probe.labels(structures[::-1])
    others = [batch, (energies[::-1], forces[::-1])]
    same = all(_equal(singles[0], other) for other in [*singles[1:], *others])
    return Evidence(
        [
            *_spreads("repeat", singles, subject, {"bitwise_equal": same}),
            *_spreads("batch", [singles[0], *others], subject, {}),
            _precision(subject),
        ]
    )


def _one_by_one(subject: Subject) -> Answers:
    answers = [subject.probe.labels([structure]) for structure in subject.structures]
    return np.concatenate([energies for energies, _ in answers]), [forces[0] for _, forces in answers]


def _equal(one: Answers, other: Answers) -> bool:
    return bool((one[0] == other[0]).all()) and all((a == b).all() for a, b in zip(one[1], other[1], strict=True))


def _spreads(name: str, answers: list[Answers], subject: Subject, detail: dict[str, bool]) -> list[Measurement]:
    """Return the spreads of forces and energies over several answers."""
    sizes = [len(structure) for structure in subject.structures]
    per_structure: Callable[[int], Floats] = lambda k: spread(np.stack([forces[k] for _, forces in answers]))  # noqa: E731
    energies = [spread(np.array([found[k] for found, _ in answers])) / n**2 for k, n in enumerate(sizes)]
    return [
        rms(f"{name}_force_spread", "eV/A", [per_structure(k) for k in range(len(sizes))], detail=dict(detail)),
        rms(f"{name}_energy_spread", "eV/atom", energies),
    ]


def _precision(subject: Subject) -> Measurement:
    """Return the noise of the energy per atom, and what single precision would make of such an energy."""
    sizes = np.array([len(structure) for structure in subject.structures])
    energies, _ = subject.probe.labels(list(subject.structures))
    squares = [np.array([(noise / n) ** 2]) for noise, n in zip(subject.energy_noise, sizes, strict=True)]
    single = float(np.spacing(np.abs(energies).max().astype(np.float32)))
    detail = {
        "energy_noise_eV": float(subject.energy_noise.max()),
        "step_of_single_precision_eV": single,
        "is_single_precision": rounding_error(energies) > single / 4,
        "precision": subject.probe.potential.identity.precision,
    }
    return rms("energy_noise", "eV/atom", squares, detail=detail)
