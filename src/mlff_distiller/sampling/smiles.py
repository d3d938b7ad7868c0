"""Seeds from SMILES: conformers from RDKit, hydrogens always explicit."""

from typing import Any, Final, Literal

import numpy as np
from ase.data import covalent_radii
from pydantic import Field

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import StructureError
from mlff_distiller.core.randomness import derived_seed
from mlff_distiller.sampling.seeds import SeedPlan

# Between molecules of one SMILES, in sums of covalent radii: ion pairs come as close as 0.78 of it (CsF).
_CLOSEST_IONS: Final = 0.7

_GAP: Final = 2.5  # between molecules that are put side by side, Angstrom: about the sum of two hydrogens' radii


class SmilesSeed(SeedPlan):
    """A molecule given as SMILES.

    Conformers are embedded by ETKDGv3 (doi:10.1021/acs.jcim.0c00025) and relaxed with MMFF94, or UFF where MMFF94 has
    no parameters. The charge is the sum of the formal charges; radical electrons are taken as unpaired and parallel.

    Examples
    --------
    >>> ethanol = SmilesSeed(smiles="CCO", name="ethanol").build(seed=1)[0]
    >>> ethanol.formula, ethanol.charge, ethanol.spin
    ('C2H6O', 0, 1)
    """

    kind: Literal["smiles"] = Field("smiles", description="A molecule given as SMILES.")
    smiles: str = Field(min_length=1, description='The SMILES, for instance "CCO" for ethanol.')
    n_conformers: int = Field(1, ge=1, le=1000, description="Number of different starting geometries.")

    @property
    def title(self) -> str:
        """The given name, or the SMILES with slashes and spaces replaced."""
        return self.name or "_".join(self.smiles.replace("/", " ").replace("\\", " ").split())

    def build(self, seed: int) -> list[Structure]:
        """Return the conformers; see :meth:`SeedPlan.build`."""
        from rdkit import Chem, rdBase

        molecule = Chem.AddHs(_parsed(self.smiles))
        with rdBase.BlockLogs():
            conformers = _embedded(molecule, self, derived_seed(seed, "smiles", self.smiles) % 2**31)
            _separate(molecule)
            _relax(molecule)
        _check_contacts(molecule, self.smiles)
        numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
        return [
            Structure(
                numbers,
                molecule.GetConformer(conformer).GetPositions(),
                charge=Chem.GetFormalCharge(molecule),
                spin=1 + sum(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms()),
                info={"seed": self.title, "conformer": k},
            )
            for k, conformer in enumerate(conformers)
        ]


def _parsed(smiles: str) -> Any:
    from rdkit import Chem, rdBase

    if not hasattr(rdBase, "CaptureErrorLog"):  # RDKit before 2025 cannot give its reason as text
        with rdBase.BlockLogs():
            molecule, said = Chem.MolFromSmiles(smiles), ""
    else:
        with rdBase.CaptureErrorLog() as log:
            molecule = Chem.MolFromSmiles(smiles)
        said = _reason(log.messages)
    if molecule is None:
        raise StructureError(f"RDKit rejects the SMILES '{smiles}'{said}; correct it")
    if not molecule.GetNumAtoms() or any(atom.GetAtomicNum() == 0 for atom in molecule.GetAtoms()):
        raise StructureError(f"the SMILES '{smiles}' holds a placeholder or no atom at all; write a whole molecule")
    return molecule


def _reason(messages: Any) -> str:
    text = messages if isinstance(messages, str) else "\n".join(messages)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    first = lines[0].partition("] ")[2] if lines[0].startswith("[") else lines[0]
    return f" ({first.removeprefix('SMILES Parse Error: ').rstrip(':')})"


def _embedded(molecule: Any, plan: SmilesSeed, random_seed: int) -> list[int]:
    from rdkit.Chem import rdDistGeom

    settings: Any = rdDistGeom.ETKDGv3()
    settings.randomSeed = random_seed
    for random_start in (False, True):  # crowded molecules need random starting coordinates
        settings.useRandomCoords = random_start
        conformers = list(rdDistGeom.EmbedMultipleConfs(molecule, plan.n_conformers, settings))
        if conformers:
            return conformers
    raise StructureError(
        f"RDKit finds no geometry for the SMILES '{plan.smiles}'; give the structure in a file (kind: file)"
    )


def _separate(molecule: Any) -> None:
    """Put the molecules of a SMILES with dots side by side; RDKit embeds them on top of each other."""
    from rdkit import Chem

    for conformer in molecule.GetConformers():
        positions, edge = conformer.GetPositions(), 0.0
        for atoms in map(list, Chem.GetMolFrags(molecule)):
            positions[atoms, 0] += edge - positions[atoms, 0].min()
            edge = positions[atoms, 0].max() + _GAP
            positions[atoms, 1:] -= positions[atoms, 1:].mean(axis=0)
        conformer.SetPositions(positions)


def _relax(molecule: Any) -> None:
    """Relax with the best force field that knows all atoms; without one the embedded geometry stays."""
    from rdkit.Chem import rdForceFieldHelpers as fields

    if fields.MMFFHasAllMoleculeParams(molecule):
        fields.MMFFOptimizeMoleculeConfs(molecule, maxIters=2000, ignoreInterfragInteractions=False)
    elif fields.UFFHasAllMoleculeParams(molecule):
        fields.UFFOptimizeMoleculeConfs(molecule, maxIters=2000, ignoreInterfragInteractions=False)


def _check_contacts(molecule: Any, smiles: str) -> None:
    """Refuse geometries in which atoms that are not bonded touch: RDKit makes them for hypervalent atoms."""
    from rdkit import Chem

    radii = covalent_radii[[atom.GetAtomicNum() for atom in molecule.GetAtoms()]]
    bonds = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in molecule.GetBonds()]
    closest = radii[:, None] + radii
    for atoms in map(list, Chem.GetMolFrags(molecule)):
        others = np.setdiff1d(np.arange(len(radii)), atoms)
        closest[np.ix_(atoms, others)] *= _CLOSEST_IONS
    for conformer in molecule.GetConformers():
        positions = conformer.GetPositions()
        distances = np.linalg.norm(positions[:, None] - positions, axis=-1)
        np.fill_diagonal(distances, np.inf)
        for i, j in bonds:
            distances[i, j] = distances[j, i] = np.inf
        touching = distances[distances < closest]
        if len(touching):
            raise StructureError(
                f"RDKit's geometry for the SMILES '{smiles}' has atoms only {touching.min():.2f} Angstrom apart that "
                "are not bonded; give the structure in a file (kind: file)"
            )
