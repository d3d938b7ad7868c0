"""SPICE and its re-packings: HDF5 with one group for each molecule or conformation.

Three forms carry SPICE: the data set's own (``conformations``, ``dft_total_energy``, ``dft_total_gradient``; Eastman
et al. 2023, doi:10.1038/s41597-022-01882-6), modelforge's (``positions``, an attribute ``u`` with the unit of each data
set) and mlip's (one group for each conformation, the energy as an attribute).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from mlff_distiller.core.errors import DataError
from mlff_distiller.data.importers import hdf5, molecule_groups
from mlff_distiller.data.importers.frame import Declared, Frame, Quantity
from mlff_distiller.data.importers.guard import guarded, translated
from mlff_distiller.data.importers.keys import is_gradient
from mlff_distiller.data.importers.molecule_groups import Molecule, Names
from mlff_distiller.data.importers.plan import ImportPlan

_SPICE_UNITS: Final[dict[Quantity, Declared]] = {
    "length": Declared("Bohr", "definition of the SPICE data set"),
    "energy": Declared("Hartree", "definition of the SPICE data set"),
    "forces": Declared("Hartree/Bohr", "definition of the SPICE data set"),
}
_MLIP_UNITS: Final[dict[Quantity, Declared]] = {
    "length": Declared("Angstrom", "definition of mlip's HDF5 form (mlip.data.ChemicalSystem)"),
    "energy": Declared("eV", "definition of mlip's HDF5 form (mlip.data.ChemicalSystem)"),
    "forces": Declared("eV/Angstrom", "definition of mlip's HDF5 form (mlip.data.ChemicalSystem)"),
    "stress": Declared("eV/Angstrom^3", "definition of mlip's HDF5 form (mlip.data.ChemicalSystem)"),
}
_BRACKET = re.compile(r"\[[^\]]*?(\++|-+|[+-]\d+)(?::\d+)?\]")


class SpiceReader:
    """Reader of SPICE's HDF5 forms.

    ``dft_total_energy`` is the energy unless the plan names another (``formation_energy`` is the one less the energies
    of the isolated atoms). Gradients become forces. The total charge is that of the SMILES.

    Parameters
    ----------
    path : Path
        The file.
    plan : ImportPlan
        ``energy_key``, ``forces_key``, ``charge_key`` and ``spin_key`` name data sets.

    Attributes
    ----------
    units : dict
        From the attributes of the data sets, else from the form's definition.
    n_frames : int
        Conformations in all.

    Raises
    ------
    DataError
        If the file is damaged, of no form of SPICE, or has several energies and none is named.

    Examples
    --------
    >>> import h5py, tempfile
    >>> path = Path(tempfile.mkdtemp(), "spice.hdf5")
    >>> with h5py.File(path, "w") as file:
    ...     file["he/atomic_numbers"], file["he/conformations"] = [2], [[[0.0, 0.0, 0.0]]]
    ...     file["he/dft_total_energy"], file["he/smiles"] = [-2.9], ["[He]"]
    >>> reader = SpiceReader(path, ImportPlan())
    >>> reader.units["energy"].unit, [float(frame.values["energy"]) for frame in reader.frames()]
    ('Hartree', [-2.9])
    """

    def __init__(self, path: Path, plan: ImportPlan) -> None:
        self.path = path
        self._plan = plan
        with translated(path), hdf5.opened(path) as file:
            first = next(hdf5.groups(file), None)
            if first is None:
                raise DataError(f"{path} holds no groups of molecules; check its format")
            self._is_single = hdf5.holds(first, "elements") and hdf5.holds(first, "positions")
            self._names = _names(first, plan)
            self.units = _units(first, self._names, is_single=self._is_single)
            self.n_frames: int | None = (
                sum(1 for _ in hdf5.groups(file)) if self._is_single else molecule_groups.n_frames(file, self._names)
            )

    def frames(self) -> Iterator[Frame]:
        """Yield all conformations, molecule by molecule in the order of their names."""
        return guarded(self._frames(), self.path)

    def _frames(self) -> Iterator[Frame]:
        with hdf5.opened(self.path) as file:
            if self._is_single:
                for group in hdf5.groups(file):
                    yield _single(group, self._names, self._plan)
            else:
                yield from molecule_groups.frames(file, self._names, self.units, _describe)


def formal_charge(smiles: str) -> int:
    """Return the sum of the formal charges of a SMILES.

    Examples
    --------
    >>> formal_charge("[H:3][C:1]#[C:2][H:4].[Na+:5]"), formal_charge("[O-]S(=O)(=O)[O-]"), formal_charge("[Ca+2]")
    (1, -2, 2)
    """
    total = 0
    for found in _BRACKET.findall(smiles):
        sign = 1 if found[0] == "+" else -1
        total += sign * (int(found[1:]) if found[1:].isdigit() else len(found))
    return total


def _names(group: Any, plan: ImportPlan) -> Names:
    """Return the names of the form that a group has."""
    energy: str | None
    forces: str | None
    if hdf5.holds(group, "conformations"):
        energy, forces = plan.energy_key or "dft_total_energy", plan.forces_key or "dft_total_gradient"
        names = ("atomic_numbers", "conformations")
    elif hdf5.holds(group, "elements") and hdf5.holds(group, "positions"):
        energy, forces = plan.energy_key or "energy", plan.forces_key or "forces"
        names = ("elements", "positions")
    elif hdf5.holds(group, "atomic_numbers") and hdf5.holds(group, "positions"):
        energy, forces = _of_kind(group, "energy", plan.energy_key), _of_kind(group, "force", plan.forces_key)
        names = ("atomic_numbers", "positions")
    else:
        raise DataError(
            f"{hdf5.where(group)} holds {', '.join(hdf5.names(group)[:12])}, which is no form of SPICE "
            "(conformations, or positions with atomic_numbers or elements); check the format"
        )
    if hdf5.holds(group, "grouped_indices"):
        raise DataError(
            f"{hdf5.where(group)} is of modelforge's grouped form (several molecules in one group), which is not "
            "read; export it from modelforge with one group for each molecule"
        )
    hdf5.must_hold(group, plan.energy_key, plan.forces_key, plan.charge_key, plan.spin_key)
    charge = plan.charge_key or _first(group, ("charge", "total_charge"))
    spin = plan.spin_key or _first(group, ("spin_multiplicity", "spin_multiplicities_per_system", "spin", "mult"))
    turned = is_gradient(forces, plan)
    return Names(*names, energy=energy, forces=forces, charge=charge, spin=spin, is_gradient=turned)


def _of_kind(group: Any, kind: str, asked: str | None) -> str | None:
    """Return the only data set that modelforge marks as being of a kind."""
    if asked:
        return asked
    marked = [n for n in group if hdf5.as_text(group[n].attrs.get("property_type", "")) == kind]
    if len(marked) > 1:
        option = {"energy": "--energy-key", "force": "--forces-key"}[kind]
        raise DataError(f"{hdf5.where(group)} holds several of kind {kind} ({', '.join(marked)}); choose with {option}")
    return marked[0] if marked else None


def _first(group: Any, candidates: tuple[str, ...]) -> str | None:
    return next((name for name in candidates if hdf5.holds(group, name)), None)


def _units(group: Any, names: Names, *, is_single: bool) -> dict[Quantity, Declared]:
    definition = _MLIP_UNITS if is_single else _SPICE_UNITS if names.positions == "conformations" else None
    return molecule_groups.declared(group, names, definition)


def _describe(group: Any) -> Molecule:
    smiles = hdf5.texts(group, "smiles")[:1] if hdf5.holds(group, "smiles") else []
    subset = hdf5.texts(group, "subset")[:1] if hdf5.holds(group, "subset") else []
    info: dict[str, Any] = {"molecule": group.name.strip("/")}
    info |= {name: value[0] for name, value in (("smiles", smiles), ("subset", subset)) if value}
    return Molecule(charge=formal_charge(smiles[0]) if smiles else None, info=info)


def _single(group: Any, names: Names, plan: ImportPlan) -> Frame:
    """Return the one conformation of a group of mlip's form."""
    stress = plan.stress_key or "stress"
    labels = {"energy": names.energy, "forces": names.forces, "stress": stress}
    values = {key: hdf5.read(group, name) for key, name in labels.items() if name and hdf5.holds(group, name)}
    if "forces" in values and names.is_gradient:
        values["forces"] = -values["forces"]
    return Frame(
        where=hdf5.where(group),
        numbers=hdf5.read(group, names.numbers),
        positions=hdf5.read(group, names.positions),
        cell=hdf5.read(group, "cell") if hdf5.holds(group, "cell") else None,
        pbc=hdf5.read(group, "pbc").astype(bool) if hdf5.holds(group, "pbc") else np.zeros(3, dtype=bool),
        charge=_number(group, names.charge),
        spin=_number(group, names.spin),
        values=values,
        info={"molecule": group.name.strip("/")},
    )


def _number(group: Any, name: str | None) -> float | None:
    return float(hdf5.read(group, name)) if name and hdf5.holds(group, name) else None
