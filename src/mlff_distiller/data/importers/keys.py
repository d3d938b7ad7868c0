"""Names of labels in foreign files: which name stands for which quantity, and when that is not certain."""

import re
from collections.abc import Mapping
from typing import Final

from mlff_distiller.core.errors import DataError
from mlff_distiller.core.plan import option
from mlff_distiller.core.registry import nearest
from mlff_distiller.data.importers.plan import ImportPlan

_WORDS: Final = {
    "energy": ("total_energy", "potential_energy", "energy", "etot"),
    "forces": ("forces", "force", *(f"{of}gradient{s}" for of in ("total_", "energy_", "") for s in ("", "s"))),
    "stress": ("stress", "stresses"),
    "virial": ("virial", "virials"),
    "atomic_energies": ("atomic_energies", "energies", "local_energy", "node_energy"),
    "charge": ("total_charge", "charge"),
    "spin": ("spin_multiplicity", "multiplicity", "spin"),
}
_PART: Final = (  # an energy with one of these before it is a part of the energy, or another one
    *("free", "kinetic", "homo", "lumo", "fermi", "gap", "nl", "zero_point", "dispersion", "vdw", "d3", "d4"),
    *("corrected", "correction", "cut_off", "cutoff", "formation", "atomization", "interaction", "binding", "cohesive"),
    *("adsorption", "hull", "solvation", "coulomb", "nuclear_repulsion", "relaxed", "reorganization", "strain"),
    *("calculate", "compute", "density", "field"),
)
_GRADIENT: Final = re.compile(r"gradient|(?:^|[^a-z])grads?(?:$|[^a-z])", re.IGNORECASE)
_NO_LABEL: Final = "info_"
_OF_ATOMS: Final = ("forces", "atomic_energies")
PLAN_FIELDS: Final = {name: f"{name}_key" for name in _WORDS}
"""The setting that names each quantity."""


def meaning(name: str) -> tuple[str, str] | None:
    """Return the quantity that a name stands for and the prefix before it, or None.

    ``info_`` is the prefix that our exporters give to free information which is named like a label.

    Examples
    --------
    >>> meaning("REF_energy"), meaning("Force"), meaning("homo_energy"), meaning("mulliken_charges")
    (('energy', 'ref'), ('forces', ''), None, None)
    """
    lower = name.lower().replace("-", "_")
    if lower.startswith(_NO_LABEL):
        return None
    for quantity, words in _WORDS.items():
        for word in words:
            prefix = lower.removesuffix(word).rstrip("_")
            if lower == word or (lower.endswith(f"_{word}") and quantity not in ("charge", "spin")):
                return None if any(part in prefix for part in _PART) else (quantity, prefix)
    return None


def is_gradient(name: str | None, plan: ImportPlan) -> bool:
    """Return whether what a name stands for is the gradient of the energy, the negative of the forces.

    Examples
    --------
    >>> [is_gradient(name, ImportPlan()) for name in ("dft_total_gradient", "grad", "forces", "upgraded_forces")]
    [True, True, False, False]
    >>> is_gradient("forces", ImportPlan(forces_are_gradients=True))
    True
    """
    return plan.forces_are_gradients or (name is not None and _GRADIENT.search(name) is not None)


def fits(name: str, *, of_atoms: bool) -> bool:
    """Return whether a name may stand for a label where it is found, beside the atoms or beside the structure.

    A column ``charge`` of atoms is no total charge.

    Examples
    --------
    >>> fits("charge", of_atoms=True), fits("REF_forces", of_atoms=True), fits("energy", of_atoms=False)
    (False, True, True)
    """
    known = meaning(name)
    return known is None or (known[0] in _OF_ATOMS) == of_atoms


def choose(names: Mapping[str, int], plan: ImportPlan, *, where: str) -> dict[str, str]:
    """Return quantity to the name it has in a file, one set of names for the whole file.

    Parameters
    ----------
    names : mapping of str to int
        Names in the file, and how many frames have them.
    plan : ImportPlan
        Names that the user gave win over everything.
    where : str
        What an error message calls the file.

    Raises
    ------
    DataError
        If a given name is not there, two names could be meant, or the file has neither energies nor forces.

    Examples
    --------
    >>> choose({"REF_energy": 3, "REF_forces": 3, "Nmols": 3}, ImportPlan(), where="train.xyz")
    {'energy': 'REF_energy', 'forces': 'REF_forces'}
    >>> choose({"energy": 3, "MACE_energy": 3}, ImportPlan(), where="train.xyz")
    Traceback (most recent call last):
    ...
    mlff_distiller.core.errors.DataError: train.xyz has more than one name for the energy: energy (3 frames),
    MACE_energy (3 frames); say which one is meant with --energy-key
    """
    chosen = {}
    for quantity in _WORDS:
        name = _one(quantity, names, plan, where)
        if name is not None:
            chosen[quantity] = name
    if "energy" not in chosen and "forces" not in chosen:
        found = ", ".join(sorted(names)[:30]) or "none"
        raise DataError(
            f"{where} has no energies or forces under a known name (names found: {found}); name them with "
            "--energy-key and --forces-key"
        )
    _refuse_mixed(chosen, plan, where)
    return chosen


def _one(quantity: str, names: Mapping[str, int], plan: ImportPlan, where: str) -> str | None:
    field = PLAN_FIELDS[quantity]
    given: str | None = getattr(plan, field)
    if given is not None:
        if given not in names:
            raise DataError(
                f"{where} has nothing named '{given}'{nearest(given, list(names))}; give another {option(field)}"
            )
        return given
    taken = {getattr(plan, other) for other in PLAN_FIELDS.values()}
    found = [name for name in names if name not in taken and (known := meaning(name)) and known[0] == quantity]
    if len(found) > 1:
        listed = ", ".join(f"{name} ({names[name]} frames)" for name in found)
        raise DataError(
            f"{where} has more than one name for the {quantity.replace('_', ' ')}: {listed}; "
            f"say which one is meant with {option(field)}"
        )
    return found[0] if found else None


def _refuse_mixed(chosen: dict[str, str], plan: ImportPlan, where: str) -> None:
    """Refuse energies of one method beside forces of another."""
    if plan.energy_key is not None or plan.forces_key is not None or not {"energy", "forces"} <= chosen.keys():
        return
    prefixes = {known[1] for name in ("energy", "forces") if (known := meaning(chosen[name]))}
    if len(prefixes) > 1:
        raise DataError(
            f"{where} names its energies '{chosen['energy']}' but its forces '{chosen['forces']}', so they may be of "
            "two methods; if they belong together, say so with --energy-key and --forces-key"
        )
