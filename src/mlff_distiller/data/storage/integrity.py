"""Integrity: damage is found and named; it is set aside, never deleted, and the rest is a store again."""

from dataclasses import dataclass
from pathlib import Path

from mlff_distiller.core.console import Reporter, Silent
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.files import write_json
from mlff_distiller.core.provenance import file_digest, stamp
from mlff_distiller.data.schema import JOURNALS, MANIFEST, SHARDS, UNSEALED, Manifest, ShardEntry
from mlff_distiller.data.storage.hdf5 import map_columns, read_identity
from mlff_distiller.data.storage.journal import Journal
from mlff_distiller.data.storage.store import damage, known_manifest, read_manifest, sealed_entries

DAMAGED = "damaged"


@dataclass(frozen=True)
class Repaired:
    """What a repair did.

    Attributes
    ----------
    n_structures : int
        Structures that are left.
    n_lost : int
        Structures in what was set aside, as far as is known.
    problems : list of str
        One sentence for everything that was set aside.
    """

    n_structures: int
    n_lost: int
    problems: list[str]


@dataclass(frozen=True)
class Verified:
    """What a verification found.

    Attributes
    ----------
    n_structures, n_shards : int
        How much there is.
    problems : list of str
        One sentence for each problem; empty is good.
    """

    n_structures: int
    n_shards: int
    problems: list[str]


def verify(path: Path, *, reporter: Reporter | None = None) -> Verified:
    """Read every byte of a store, finished or not, and compare it with the checksums.

    Raises
    ------
    DataError
        If there is no store, or its manifest cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.storage.writer import StoreWriter
    >>> writer = StoreWriter(Path(tempfile.mkdtemp(), "data"))
    >>> writer.append([0], [Structure([1], [[0, 0, 0]])])
    >>> verify(writer.seal().path).problems
    []
    """
    manifest = known_manifest(path, partial=True)
    advance = (reporter or Silent()).start("reading shards", len(manifest.shards))
    problems = []
    for entry in manifest.shards:
        problems.append(damage(path, entry))
        advance()
    return Verified(manifest.n_structures, len(manifest.shards), [problem for problem in problems if problem])


def repair(path: Path) -> Repaired:
    """Set damaged shards aside, to ``damaged/``, and write a manifest of the others.

    A manifest that is damaged or lost is made anew from the shards: they say themselves whose labels they hold; the
    header is lost with it. Nothing is changed in a store that is whole.

    Raises
    ------
    DataError
        If there is no store, it is of a newer version, or no shard is whole; nothing is changed then.

    Examples
    --------
    >>> import tempfile
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.storage.writer import StoreWriter
    >>> writer = StoreWriter(Path(tempfile.mkdtemp(), "data"), shard_atoms=1)
    >>> writer.append([0, 1], [Structure([1], [[0, 0, 0]]), Structure([2], [[0, 0, 0]])])
    >>> store = writer.seal()
    >>> file = store.path / "shards" / "000000.h5"
    >>> _ = file.write_bytes(b"x" + file.read_bytes()[1:])
    >>> repair(store.path).n_lost
    1
    """
    if not path.is_dir():
        raise DataError(f"{path} does not exist or is no directory; check the path of the data set")
    if (path / UNSEALED).exists() and not (path / MANIFEST).exists():
        return _repair_unsealed(path)
    manifest, problems = _manifest_or_rebuilt(path)
    found = {entry.file: damage(path, entry) for entry in manifest.shards}
    whole = [entry for entry in manifest.shards if not found[entry.file]]
    if not whole:
        raise DataError(f"{path} has no shard that is whole; restore it from a copy, or make it again")
    bad = [entry for entry in manifest.shards if found[entry.file]]
    problems += [found[entry.file].partition("; ")[0] for entry in bad]
    _set_aside(path, [entry.file for entry in bad])
    if problems:
        renewed = Manifest.of(
            whole, identity=manifest.identity, header=manifest.header, provenance=manifest.provenance
        ).model_copy(update={"repairs": [*manifest.repairs, {**stamp(), "problems": problems}]})
        write_json(path / MANIFEST, renewed.model_dump(mode="json"))
    n_left = sum(entry.n_structures for entry in whole)
    return Repaired(n_left, sum(entry.n_structures for entry in bad), problems)


def n_pending(path: Path) -> int:
    """Return how many structures of an unfinished store are in journals, not in shards yet."""
    files = (path / JOURNALS).glob("*.journal")
    return sum(len(record) for file in files for record in Journal(file).read())


def _repair_unsealed(path: Path) -> Repaired:
    """Journals drop what is damaged by themselves; shards do not."""
    entries = sealed_entries(path)
    bad = [entry for entry in entries if damage(path, entry)]
    problems = [damage(path, entry).partition("; ")[0] for entry in bad]
    _set_aside(path, [name for entry in bad for name in (entry.file, str(Path(entry.file).with_suffix(".json")))])
    n_lost = sum(entry.n_structures for entry in bad)
    return Repaired(sum(entry.n_structures for entry in entries) - n_lost, n_lost, problems)


def _manifest_or_rebuilt(path: Path) -> tuple[Manifest, list[str]]:
    """Return the manifest, made anew if it is damaged, and what was wrong with it."""
    try:
        return read_manifest(path), []
    except DataError as error:
        if "newer release" in str(error):
            raise
        problem = f"{path / MANIFEST} is {'damaged' if (path / MANIFEST).exists() else 'missing'}"
    files = [file for file in sorted((path / SHARDS).glob("*.h5")) if _is_shard(file)]
    if not files:
        raise DataError(f"{path} holds no shard that can be read; it is no data set, or beyond repair")
    identities = [read_identity(file) for file in files]
    if any(identity != identities[0] for identity in identities):
        raise DataError(f"{path / SHARDS} holds labels of several potentials; keep one's in each directory")
    entries = sorted((_entry(path, file) for file in files), key=lambda pair: pair[0])
    header = {"content": "rebuilt from the shards; what it was made from is not known"}
    return Manifest.of([e for _, e in entries], identity=identities[0], header=header, provenance=stamp()), [problem]


def _is_shard(file: Path) -> bool:
    try:
        return len(map_columns(file)[0]) > 0
    except DataError:
        return False


def _entry(path: Path, file: Path) -> tuple[int, ShardEntry]:
    columns, _ = map_columns(file)
    entry = ShardEntry(
        file=file.relative_to(path).as_posix(),
        n_structures=len(columns),
        n_atoms=columns.n_atoms,
        n_bytes=file.stat().st_size,
        sha256=file_digest(file),
        properties=columns.properties,
    )
    return int(columns.arrays["ids"][0]), entry


def _set_aside(path: Path, names: list[str]) -> None:
    for name in names:
        target = path / DAMAGED / Path(name).name
        target.parent.mkdir(exist_ok=True)
        while target.exists():
            target = target.with_name(target.name + "+")
        if (path / name).exists():
            (path / name).rename(target)
