"""A summary of a data set for the report: counts and distributions, small and JSON-able."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.elements import SYMBOLS
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure

Floats = NDArray[np.float64]
_MOST_BINS = 60


def summarize_dataset(
    structures: Sequence[Structure],
    labels: Sequence[Labels],
    *,
    splits: Sequence[str],
    segments: Sequence[str],
    systems: Sequence[str] = (),
    temperatures_K: Sequence[float] = (),
) -> dict[str, Any]:
    """Return counts, elements, charges and distributions of a labeled data set.

    Parameters
    ----------
    structures, labels : sequences
        F frames and their labels.
    splits, segments : sequences of str
        Split ("train", "validation", "test") and trajectory segment of each frame.
    systems : sequence of str, optional
        System of each frame; its formula unless given.
    temperatures_K : sequence of float
        Temperatures at which structures were sampled.

    Examples
    --------
    >>> h = Structure([1], [[0, 0, 0]])
    >>> summarize_dataset([h, h], [Labels(energy=-1.0)] * 2, splits=["train", "test"], segments=["a", "b"])["splits"]
    {'train': {'n_frames': 1, 'n_segments': 1}, 'test': {'n_frames': 1, 'n_segments': 1}}
    """
    names = np.array(systems if len(systems) else [structure.formula for structure in structures])
    split, segment = np.array(splits), np.array(segments)
    sizes = np.array([len(structure) for structure in structures])
    return {
        "n_frames": len(structures),
        "n_atoms": int(sizes.sum()),
        "elements": [SYMBOLS[z] for z in sorted({int(z) for s in structures for z in s.numbers})],
        "charges": sorted({s.charge for s in structures}),
        "temperatures_K": sorted({float(t) for t in temperatures_K}),
        "systems": {name: _system(structures, names == name, split) for name in dict.fromkeys(names.tolist())},
        "splits": {
            name: {"n_frames": int((split == name).sum()), "n_segments": len(set(segment[split == name].tolist()))}
            for name in dict.fromkeys(split.tolist())
        },
        "distributions": _distributions(labels, names, split, sizes),
    }


def _system(structures: Sequence[Structure], own: NDArray[np.bool_], split: NDArray[np.str_]) -> dict[str, Any]:
    first = structures[int(np.argmax(own))]
    return {
        "formula": first.formula,
        "n_atoms": len(first),
        "charge": first.charge,
        "n_frames": {name: int((own & (split == name)).sum()) for name in dict.fromkeys(split.tolist())},
    }


def _distributions(
    labels: Sequence[Labels], names: NDArray[np.str_], split: NDArray[np.str_], sizes: NDArray[np.int64]
) -> dict[str, Any]:
    """Return histograms by split of force magnitudes (eV/A) and energies about each system's mean (meV/atom)."""
    energies = np.array([np.nan if x.energy is None else x.energy for x in labels]) / sizes
    for name in np.unique(names):
        own = (names == name) & np.isfinite(energies)
        energies[own] = 1000 * (energies[own] - energies[own].mean())
    forces = [np.zeros(0) if x.forces is None else np.linalg.norm(x.forces, axis=1) for x in labels]
    force_split = np.repeat(split, [len(f) for f in forces])
    return {
        "force_magnitude_eV_per_A": _histogram(np.concatenate(forces), force_split),
        "relative_energy_meV_per_atom": _histogram(energies, split),
    }


def _histogram(values: Floats, split: NDArray[np.str_]) -> dict[str, Any]:
    finite = np.isfinite(values)
    values, split = values[finite], split[finite]
    if not len(values):
        return {}
    smallest = min(np.unique(split, return_counts=True)[1])
    n_bins = int(np.clip(3 * smallest ** (1 / 3), 8, _MOST_BINS))  # coarse enough for the smallest split
    edges = np.histogram_bin_edges(values, bins=n_bins)
    counts = {
        name: np.histogram(values[split == name], bins=edges)[0].tolist() for name in dict.fromkeys(split.tolist())
    }
    return {"edges": [float(f"{edge:.6g}") for edge in edges], "counts": counts}
