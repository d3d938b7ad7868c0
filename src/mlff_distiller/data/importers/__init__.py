"""Importers: foreign files become structures and labels in eV, Angstrom and eV/Angstrom^3, or a clear refusal."""

from typing import Final

from mlff_distiller.core.registry import Registry

_HERE = "mlff_distiller.data.importers"

IMPORTERS: Final = Registry(
    "format",
    {
        "extxyz": f"{_HERE}.extxyz:ExtxyzReader",
        "ase-db": f"{_HERE}.ase_db:AseDbReader",
        "aselmdb": f"{_HERE}.aselmdb:AselmdbReader",
        "traj": f"{_HERE}.trajectory:TrajectoryReader",
        "npz": f"{_HERE}.npz:NpzReader",
        "spice": f"{_HERE}.spice:SpiceReader",
        "ani": f"{_HERE}.ani:AniReader",
        "mace-hdf5": f"{_HERE}.mace:MaceReader",
        "deepmd": f"{_HERE}.deepmd:DeepmdReader",
        "lmdb": f"{_HERE}.lmdb:LmdbReader",
    },
    entry_point_group="mlff_distiller.importers",
)
"""Formats by name; each stands for a class ``(path: Path, plan: ImportPlan)`` that is a :class:`Reader`."""
