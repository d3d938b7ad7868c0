"""ANI-1, ANI-1x and ANI-2x: HDF5 with one group for each molecule, composition or size.

Sources of the units: Smith et al. 2017, doi:10.1038/sdata.2017.193 (ANI-1); Smith et al. 2020,
doi:10.1038/s41597-020-0473-z (ANI-1x and ANI-1ccx); Devereux et al. 2020, doi:10.1021/acs.jctc.0c00121 (ANI-2x).
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from mlff_distiller.core.errors import DataError
from mlff_distiller.data.importers import hdf5, molecule_groups
from mlff_distiller.data.importers.evidence import total_energy_unit
from mlff_distiller.data.importers.frame import Declared, Frame, Quantity
from mlff_distiller.data.importers.guard import guarded, translated
from mlff_distiller.data.importers.keys import is_gradient
from mlff_distiller.data.importers.molecule_groups import Molecule, Names
from mlff_distiller.data.importers.plan import ImportPlan

_UNITS: Final[dict[Quantity, Declared]] = {
    "length": Declared("Angstrom", "definition of the ANI data sets"),
    "energy": Declared("Hartree", "definition of the ANI data sets"),
    "forces": Declared("Hartree/Angstrom", "definition of the ANI data sets"),
}
_SAMPLE: Final = 1000
_GEOMETRY: Final = (("atomic_numbers", "coordinates"), ("species", "coordinates"), ("numbers", "coord"))


class AniReader:
    """Reader of the HDF5 forms of ANI, and of AIMNet's, which differs by names and states no units.

    ANI-1x holds several levels of theory, missing values being NaN: the plan's ``energy_key`` chooses (for instance
    ``wb97x_dz.energy``), the forces are those of the same level. A conformation without labels at that level comes out
    without labels.

    Parameters
    ----------
    path : Path
        The file.
    plan : ImportPlan
        ``energy_key``, ``forces_key``, ``charge_key`` and ``spin_key`` name data sets.

    Attributes
    ----------
    units : dict
        By the definition of the ANI data sets, if the energies are total energies in Hartree, as ANI's are: many files
        of other origin have the same names. Empty for AIMNet's form.
    n_frames : int
        Conformations in all.

    Raises
    ------
    DataError
        If the file is damaged, of no form of ANI, or has several energies and none is named.

    Examples
    --------
    >>> import h5py, tempfile
    >>> path = Path(tempfile.mkdtemp(), "ani.h5")
    >>> with h5py.File(path, "w") as file:
    ...     file["he/species"], file["he/coordinates"], file["he/energies"] = [b"He"], [[[0.0, 0.0, 0.0]]], [-2.9]
    >>> reader = AniReader(path, ImportPlan())
    >>> reader.units["energy"].unit, [frame.numbers.tolist() for frame in reader.frames()]
    ('Hartree', [[2]])
    """

    def __init__(self, path: Path, plan: ImportPlan) -> None:
        self.path = path
        with translated(path), hdf5.opened(path) as file:
            first = next(hdf5.groups(file), None)
            if first is None:
                raise DataError(f"{path} holds no groups of molecules; check its format")
            self._names = _names(first, plan)
            self.units = molecule_groups.declared(first, self._names)
            if self._names.positions != "coord" and self._is_of_ani(file):
                self.units = _UNITS | self.units
            self.n_frames: int | None = molecule_groups.n_frames(file, self._names)

    def _is_of_ani(self, file: Any) -> bool:
        """Return whether the energies of the first conformations with energies are all-electron totals in Hartree."""
        frames = molecule_groups.frames(file, self._names, self.units, _describe)
        sample = list(islice((frame for frame in frames if "energy" in frame.values), _SAMPLE))
        return total_energy_unit(sample) == "Hartree"

    def frames(self) -> Iterator[Frame]:
        """Yield all conformations, group by group in the order of their names."""
        return guarded(self._frames(), self.path)

    def _frames(self) -> Iterator[Frame]:
        with hdf5.opened(self.path) as file:
            yield from molecule_groups.frames(file, self._names, self.units, _describe)


def _describe(group: Any) -> Molecule:
    info = {"molecule": group.name.strip("/")}
    if hdf5.holds(group, "smiles"):
        info["smiles"] = "".join(hdf5.texts(group, "smiles"))  # ANI-1 stores its letters one by one
    return Molecule(info=info)


def _names(group: Any, plan: ImportPlan) -> Names:
    geometry = next((g for g in _GEOMETRY if all(hdf5.holds(group, name) for name in g)), None)
    if geometry is None:
        raise DataError(
            f"{hdf5.where(group)} holds {', '.join(hdf5.names(group)[:12])}, which is no form of ANI "
            "(coordinates with species or atomic_numbers); check the format"
        )
    energy = _energy(group, plan.energy_key)
    forces = plan.forces_key or _forces(group, energy)
    hdf5.must_hold(group, plan.forces_key, plan.charge_key, plan.spin_key)
    charge = plan.charge_key or ("charge" if hdf5.holds(group, "charge") else None)
    spin = plan.spin_key or ("mult" if hdf5.holds(group, "mult") else None)
    turned = is_gradient(forces, plan)
    return Names(*geometry, energy=energy, forces=forces, charge=charge, spin=spin, is_gradient=turned)


def _energy(group: Any, asked: str | None) -> str | None:
    """Return the name of the energies: the one asked for, or the only one there is."""
    if asked:
        hdf5.must_hold(group, asked)
        return asked
    candidates = [n for n in hdf5.names(group) if n in ("energies", "energy") or n.endswith(".energy")]
    if len(candidates) > 1:
        raise DataError(
            f"{group.file.filename} holds energies at several levels of theory ({', '.join(candidates)}); "
            "choose with --energy-key"
        )
    return candidates[0] if candidates else None


def _forces(group: Any, energy: str | None) -> str | None:
    """Return the name of the forces at the level of theory of the energies."""
    if energy and energy.endswith(".energy"):
        name = energy.removesuffix("energy") + "forces"
        return name if hdf5.holds(group, name) else None
    known = ("forces", "force", "gradients", "gradient")
    return next((name for name in known if hdf5.holds(group, name)), None)
