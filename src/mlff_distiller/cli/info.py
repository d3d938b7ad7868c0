"""``mlffd info``: what a run directory, a data set or a student file holds."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from mlff_distiller.atoms.elements import names
from mlff_distiller.cli.data_tables import info_tables
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.schema import MANIFEST, UNSEALED
from mlff_distiller.data.splits.split import PARTS
from mlff_distiller.data.storage.store import Store
from mlff_distiller.potentials.base import Identity
from mlff_distiller.recipes.judging import standing_verdict
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.recipes.training_steps import read_errors
from mlff_distiller.students.checkpoint import read_header
from mlff_distiller.students.record import Domain, TrainingRecord
from mlff_distiller.validation.audit.result import read_audit
from mlff_distiller.validation.verdict import read_verdict

_BEST: Final = "best.safetensors"
_UNITS: Final = {
    "force_rmse": " eV/Angstrom",
    "energy_rmse_per_atom": " eV/atom",
    "stress_rmse": " eV",
    "force_angle_rms_degrees": "",
    "atomic_energy_rmse": " eV",
    "hessian_rmse": " eV/Angstrom^2",
    "embedding_rmse": "",
}
"""What errors are measured in, by the metric's name; the stress counts as virial per atom."""


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
    elif (path / _BEST).exists():
        yield from _student(path / _BEST)
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
    record = TrainingRecord.model_validate(header["record"])
    yield from _recorded(record)
    said = {"teacher"} if record.teacher else set()
    for key, value in header["training"].items():
        if value is not None and key not in {*said, *(record.metrics or {})}:
            yield f"{key:<14} {_short(value)}"
    yield f"written        {header['created']} by mlff-distiller {header['versions'].get('mlff-distiller')}"


def _recorded(record: TrainingRecord) -> Iterator[str]:
    """Yield what a student file says of its teacher, its data and its errors, as far as it is known."""
    if record.teacher:
        yield f"teacher        {Identity(**record.teacher)}"
    if record.data_digest:
        yield f"data digest    {record.data_digest}"
    if record.domain is not None:
        yield from _domain(record.domain)
    if record.metrics:
        yield f"errors         in validation: {_said(record.metrics)}"


def _domain(domain: Domain) -> Iterator[str]:
    if domain.n_structures is not None:
        atoms = ", ".join(f"{symbol} {n:,}" for symbol, n in (domain.n_atoms or {}).items())
        yield f"trained on     {domain.n_structures:,} structures with {atoms} atoms"
    if domain.energy_per_atom_range is not None:
        yield "energies       {:.3f} to {:.3f} eV/atom".format(*domain.energy_per_atom_range)
    if domain.force_rms is not None and domain.force_max is not None:
        yield f"forces         root mean square {domain.force_rms:.3f}, longest {domain.force_max:.3f} eV/Angstrom"
    if domain.shortest_distances:
        pairs = ", ".join(f"{pair} {distance:.2f}" for pair, distance in domain.shortest_distances.items())
        yield f"not closer     {pairs} Angstrom"


def _run(path: Path) -> Iterator[str]:
    directory = RunDirectory(path)
    yield f"run            {directory.recipe_name} in {path}"
    records = directory.records()
    for name, record in records.items():
        yield f"done           {name} ({record['elapsed_s']:.1f} s)"
    if "split" in records:
        facts = records["split"]["facts"]
        sizes = ", ".join(f"{facts[part]:,} for {part}" for part in PARTS if part in facts)
        yield f"split          {facts.get('kind', 'segment')}: {sizes}"
    yield from _unfinished(directory, set(records))
    if directory.errors_file.exists():
        for name, row in read_errors(directory.errors_file)["students"].items():
            yield f"test errors    {name}: {_said(row['test'])}"
    if directory.audit_file.exists():
        audit = read_audit(directory.audit_file)
        yield f"teacher        {audit.name}"
        yield f"audit          {audit.floor_sentence}"
    if directory.verdict_file.exists():
        yield from _verdict(directory)


def _verdict(directory: RunDirectory) -> Iterator[str]:
    """Yield the verdicts of a run if they stand: while something is measured anew, for one, they do not."""
    version = read_verdict(directory.verdict_file)["version"]
    try:
        students = standing_verdict(directory)["students"]
    except DataError as error:
        yield f"verdict        none that stands: {error}"
        return
    doubt = " (by an older release, not held against what was measured)" if version == 1 else ""
    for name, row in students.items():
        yield f"verdict        {name}: {row['verdict'].replace('_', ' ')}{doubt}"


def _unfinished(directory: RunDirectory, done: set[str]) -> Iterator[str]:
    for best in sorted((directory.path / "training").glob(f"*/{_BEST}")):
        name, training = best.parent.name, read_header(best)["training"]
        if f"train-{name}" not in done:
            yield f"unfinished     train-{name}, best at step {training['step']:,}: {_said(training)}"


def _said(errors: Mapping[str, Any]) -> str:
    """Return errors with their units, those that were measured."""
    plain = {name.removeprefix("validation_"): value for name, value in errors.items()}
    known = {name: f"{name} {plain[name]:.4g}{unit}" for name, unit in _UNITS.items() if plain.get(name) is not None}
    return ", ".join(known.values())


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
