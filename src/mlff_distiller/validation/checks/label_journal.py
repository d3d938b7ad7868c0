"""A journal of labels: chunks that a teacher has labeled are kept, so that work that was killed goes on behind them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PredictionError
from mlff_distiller.core.evidence import texts
from mlff_distiller.core.files import write_atomically
from mlff_distiller.core.provenance import digest
from mlff_distiller.potentials.base import Potential

Answers = tuple[list[Labels | None], list[str]]
"""A label for each structure, or None, and why there is none."""


class Journal:
    """Energies and forces of structures, chunk by chunk, in a folder.

    Parameters
    ----------
    folder : Path, optional
        Where chunks are kept until the journal is closed; nothing is kept unless given.
    chunk_size : int
        How many structures the teacher is asked for at once.

    Examples
    --------
    >>> from mlff_distiller.potentials.analytic import harmonic
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 1.2]])
    >>> labels, _ = Journal(None, chunk_size=8).labels(harmonic(stiffness=10.0, distance=1.0, cutoff=3.0), [h2])
    >>> round(labels[0].energy, 6)
    0.2
    """

    def __init__(self, folder: Path | None, *, chunk_size: int) -> None:
        self.folder, self.chunk_size = folder, chunk_size
        self._written: list[Path] = []

    def labels(self, teacher: Potential, structures: Sequence[Structure]) -> Answers:
        """Return what the teacher says of one chunk, or has said of it before."""
        if self.folder is None:
            return _asked(teacher, structures)
        key = [teacher.identity.to_json(), [_content(s) for s in structures]]
        path = self.folder / f"labels-{digest(key)[:16]}.npz"
        if not path.is_file():
            _write(path, _asked(teacher, structures))
        self._written.append(path)
        return _read(path, structures)

    def close(self) -> None:
        """Forget all chunks: the work is done."""
        for path in self._written:
            path.unlink(missing_ok=True)


def _asked(teacher: Potential, structures: Sequence[Structure]) -> Answers:
    """Ask the teacher, again without a structure whenever it cannot evaluate one."""
    wanted = [name for name in ("energy", "forces") if name in teacher.properties]
    labels: list[Labels | None] = [None] * len(structures)
    refusals = [""] * len(structures)
    waiting = list(range(len(structures)))
    while waiting:
        try:
            found = teacher.predict([structures[k] for k in waiting], wanted)
        except PredictionError as error:
            refusals[waiting.pop(error.index)] = error.reason or "no reason given"
            continue
        for k, label in zip(waiting, found, strict=True):
            labels[k] = label
        break
    return labels, refusals


def _write(path: Path, answers: Answers) -> None:
    labels, refusals = answers
    arrays: dict[str, Any] = {"refusals": texts(refusals)}
    for k, label in enumerate(labels):
        for name in () if label is None else label.present:
            arrays[f"{name}-{k}"] = getattr(label, name)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as handle:
            np.savez(handle, **arrays)

    write_atomically(path, write)


def _read(path: Path, structures: Sequence[Structure]) -> Answers:
    with path.open("rb") as handle, np.load(handle, allow_pickle=False) as arrays:
        refusals = [str(why) for why in arrays["refusals"]]
        labels = [None if why else _label(arrays, k) for k, why in enumerate(refusals[: len(structures)])]
    return labels, refusals


def _label(arrays: Any, k: int) -> Labels:
    energy, forces = (arrays.get(f"{name}-{k}") for name in ("energy", "forces"))
    return Labels(energy=None if energy is None else float(energy), forces=forces)


def _content(structure: Structure) -> list[Any]:
    arrays = (structure.numbers, structure.positions, structure.cell, structure.pbc)
    return [*(array.tolist() for array in arrays), structure.charge, structure.spin]
