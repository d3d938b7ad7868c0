"""Seeds from files: anything that ASE reads."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import StructureError
from mlff_distiller.core.provenance import digest, file_digest
from mlff_distiller.sampling.seeds import SeedPlan


class FileSeed(SeedPlan):
    """Structures in a file.

    Frames with the same atoms in the same order are conformers of one seed; other frames are seeds of their own,
    numbered from 1.

    Examples
    --------
    >>> import tempfile, ase.build
    >>> file = Path(tempfile.mkdtemp(), "water.xyz")
    >>> ase.build.molecule("H2O").write(file)
    >>> FileSeed(path=file).build(seed=1)[0].info
    {'seed': 'water', 'conformer': 0}
    """

    kind: Literal["file"] = Field("file", description="Structures in any file that ASE reads.")
    path: Path = Field(description="The file; a relative path starts from the recipe's folder.")
    index: str = Field(
        ":",
        pattern=r"^(-?[0-9]+|(-?[0-9]+)?:(-?[0-9]+)?(:(-?[0-9]+)?)?)$",
        description='Which frames, as in ASE: ":" all, "0" the first, "-1" the last, "::10" every tenth.',
    )

    @property
    def title(self) -> str:
        """The given name, or the file's without its ending."""
        return self.name or "_".join(self.path.stem.split())

    def build(self, seed: int) -> list[Structure]:
        """Return the frames; see :meth:`SeedPlan.build`."""
        from mlff_distiller.atoms.conversion import read_structures

        conformers: dict[tuple[object, ...], list[Structure]] = {}
        for structure in read_structures(self.path, index=self.index):
            conformers.setdefault(_composition(structure), []).append(structure)
        names = [f"{self.title}-{i}" for i in range(1, len(conformers) + 1)] if len(conformers) > 1 else [self.title]
        return [
            structure.tagged(seed=name, conformer=k)
            for name, group in zip(names, conformers.values(), strict=True)
            for k, structure in enumerate(group)
        ]

    def fingerprint(self) -> str:
        """Return a digest of the file's content and the settings; where the file lies does not matter.

        Raises
        ------
        StructureError
            If the file cannot be read.
        """
        try:
            return digest([self.title, self.index, file_digest(self.path)])
        except OSError as error:
            raise StructureError(f"{self.path} cannot be read ({error.strerror}); check the path") from error

    def located(self, folder: Path) -> Self:
        """Return the same seed with its path taken from a folder."""
        return self.model_copy(update={"path": (folder / self.path).resolve()})


def _composition(structure: Structure) -> tuple[object, ...]:
    return (*structure.numbers.tolist(), *structure.pbc.tolist(), structure.charge, structure.spin)
