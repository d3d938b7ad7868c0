"""``mlffd info``: what a run directory, a data set or a student file holds, in lines."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlff_distiller.atoms.elements import names
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.schema import MANIFEST
from mlff_distiller.data.statistics import summary
from mlff_distiller.data.store import Store
from mlff_distiller.data.writer import JOURNAL
from mlff_distiller.potentials.base import Identity
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.students.checkpoint import read_header
from mlff_distiller.validation.verdict import read_verdict


def describe(path: Path) -> Iterator[str]:
    """Yield lines that describe what lies at a path.

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
    elif any((path / name).exists() for name in (MANIFEST, JOURNAL)):
        yield from _store(path)
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


def _store(path: Path) -> Iterator[str]:
    store = Store.open(path)
    facts = summary(store.structures(), store.all_labels())
    yield f"data set       {path}"
    yield f"structures     {len(store):,}"
    yield f"atoms          {store.n_atoms:,}"
    yield f"labels         {_short(facts.pop('properties')) or 'none (not labeled yet)'}"
    yield f"teacher        {Identity(**store.identity) if store.identity else 'none'}"
    for key, value in facts.items():
        if key not in ("n_structures", "n_atoms"):
            yield f"{key:<14} {_short(value)}"


def _run(path: Path) -> Iterator[str]:
    directory = RunDirectory(path)
    yield f"run            {directory.recipe_name} in {path}"
    for name, record in directory.records().items():
        yield f"done           {name} ({record['elapsed_s']:.1f} s)"
    if directory.verdict_file.exists():
        for name, row in read_verdict(directory.verdict_file)["students"].items():
            yield f"verdict        {name}: {row['verdict'].replace('_', ' ')}"


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(inner)}" for key, inner in list(value.items())[:12])
    return f"{value:.6g}" if isinstance(value, float) else str(value)
