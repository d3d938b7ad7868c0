"""Importing: a foreign file becomes a store, block by block; killed and repeated it continues."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from mlff_distiller.core.console import Reporter, Silent
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.files import write_json
from mlff_distiller.core.provenance import digest, file_digest
from mlff_distiller.data.importers import IMPORTERS
from mlff_distiller.data.importers.border import Converted, convert
from mlff_distiller.data.importers.detection import detect
from mlff_distiller.data.importers.frame import Frame, Reader
from mlff_distiller.data.importers.plan import ImportPlan
from mlff_distiller.data.importers.settle import Settled, Units, check, settle
from mlff_distiller.data.storage.writer import StoreWriter
from mlff_distiller.potentials.base import Identity

REPORT: Final = "import.json"
"""Name of the report in the store's directory."""

_BLOCK: Final = 1000
_N_NAMED: Final = 100


@dataclass
class Imported:
    """What an import did.

    Attributes
    ----------
    store : Path
        The store's directory.
    source, format : str
        Name of the file, and of its format.
    units : tuple of Settled
        The table of units, signs and orders, each with who says so.
    counts : dict
        "frames" in the file, "imported", "set aside", and how many have each property ("with energy", ...).
    left_out : dict
        Reason to number of frames whose label was left out.
    set_aside : list of str
        The first 100 frames that were impossible, with the reason.
    doubts : list of str
        What the numbers say against units that the user gave.
    """

    store: Path
    source: str
    format: str
    units: tuple[Settled, ...] = ()
    counts: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    set_aside: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "source": self.source,
            "format": self.format,
            "units": table(self.units),
            "counts": dict(self.counts),
            "left_out": dict(self.left_out),
            "set_aside": self.set_aside,
            "doubts": self.doubts,
        }


def table(rows: tuple[Settled, ...]) -> list[dict[str, str]]:
    """Return the table of units as plain data.

    Examples
    --------
    >>> table((Settled("energy", "eV", "option --energy-unit"),))
    [{'quantity': 'energy', 'unit': 'eV', 'why': 'option --energy-unit'}]
    """
    return [{"quantity": row.quantity, "unit": row.unit, "why": row.why} for row in rows]


def import_data(path: Path, plan: ImportPlan, out: Path, *, reporter: Reporter | None = None) -> Imported:
    r"""Import a foreign file into a new store, or continue an import that was cut short.

    The id of a structure is the number of its frame, from 0. The report is also written to ``import.json`` in the
    store's directory.

    Parameters
    ----------
    path : Path
        The file, or the directory of a format that is one.
    plan : ImportPlan
        What the user says about it.
    out : Path
        The store's directory.
    reporter : Reporter, optional
        Where progress and doubts are told.

    Raises
    ------
    DataError
        If the format, a name or a unit is not certain, the numbers contradict a unit, a frame is impossible (unless
        ``skip_bad_frames``), or the directory holds something else.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> file = folder / "h.xyz"
    >>> _ = file.write_text('1\nProperties=species:S:1:pos:R:3:forces:R:3 energy=-13.6\nH 0 0 0 0 0 0\n')
    >>> imported = import_data(file, ImportPlan(), folder / "store")
    >>> from mlff_distiller.data.storage.store import Store
    >>> imported.counts["imported"], Store.open(folder / "store").labels(0).energy
    (1, -13.6)
    """
    reporter = reporter or Silent()
    name = detect(path) if plan.format == "auto" else plan.format
    reader: Reader = IMPORTERS.get(name)(path, plan)
    sample = list(islice(reader.frames(), _BLOCK))
    if not sample:
        raise DataError(f"{path} holds no frames; check the path of the data")
    units = settle(sample, reader.units, plan, format_name=name, where=str(path))
    run = Imported(store=out, source=path.name, format=name, units=units.rows)
    content = _digest(path, plan, name)
    # Who made the labels is what the user says; without a word, labels of two files may be of two theories.
    identity = (Identity("import", plan.theory, "") if plan.theory else Identity("import", name, content)).to_json()
    header = {
        "source": path.name,
        "source_digest": content,
        "format": name,
        "settings": _settings(plan),
        "units": table(units.rows),
    }
    with StoreWriter(out, identity=identity, header=header) as writer:
        _stream(_Stream(reader, plan, run, units, str(path)), writer, reporter)
        if not run.counts["imported"]:
            raise DataError(f"{path}: every frame was set aside, the first because {run.set_aside[0]}; check its units")
        writer.seal()
    write_json(out / REPORT, run.to_json())
    return run


