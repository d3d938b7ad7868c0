"""``mlffd info``: what a run directory, a data set or a student file holds."""

from collections.abc import Iterator
from pathlib import Path

from rich.table import Table

from mlff_distiller.atoms.elements import names
from mlff_distiller.cli.data_tables import info_tables
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.schema import MANIFEST, UNSEALED
from mlff_distiller.data.storage.store import Store
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.students.checkpoint import read_header
from mlff_distiller.validation.audit.result import read_audit
from mlff_distiller.validation.verdict import read_verdict


def describe(path: Path) -> Iterator[str | Table]:
    """Yield lines and tables that describe what lies at a path.

    Raises
    ------
    DataError
        If it is nothing that mlffd writes.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist; give a run directory, a data set or a student file")
    if path.is_file():
        yield from _student(path)
    elif (path / "run.json").exists():
        yield from _run(path)
    elif any((path / name).exists() for name in (MANIFEST, UNSEALED)):
        yield from info_tables(Store.open(path, partial=True))
    else:
        raise DataError(
            f"{path} holds neither a run nor a data set; give a run directory, a data set or a student file"
        )


def _student(path: Path) -> Iterator[str]:
    header = read_header(path)
    plan = header["plan"]
    yield f"student        {path}"
    yield f"architecture   {plan['kind']}, {header['n_parameters']:,} parameters, cutoff {plan['cutoff']} Angstrom"
    yield f"elements       {names(header['elements'])}"
    yield f"charges        {', '.join(map(str, header['charges']))}"
    for key, value in header["training"].items():
        yield f"{key:<14} {value}"
    yield f"written        {header['created']} by mlff-distiller {header['versions'].get('mlff-distiller')}"


def _run(path: Path) -> Iterator[str]:
    directory = RunDirectory(path)
    yield f"run            {directory.recipe_name} in {path}"
    for name, record in directory.records().items():
        yield f"done           {name} ({record['elapsed_s']:.1f} s)"
    if directory.audit_file.exists():
        audit = read_audit(directory.audit_file)
        yield f"teacher        {audit.name}"
        yield f"audit          {audit.floor_sentence}"
    if directory.verdict_file.exists():
        for name, row in read_verdict(directory.verdict_file)["students"].items():
            yield f"verdict        {name}: {row['verdict'].replace('_', ' ')}"
