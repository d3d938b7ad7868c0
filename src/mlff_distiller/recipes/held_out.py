"""What a run holds out: the frames a student is judged on, and where its dynamics starts."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.labeled import LabeledStructure
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.data.splits.files import read_split
from mlff_distiller.data.splits.split import Split
from mlff_distiller.data.storage.store import Store
from mlff_distiller.distillation.reference import ReferenceData, joint_digest, teachers_part
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.recipes.trainees import Trained
from mlff_distiller.validation.held_out import HeldOut

_STRETCHES = 10
_ATOMS_IN_MEMORY = 5_000_000  # with edges about 500 bytes each


@dataclass(frozen=True, eq=False)
class LabeledData:
    """The labeled structures of a run and their split, and the reference data beside them, if any."""

    store: Store
    split: Split
    reference: ReferenceData | None = None

    @classmethod
    def open(
        cls, directory: RunDirectory, *, labels: Path | None = None, reference: str | None = None
    ) -> "LabeledData":
        """Open the data of a run.

        Parameters
        ----------
        directory : RunDirectory
            The run.
        labels : Path, optional
            Store of the labels, where it is not the directory's own.
        reference : str, optional
            Store of reference data.

        Raises
        ------
        DataError
            If the labels or the split are missing or damaged, or do not belong together.
        """
        store = Store.open(labels or directory.labels)
        other = None if reference is None else Store.open(Path(reference))
        split = read_split(directory.split_file, data_digest=joint_digest(store, other)).split
        both = None if other is None else ReferenceData.of(store, other, split)
        return cls(store, teachers_part(split, len(store)), both)

    @classmethod
    def of(cls, directory: RunDirectory, recipe: Trained) -> "LabeledData":
        """Open the data of the run of a recipe; see :meth:`open`."""
        return cls.open(directory, labels=recipe.labels(directory.path), reference=recipe.training.reference_data)

    @classmethod
    def tested(cls, directory: RunDirectory, recipe: Any) -> "LabeledData":
        """Open what the potentials of a recipe are tested on.

        For students of the run that is what was held out; for potentials that come from elsewhere, all data that
        were given, or the test part where a split was given too.
        """
        if hasattr(recipe, "training"):
            return cls.of(directory, recipe)
        store = Store.open(recipe.labels(directory.path))
        if recipe.split is not None:
            return cls(store, read_split(Path(recipe.split), data_digest=store.digest).split)
        nothing = np.zeros(0, dtype=np.int64)
        return cls(store, Split(nothing, nothing, np.arange(len(store))))

    def part(self, name: str) -> MolecularDataset:
        """Return "train", "validation" or "test": in memory, unless that would take more than a few GB."""
        rows: NDArray[np.int64] = getattr(self.split, name)
        part = MolecularDataset(self.store, rows=rows)
        return MolecularDataset(part, in_memory=True) if part.sizes.sum() <= _ATOMS_IN_MEMORY else part

    @property
    def digest(self) -> str:
        """Digest of all labels."""
        other = None if self.reference is None else self.reference.mixed.reference
        return joint_digest(self.store, other if isinstance(other, Store) else None)

    def to_train_on(self, on_reference: bool = False) -> tuple[MolecularDataset, MolecularDataset]:
        """Return what a student is trained on and what chooses the best.

        With reference data it is these that choose: they are what the student is for.

        Parameters
        ----------
        on_reference : bool
            Leave the teacher's labels out.
        """
        if self.reference is None:
            return self.part("train"), self.part("validation")
        train = self.reference.reference_part("train") if on_reference else self.reference.part("train")
        validation = self.reference.reference_part("validation")
        return MolecularDataset(train, in_memory=True), MolecularDataset(validation, in_memory=True)

    def held_out(self) -> HeldOut:
        """Return the test frames with the segments and systems they come from."""
        part = list(self.part("test"))
        structures = [structure for structure, _ in part]
        trained = {system_of(structure) for structure in self.part("train").structures() if len(structure) > 1}
        return HeldOut(
            structures,
            [labels for _, labels in part],
            segments_of(structures),
            [system_of(structure) for structure in structures],
            sorted(trained),
        )

    def starts(self, temperature_K: float, *, n: int = 1, most: int | None = None) -> dict[str, list[Structure]]:
        """Return starting points for dynamics at a temperature, n held-out frames by the name of each system.

        They are the frames sampled nearest that temperature, and of those the ones nearest the mean potential
        energy there: with velocities of the same temperature, a constant-energy run then stays at it. Single atoms are
        left out where there is anything else.

        Parameters
        ----------
        temperature_K : float
            Of the dynamics.
        n : int
            Starting points of each system.
        most : int, optional
            Most systems, evenly chosen by name; all unless given.
        """
        held_out = _by_system(self.part("test"))
        names = sorted(name for name, own in held_out.items() if len(own[0][0]) > 1) or sorted(held_out)
        if most is not None and len(names) > most:
            names = [names[row] for row in np.linspace(0, len(names) - 1, most).round().astype(int)]
        everything = _by_system(MolecularDataset(self.store), names)
        starts: dict[str, list[Structure]] = {}
        for name in names:
            nearest = _nearest_temperature(held_out[name], temperature_K)
            mean = np.mean([energy for _, energy in _at(everything[name], nearest)])
            ranked = sorted(_at(held_out[name], nearest), key=lambda pair: abs(pair[1] - mean))
            starts[name] = [ranked[k % len(ranked)][0] for k in range(n)]
        return starts


def _by_system(data: MolecularDataset, names: Collection[str] | None = None) -> dict[str, list[LabeledStructure]]:
    """Return frames by the name of their system, of all systems or of some."""
    found: dict[str, list[LabeledStructure]] = {}
    for labeled in data:
        name = system_of(labeled.structure)
        if names is None or name in names:
            found.setdefault(name, []).append(labeled)
    return found


def system_of(structure: Structure) -> str:
    """Return the name of a structure's system: its seed's, or its formula where it came without one.

    Examples
    --------
    >>> system_of(Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]]))
    'H2'
    """
    return str(structure.info.get("seed", structure.formula))


def segments_of(structures: Sequence[Structure]) -> list[str]:
    """Return what each frame may be correlated with: its segment, or a stretch of neighbors where none is known.

    Frames of unknown origin may be a trajectory, so those of a system are cut into a few long stretches.

    Examples
    --------
    >>> h2 = [Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]]) for _ in range(3)]
    >>> segments_of(h2)
    ['H2/0', 'H2/1', 'H2/2']
    """
    sizes, seen = Counter(map(system_of, structures)), Counter[str]()
    segments = []
    for structure in structures:
        name = system_of(structure)
        stretch = seen[name] * min(_STRETCHES, sizes[name]) // sizes[name]
        segments.append(str(structure.info.get("segment", f"{name}/{stretch}")))
        seen[name] += 1
    return segments


def _nearest_temperature(data: Sequence[LabeledStructure], temperature_K: float) -> float | None:
    """Return the sampled temperature that is nearest; None if this system was never sampled by dynamics."""
    sampled = {structure.info["temperature_K"] for structure, _ in data if "temperature_K" in structure.info}
    return min(sampled, key=lambda found: abs(found - temperature_K)) if sampled else None


def _at(data: Sequence[LabeledStructure], temperature_K: float | None) -> list[tuple[Structure, float]]:
    """Return the frames of a system at a sampled temperature, with their energies."""
    return [
        (structure, label.energy or 0.0)
        for structure, label in data
        if structure.info.get("temperature_K") == temperature_K
    ]