@dataclass
class _Stream:
    """What is carried from block to block."""

    reader: Reader
    plan: ImportPlan
    run: Imported
    units: Units
    where: str

    def settled(self, block: list[Frame]) -> Units:
        """Return units that cover a block, which may hold what no block before held, and check them on it."""
        if not self.units.has(block):
            more = settle(block, self.reader.units, self.plan, format_name=self.run.format, where=self.where)
            known = {row.quantity for row in self.units.rows}
            rows = (*self.units.rows, *(row for row in more.rows if row.quantity not in known))
            self.units = Units(rows, self.units.energy_per_atom)
            self.run.units = rows
        return self.units


def _stream(stream: _Stream, writer: StoreWriter, reporter: Reporter) -> None:
    """Convert and store all frames; those stored before are converted again, but only to be counted."""
    advance = reporter.start("importing", stream.reader.n_frames or 0)
    first = 0
    for block in _blocks(stream.reader):
        units = stream.settled(block)
        for doubt in check(block, units, where=stream.where):
            if doubt not in stream.run.doubts:
                stream.run.doubts.append(doubt)
                reporter.message(f"{stream.where}: {doubt}; imported as the options say")
        converted = {
            first + i: found for i, f in enumerate(block) if (found := _converted(f, units, stream)) is not None
        }
        new = {i: found for i, found in converted.items() if i not in writer.done_ids}
        if new:
            writer.append(
                list(new), [c.labeled.structure for c in new.values()], [c.labeled.labels for c in new.values()]
            )
        _count(stream.run, len(block), converted)
        first += len(block)
        advance(len(block))


def _blocks(reader: Reader) -> Iterator[list[Frame]]:
    frames = reader.frames()
    while block := list(islice(frames, _BLOCK)):
        yield block


def _converted(frame: Frame, units: Units, stream: _Stream) -> Converted | None:
    try:
        return convert(frame, units, stream.plan)
    except DataError as error:
        if not stream.plan.skip_bad_frames:
            raise DataError(f"{error} (--skip-bad-frames sets such frames aside and reports them)") from error
        stream.run.counts["set aside"] += 1
        if len(stream.run.set_aside) < _N_NAMED:
            stream.run.set_aside.append(str(error))
        return None


def _count(run: Imported, n_frames: int, converted: dict[int, Converted]) -> None:
    run.counts["frames"] += n_frames
    run.counts["imported"] += len(converted)
    for found in converted.values():
        present = found.labeled.labels.present
        run.counts.update(f"with {name.replace('_', ' ')}" for name in present)
        run.counts.update(["without any label"] * (not present))
        run.left_out.update(found.left_out)


def _digest(path: Path, plan: ImportPlan, format_name: str) -> str:
    """Return a digest of the content and of every setting that changes a label."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    content = [[file.relative_to(path).as_posix(), file_digest(file)] for file in files]
    return digest([format_name, _settings(plan), content])


def _settings(plan: ImportPlan) -> dict[str, Any]:
    """Return what the user said of the labels; an import may be continued with bad frames set aside."""
    settings: dict[str, Any] = plan.model_dump(
        mode="json", exclude_defaults=True, exclude={"skip_bad_frames", "format"}
    )
    return settings
