"""What a run holds out: the frames a student is judged on, and where its dynamics starts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.split import Split
from mlff_distiller.data.store import Store
from mlff_distiller.distillation.distill import LabeledSet
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.validation.checks.force_errors import HeldOut


@dataclass(frozen=True, eq=False)
class LabeledData:
    """The labeled structures of a run and their split."""

    store: Store
    split: Split

    @classmethod
    def open(cls, directory: RunDirectory) -> "LabeledData":
        """Open the data of a run.

        Raises
        ------
        DataError
            If the labels or the split are missing or damaged.
        """
        try:
            split = Split.from_json(json.loads(directory.split_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{directory.split_file} is missing or damaged; delete it and run again") from error
        return cls(Store.open(directory.labels), split)

    def part(self, name: str) -> LabeledSet:
        """Return "train", "validation" or "test"."""
        rows: NDArray[np.int64] = getattr(self.split, name)
        return LabeledSet(self.store.structures(rows), self.store.all_labels(rows))

    def held_out(self) -> HeldOut:
        """Return the test frames with the segments and systems they come from."""
        part = self.part("test")
        infos = [structure.info for structure in part.structures]
        return HeldOut(
            part.structures, part.labels, [info["segment"] for info in infos], [info["seed"] for info in infos]
        )

    def starts(self) -> tuple[list[str], list[Structure]]:
        """Return names and starting points for dynamics, one for each system: its coldest held-out frame."""
        return coldest(self.store.structures(self.split.test)) if len(self.split.test) else ([], [])


def coldest(structures: Sequence[Structure]) -> tuple[list[str], list[Structure]]:
    """Return the names of the systems and, for each, the first frame sampled at the lowest temperature.

    Examples
    --------
    >>> h = Structure([1], [[0, 0, 0]])
    >>> hot, cold = (h.tagged(seed="H", temperature_K=t) for t in (600.0, 300.0))
    >>> names, frames = coldest([hot, cold])
    >>> names, frames[0].info["temperature_K"]
    (['H'], 300.0)
    """
    found: dict[str, Structure] = {}
    for structure in sorted(structures, key=lambda s: s.info.get("temperature_K", 0.0)):
        found.setdefault(structure.info["seed"], structure)
    names = sorted(found)
    return names, [found[name] for name in names]
