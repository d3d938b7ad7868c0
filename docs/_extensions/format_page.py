"""The tables of the data format, written from its schema."""

from settings_page import table

from mlff_distiller.data.schema import BITS, COLUMNS, UNITS

_AXES = {"structure": "S", "atom": "A", "offset": "S + 1", "byte": "B"}


def columns_table() -> str:
    """Return all data sets of a shard as a Markdown table."""
    rows = [
        [
            f"`{column.name}`",
            f"`{column.dtype}`",
            f"({', '.join([_AXES[column.axis], *map(str, column.shape)])})",
            UNITS.get(column.name, ""),
            str(BITS[column.name]) if column.name in BITS else "",
        ]
        for column in COLUMNS
    ]
    return "\n".join(table(["Data set", "Type", "Shape", "Unit", "Bit in `mask`"], rows))
