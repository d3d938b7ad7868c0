"""Exporters: stores become files that other programs read; what a format cannot hold is refused, never dropped."""

from typing import Final

from mlff_distiller.core.registry import Registry

_HERE = "mlff_distiller.data.exporters"

EXPORTERS: Final = Registry(
    "export format",
    {
        "extxyz": f"{_HERE}.extxyz:write",
        "ase-db": f"{_HERE}.ase_db:write",
        "aselmdb": f"{_HERE}.aselmdb:write",
        "npz": f"{_HERE}.npz:write",
    },
    entry_point_group="mlff_distiller.exporters",
)
"""Formats by name; each stands for a function ``write(source, rows, path, *, overwrite=False)``."""
