"""Reference data beside the teacher's: one split of both, one scale of energy, and which part is whose."""

from dataclasses import dataclass

from mlff_distiller.core.errors import DataError
from mlff_distiller.core.provenance import digest
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.data.loading.mixed import Mixed, energy_shifts
from mlff_distiller.data.source import Source
from mlff_distiller.data.splits.split import PARTS, Split
from mlff_distiller.data.storage.store import Store


def unshifted(teacher: Source, reference: Source) -> Mixed:
    """Return both data sets as one, energies as they are: what a split looks at.

    They are split together so that a structure which both have labeled is on one side.
    """
    return Mixed(teacher, reference, dict.fromkeys(range(1, 119), 0.0))


def joint_digest(teacher: Store, reference: Store | None) -> str:
    """Return the digest of the data that a split belongs to."""
    return teacher.digest if reference is None else digest([teacher.digest, reference.digest])


@dataclass(frozen=True, eq=False)
class ReferenceData:
    """Teacher's and reference data with their split.

    Attributes
    ----------
    mixed : Mixed
        The teacher's structures, then those of the reference data, energies on the teacher's scale.
    split : Split
        Of the rows of both.
    """

    mixed: Mixed
    split: Split

    @classmethod
    def of(cls, teacher: Source, reference: Source, split: Split) -> "ReferenceData":
        """Bring both to one scale of energy, which the training parts alone decide.

        Raises
        ------
        DataError
            If a part of the split has none of the reference structures, or the scales cannot be compared.
        """
        n = len(teacher)
        for part in PARTS:
            if not (getattr(split, part) >= n).any():
                raise DataError(
                    f"the {part} part of the split has none of the {len(reference)} reference structures; give more of "
                    "them, or larger split.validation_fraction and split.test_fraction"
                )
        train = split.train
        shifts = energy_shifts(
            MolecularDataset(teacher, rows=train[train < n]), MolecularDataset(reference, rows=train[train >= n] - n)
        )
        return cls(Mixed(teacher, reference, shifts), split)

    def part(self, name: str) -> MolecularDataset:
        """Return "train", "validation" or "test" of both."""
        return MolecularDataset(self.mixed, rows=getattr(self.split, name))

    def reference_part(self, name: str) -> MolecularDataset:
        """Return "train", "validation" or "test" of the reference data alone."""
        rows = getattr(self.split, name)
        return MolecularDataset(self.mixed, rows=rows[rows >= len(self.mixed.teacher)])


def teachers_part(split: Split, n_teacher: int) -> Split:
    """Return the split of the teacher's structures alone.

    Examples
    --------
    >>> import numpy as np
    >>> both = Split(*(np.array(rows) for rows in ([0, 3], [1, 4], [2, 5])))
    >>> [part.tolist() for part in vars(teachers_part(both, 3)).values()]
    [[0], [1], [2]]
    """
    return Split(*(rows[rows < n_teacher] for rows in (split.train, split.validation, split.test)))
