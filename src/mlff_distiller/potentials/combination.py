"""Potentials made of potentials: committees, which know their spread, and weighted sums."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.labels import SINGLE, SPREADS, Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PlanError
from mlff_distiller.core.provenance import digest
from mlff_distiller.potentials.base import Identity, Potential

Floats = NDArray[np.float64]


class Combination(Potential):
    """Base of potentials made of others: asks every part, and knows what all of them have in common.

    Parameters
    ----------
    kind : str
        Of the identity.
    parts : sequence of Potential
        What it is made of.
    weights : sequence of float
        How much of each.

    Raises
    ------
    PlanError
        If there are no parts, or no element is covered by all of them.
    """

    def __init__(self, kind: str, parts: Sequence[Potential], weights: Sequence[float]) -> None:
        self.parts, self.weights = list(parts), np.array(weights, dtype=np.float64)
        self.elements = frozenset.intersection(*(part.elements for part in parts)) if parts else frozenset()
        if not self.elements:
            names = " and ".join(str(part.identity) for part in parts) or "nothing"
            raise PlanError(f"teacher '{kind}' is made of {names}, which have no element in common; choose others")
        self.charges = _shared(part.charges for part in parts)
        self.spins = _shared(part.spins for part in parts)
        self.boundaries = frozenset.intersection(*(part.boundaries for part in parts))
        self.opens_along_axes = any(part.opens_along_axes for part in parts)
        cutoffs = [part.cutoff for part in parts]
        self.cutoff = None if None in cutoffs else max(cutoff or 0.0 for cutoff in cutoffs)
        self.properties = frozenset.intersection(*(part.properties for part in parts)) & set(SINGLE)
        self.is_conservative = all(part.is_conservative for part in parts)
        identities = [part.identity for part in parts]
        self.identity = Identity(
            kind,
            " + ".join(
                f"{'' if w == 1 else f'{w:g} '}{identity}" for w, identity in zip(self.weights, identities, strict=True)
            ),
            digest([[w, identity.to_json()] for w, identity in zip(self.weights.tolist(), identities, strict=True)]),
            _common(identity.precision for identity in identities),
            _common(identity.device for identity in identities),
        )

    def check(self, structures: Sequence[Structure], properties: Collection[str]) -> None:
        """Raise what :meth:`predict` promises, for every part."""
        super().check(structures, properties)
        for part in self.parts:
            part.check(structures, set(properties) & part.properties)

    def close(self) -> None:
        """Let go of what the parts hold."""
        for part in self.parts:
            part.close()

    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        """Return labels for structures, in order; see :meth:`Potential.predict`."""
        super().check(structures, properties)
        asked = self._asked(frozenset(properties))
        answers = [part.predict(structures, asked) for part in self.parts]
        return [self._combined(own, properties) for own in zip(*answers, strict=True)]

    def hessian_products(self, structures: Sequence[Structure], directions: Sequence[Floats]) -> list[Floats]:
        """Return the sum of the products of the parts; see the base class."""
        answers = [part.hessian_products(structures, directions) for part in self.parts]
        return [np.tensordot(self.weights, np.array(own), axes=1) for own in zip(*answers, strict=True)]

    def _asked(self, properties: frozenset[str]) -> frozenset[str]:
        return properties

    def _combined(self, answers: Sequence[Labels], properties: Collection[str]) -> Labels:
        return _folded(answers, properties, lambda values: np.tensordot(self.weights, values, axes=1))


class WeightedSum(Combination):
    """A weighted sum of potentials: a base with a correction, or the difference of two.

    Parameters
    ----------
    parts : sequence of Potential
        What is added up.
    weights : sequence of float
        How much of each, for instance (1, -1) for a difference.
    kind : str
        Of the identity.

    Examples
    --------
    >>> from mlff_distiller.potentials.analytic import morse
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])
    >>> deep, shallow = (morse(depth=d, width=1.9, distance=0.74, cutoff=6.0) for d in (4.5, 4.0))
    >>> round(WeightedSum([deep, shallow], [1, -1]).predict([h2])[0].energy, 3)
    -0.5
    """

    def __init__(self, parts: Sequence[Potential], weights: Sequence[float], *, kind: str = "sum") -> None:
        super().__init__(kind, parts, weights)


class Committee(Combination):
    """The mean of several potentials, with their standard deviation as a measure of what they do not know.

    The spread of independently trained members is a lower bound of the error, not an estimate of it: what all of
    them have wrong they have wrong together.

    Parameters
    ----------
    members : sequence of Potential
        Two or more.

    Raises
    ------
    PlanError
        If there are fewer than two members, or they have nothing in common.

    Examples
    --------
    >>> from mlff_distiller.potentials.analytic import morse
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])
    >>> members = [morse(depth=d, width=1.9, distance=0.74, cutoff=6.0) for d in (4.0, 5.0)]
    >>> labels = Committee(members).predict([h2], ["energy", "energy_std"])[0]
    >>> round(labels.energy, 3), round(labels.energy_std, 3)
    (-4.5, 0.707)
    """

    def __init__(self, members: Sequence[Potential]) -> None:
        if len(members) < 2:
            raise PlanError(f"a committee needs two members or more, got {len(members)}; name more in the recipe")
        super().__init__("committee", members, [1 / len(members)] * len(members))
        known = {"energy_std": "energy", "force_std": "forces"}
        self.properties |= {spread for spread, mean in known.items() if mean in self.properties}

    def _asked(self, properties: frozenset[str]) -> frozenset[str]:
        needed = {"energy_std": "energy", "force_std": "forces"}
        return (properties - set(SPREADS)) | {needed[name] for name in properties & set(SPREADS)}

    def _combined(self, answers: Sequence[Labels], properties: Collection[str]) -> Labels:
        spreads: dict[str, Any] = {}
        if "energy_std" in properties:
            spreads["energy_std"] = float(np.std(np.array([labels.energy for labels in answers]), ddof=1))
        if "force_std" in properties:
            variances = np.var(np.array([labels.forces for labels in answers]), axis=0, ddof=1)
            spreads["force_std"] = np.sqrt(variances.sum(axis=1))
        means = super()._combined(answers, properties)
        return Labels(**{name: getattr(means, name) for name in means.present}, **spreads)


def _folded(answers: Sequence[Labels], properties: Collection[str], fold: Callable[[Any], Any]) -> Labels:
    """Return labels folded property by property, of what was asked for and all have."""
    shared = set(answers[0].present).intersection(*(labels.present for labels in answers)) & set(properties)
    arrays = {name: np.asarray(fold(np.array([getattr(one, name) for one in answers]))) for name in shared}
    values: dict[str, Any] = {name: array if array.shape else float(array) for name, array in arrays.items()}
    return Labels(**values)


def _shared(sets: Iterable[frozenset[int] | None]) -> frozenset[int] | None:
    """Return what all cover; None, which stands for anything, bounds nothing."""
    bounds = [covered for covered in sets if covered is not None]
    return frozenset.intersection(*bounds) if bounds else None


def _common(values: Any) -> str:
    found = sorted(set(values))
    return found[0] if len(found) == 1 else "mixed"
