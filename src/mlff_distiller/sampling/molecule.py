"""Seeds by name: the molecules that come with ASE."""

from typing import Literal

from pydantic import Field

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import StructureError
from mlff_distiller.core.registry import nearest
from mlff_distiller.sampling.seeds import SeedPlan


class MoleculeSeed(SeedPlan):
    """A molecule of ASE's collection (the G2 set and a few more), with its spin multiplicity.

    Examples
    --------
    >>> oxygen = MoleculeSeed(molecule="O2").build(seed=1)[0]
    >>> oxygen.formula, oxygen.spin
    ('O2', 3)
    """

    kind: Literal["molecule"] = Field("molecule", description="A molecule by ASE's name for it.")
    molecule: str = Field(min_length=1, description='ASE\'s name, for instance "H2O", "CH3CH2OH" or "C6H6".')

    @property
    def title(self) -> str:
        """The given name, or ASE's."""
        return self.name or self.molecule

    def build(self, seed: int) -> list[Structure]:
        """Return the one structure; see :meth:`SeedPlan.build`."""
        import ase.build
        from ase.build.molecule import extra
        from ase.collections import g2

        from mlff_distiller.atoms.conversion import from_ase

        known = sorted({*g2.names, *extra})
        if self.molecule not in known:
            raise StructureError(
                f"ASE has no molecule '{self.molecule}'{nearest(self.molecule, known)}; "
                "give it as SMILES (kind: smiles) or in a file (kind: file)"
            )
        atoms = ase.build.molecule(self.molecule)
        atoms.info["spin"] = 1 + round(abs(atoms.get_initial_magnetic_moments().sum()))
        return [from_ase(atoms).tagged(seed=self.title, conformer=0)]
