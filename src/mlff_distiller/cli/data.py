"""``mlffd data``: the commands about data sets; each reads its arguments, calls one function and prints tables."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlff_distiller.cli.options import with_plan
from mlff_distiller.core.console import CONSOLE, print_tables, progress_bars
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.curation.filtering import FilterPlan
from mlff_distiller.data.curation.selection import SelectionPlan
from mlff_distiller.data.importers.plan import ImportPlan
from mlff_distiller.data.splits.plan import SplitPlan

if TYPE_CHECKING:  # these load numpy or h5py, which `mlffd --help` need not wait for
    import numpy as np
    from numpy.typing import NDArray

    from mlff_distiller.data.splits.files import SplitRecord
    from mlff_distiller.data.storage.store import Store

MANY_STRUCTURES = 200_000

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)

StorePath = Annotated[Path, typer.Argument(metavar="STORE", help="Directory of a data set.")]
NewStore = Annotated[Path, typer.Option("--out", "-o", help="Directory of the new data set; continued if begun.")]
Compress = Annotated[bool, typer.Option("--compress", help="Compress it, for an archive: smaller, slower to read.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")]


class Part(StrEnum):
    """A part of a split."""

    train = "train"
    validation = "validation"
    test = "test"


@app.command()
def info(
    path: StorePath,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page of pictures to this file.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out the sanity checks of every structure.")] = False,
) -> None:
    """Say what a data set holds: content, labels, origin, splits, and what looks wrong in it."""
    from mlff_distiller.cli.data_tables import info_tables
    from mlff_distiller.data.sanity.check import check
    from mlff_distiller.data.schema import JOURNALS, MANIFEST, SHARDS, UNSEALED
    from mlff_distiller.data.storage.store import Store

    if path.is_dir() and not any((path / name).exists() for name in (MANIFEST, UNSEALED, JOURNALS, SHARDS)):
        raise DataError(f"{path} is no data set, nor one that was begun; import into one with `mlffd data import`")
    store = Store.open(path, partial=True)
    with progress_bars() as bars:
        sanity = None if quick else check(store, reporter=bars)
        if html is not None:
            from mlff_distiller.data.pictures.page import write_page

            write_page(store, html, sanity=sanity, reporter=bars)
    print_tables(info_tables(store, sanity))
    if html is not None:
        CONSOLE.print(f"Pictures: {html.resolve()}", markup=False)


@app.command("import")
@with_plan(ImportPlan)
def import_(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="The file, or the directory of deepmd data.")],
    out: NewStore,
    *,
    plan: ImportPlan,
) -> None:
    """Import a foreign file: units and signs are settled first, or the import stops and says which option does it."""
    from mlff_distiller.cli.data_tables import import_tables
    from mlff_distiller.data.importers.importing import import_data

    with progress_bars() as bars:
        imported = import_data(source, plan, out, reporter=bars)
    print_tables(import_tables(imported))


@app.command()
def export(
    path: StorePath,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")],
    format_name: Annotated[
        str, typer.Option("--format", help="extxyz, ase-db, aselmdb or npz; by the ending of the file unless given.")
    ] = "auto",
    split: Annotated[
        str | None, typer.Option("--split", help="Export one part of this split only; --part says which.")
    ] = None,
    part: Annotated[Part | None, typer.Option("--part", help="The part that --split exports.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
) -> None:
    """Export a data set to extended XYZ, an ASE database or npz."""
    from mlff_distiller.data.exporters.exporting import export_data
    from mlff_distiller.data.storage.store import Store

    store = Store.open(path)
    rows = _part_of(store, split, part)
    export_data(store, file, format_name=format_name, rows=rows, overwrite=overwrite)
    CONSOLE.print(f"{len(store) if rows is None else len(rows):,} structures exported to {file}", markup=False)
    if store.widths:
        CONSOLE.print("Hessian rows and embeddings are left out: only a store holds them.", markup=False)


@app.command()
def verify(path: StorePath) -> None:
    """Read every byte of a data set and compare it with its checksums; exit code 1 if something is damaged."""
    from mlff_distiller.cli.data_tables import counted
    from mlff_distiller.data.storage.integrity import verify as verify_store

    with progress_bars() as bars:
        found = verify_store(path, reporter=bars)
    for problem in found.problems:
        CONSOLE.print(problem, style="red", markup=False)
    if found.problems:
        raise typer.Exit(1)
    content = f"{counted(found.n_structures, 'structure')} in {counted(found.n_shards, 'shard')}"
    CONSOLE.print(f"{path}: {content}, every byte as written", markup=False)


@app.command()
def repair(path: StorePath) -> None:
    """Set damaged shards aside, so that the rest is a data set again; nothing is deleted."""
    from mlff_distiller.data.storage.integrity import repair as repair_store

    repaired = repair_store(path)
    for problem in repaired.problems:
        CONSOLE.print(problem, markup=False)
    if repaired.problems:
        CONSOLE.print(f"Set aside in {path / 'damaged'}: {repaired.n_lost:,} structures.", markup=False)
    CONSOLE.print(f"{path}: {repaired.n_structures:,} structures are whole", markup=False)


@app.command()
def merge(
    paths: Annotated[list[Path], typer.Argument(metavar="STORE...", help="Directories of data sets.")],
    out: NewStore,
    compress: Compress = False,
) -> None:
    """Write several data sets of one potential into a new one."""
    from mlff_distiller.data.curation.copying import merge as merge_stores
    from mlff_distiller.data.storage.store import Store

    with progress_bars() as bars:
        store = merge_stores([Store.open(path) for path in paths], out, compressed=compress, reporter=bars)
    CONSOLE.print(f"{out}: {len(store):,} structures", markup=False)


@app.command("filter")
@with_plan(FilterPlan)
def filter_(path: StorePath, out: NewStore, compress: Compress = False, *, plan: FilterPlan) -> None:
    """Write the structures that satisfy conditions into a new data set."""
    from mlff_distiller.cli.data_tables import filter_table
    from mlff_distiller.data.curation.copying import subset
    from mlff_distiller.data.curation.filtering import matching
    from mlff_distiller.data.storage.store import Store

    store = Store.open(path)
    kept = matching(store, plan)
    settings = {"filter": plan.model_dump(mode="json", exclude_defaults=True)}
    with progress_bars() as bars:
        subset(store, kept.rows, out, settings=settings, compressed=compress, reporter=bars)
    print_tables([filter_table(store, kept)])


@app.command()
@with_plan(SelectionPlan)
def select(
    path: StorePath,
    out: NewStore,
    student: Annotated[
        Path | None, typer.Option("--student", help="Compare structures by the embedding of this student.")
    ] = None,
    seed: Seed = 0,
    compress: Compress = False,
    *,
    plan: SelectionPlan,
) -> None:
    """Write the structures that say most into a new data set: farthest points, a share of each stratum, or random."""
    from mlff_distiller.cli.data_tables import selection_table
    from mlff_distiller.data.curation.copying import subset
    from mlff_distiller.data.curation.diversity import coverage
    from mlff_distiller.data.curation.selection import select as select_rows
    from mlff_distiller.data.similarity.descriptors import embed
    from mlff_distiller.data.storage.store import Store

    store = Store.open(path)
    descriptor = plan.descriptor if student is None else _student_descriptor(student)
    rows = select_rows(store, plan, seed=seed, descriptor=descriptor)
    settings = {"selection": plan.model_dump(mode="json"), "seed": seed, "student": student and student.name}
    with progress_bars() as bars:
        subset(store, rows, out, settings=settings, compressed=compress, reporter=bars)
    print_tables([selection_table(len(store), coverage(embed(store, descriptor), rows, seed=seed))])


@app.command()
@with_plan(SplitPlan)
def split(
    path: StorePath,
    name: Annotated[str, typer.Option("--name", help="Name of the split; it is kept with the data.")] = "default",
    seed: Seed = 0,
    leaks: Annotated[
        bool | None,
        typer.Option(
            help="Look for near-duplicates across the parts; up to 200,000 structures unless said (1 kB each, slow)."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace another split of this name, made with other settings.")
    ] = False,
    *,
    plan: SplitPlan,
) -> None:
    """Split a data set into training, validation and test parts, look for near-duplicates across them, and keep it."""
    from mlff_distiller.cli.data_tables import split_tables
    from mlff_distiller.data.splits.files import read_split, split_file, write_split
    from mlff_distiller.data.splits.leaks import find_leaks
    from mlff_distiller.data.splits.make import make_split
    from mlff_distiller.data.storage.store import Store

    store = Store.open(path)
    file = split_file(path, name)
    if file.exists() and not overwrite:
        _refuse_another(read_split(file, data_digest=store.digest), name, plan, seed)
    made = make_split(store, plan, seed=seed)
    write_split(file, made, data_digest=store.digest, plan=plan, seed=seed)
    wants_leaks = len(store) <= MANY_STRUCTURES if leaks is None else leaks
    print_tables(split_tables(store, made, plan=plan, leaks=find_leaks(store, made) if wants_leaks else None))
    CONSOLE.print(f"Kept as {file}", markup=False)


def _part_of(store: "Store", split: str | None, part: Part | None) -> "NDArray[np.int64] | None":
    """Return the rows of a part of a split, or None for everything."""
    from mlff_distiller.data.splits.files import read_split, split_file, split_names

    if (split is None) != (part is None):
        raise DataError("--split and --part belong together: the name of a split, and which part of it; give both")
    if split is None or part is None:
        return None
    if split not in (names := split_names(store.path)):
        there = f"choose from {', '.join(names)}" if names else "make one with `mlffd data split`"
        raise DataError(f"{store.path} has no split '{split}'; {there}")
    rows: NDArray[np.int64] = getattr(read_split(split_file(store.path, split), data_digest=store.digest).split, part)
    return rows


def _refuse_another(record: "SplitRecord", name: str, plan: SplitPlan, seed: int) -> None:
    """Refuse to replace a split by one with other settings."""
    if record.plan != plan or record.seed != seed:
        made = "elsewhere" if record.plan is None else f"by kind {record.plan.kind} and seed {record.seed}"
        raise DataError(
            f"a split '{name}' with other settings is there (made {made}); give another --name, or replace it with "
            "--overwrite"
        )


def _student_descriptor(path: Path) -> Any:
    """Return the embedding of a student as a descriptor of structures."""
    from functools import partial

    from mlff_distiller.data.similarity.descriptors import FromStructures
    from mlff_distiller.students import checkpoint
    from mlff_distiller.students.embedding import embedding

    return FromStructures(partial(embedding, checkpoint.load(path)))
