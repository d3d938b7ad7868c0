"""Seeds: where structures come from, each kind of source in its own file."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from pydantic import Field

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PlanError
from mlff_distiller.core.plan import Plan
from mlff_distiller.core.registry import Registry

SEEDS: Final = Registry(
    "seed",
    {
        "smiles": "mlff_distiller.sampling.smiles:SmilesSeed",
        "molecule": "mlff_distiller.sampling.molecule:MoleculeSeed",
        "file": "mlff_distiller.sampling.file:FileSeed",
    },
    entry_point_group="mlff_distiller.seeds",
)
"""Plans of all kinds of seeds; an installed package adds its own through the entry point group."""


class SeedPlan(Plan):
    """Base of all kinds of seeds; a subclass has a field ``kind``.

    Examples
    --------
    >>> SEEDS.get("smiles")(smiles="CCO", name="ethanol").title
    'ethanol'
    """

    name: str = Field(
        "",
        pattern=r"^[^/\\\s]*$",
        description="Name in reports, without spaces and slashes; made from the seed itself where it is left out.",
    )

    @property
    @abstractmethod
    def title(self) -> str:
        """The given name, or one made from the seed."""

    @abstractmethod
    def build(self, seed: int) -> list[Structure]:
        """Return structures whose ``info`` holds "seed" (a name) and "conformer" (0, 1, ...).

        Parameters
        ----------
        seed : int
            The recipe's seed, for everything random.

        Raises
        ------
        StructureError
            If no structure can be made; the message names the source and the reason.
        """

    def fingerprint(self) -> str:
        """Return a digest of everything the structures depend on, contents of files included."""
        return self.digest()

    def located(self, folder: Path) -> Self:
        """Return the same seed with relative paths taken from a folder (the recipe's)."""
        return self


def build_seeds(plans: Sequence[SeedPlan], seed: int) -> list[Structure]:
    """Build all seeds.

    Raises
    ------
    PlanError
        If two seeds have the same name, or there are none.
    StructureError
        If one cannot be built.

    Examples
    --------
    >>> water = SEEDS.get("molecule")(molecule="H2O")
    >>> [(s.formula, s.info) for s in build_seeds([water], seed=1)]
    [('H2O', {'seed': 'H2O', 'conformer': 0})]
    """
    if not plans:
        raise PlanError("there are no seeds; name at least one molecule, SMILES or file")
    built = [plan.build(seed) for plan in plans]
    counts = Counter(name for structures in built for name in {s.info["seed"] for s in structures})
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise PlanError(f"{counts[twice[0]]} seeds are called '{twice[0]}'; give each its own 'name'")
    return [structure for structures in built for structure in structures]
