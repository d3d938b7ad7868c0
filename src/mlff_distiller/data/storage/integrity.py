"""Integrity: damage is found and named; it is set aside, never deleted, and the rest is a store again."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlff_distiller.core.console import Reporter, Silent
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.files import write_json
from mlff_distiller.core.lock import FileLock
from mlff_distiller.core.provenance import stamp
from mlff_distiller.data.schema import FORMAT, JOURNALS, MANIFEST, SHARD_ATOMS, SHARDS, UNSEALED, VERSION, Manifest
from mlff_distiller.data.storage.hdf5 import REPAIR, map_columns, read_identity, read_index
from mlff_distiller.data.storage.journal import Journal
from mlff_distiller.data.storage.store import (
    damage,
    entry_of,
    known_manifest,
    read_manifest,
    read_unsealed,
    sealed_entries,
    set_aside,
    unpaired,
)

_REBUILT = {"content": "rebuilt from the shards; what it was made from is not known"}


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
    is_finished = (path / MANIFEST).exists()
    strays = [] if is_finished else unpaired(path)
    advance = (reporter or Silent()).start("reading shards", len(manifest.shards))
    problems = [f"{file} has no whole entry, so it does not count; repair, or open a writer" for file in strays]
    last = -np.inf
    for entry in manifest.shards:
        problem = damage(path, entry)
        if not problem and is_finished:
            ids, sizes = read_index(path / entry.file)
            if len(ids) != entry.n_structures or sizes.sum() != entry.n_atoms or ids[0] <= last:
                problem = f"{path / entry.file} is not what the manifest says of it, or out of order; {REPAIR}"
            last = ids[-1]
        problems.append(problem)
        advance()
    return Verified(manifest.n_structures, len(manifest.shards), [problem for problem in problems if problem])


def repair(path: Path) -> Repaired:
    """Set damaged shards aside, to ``damaged/``, and write a manifest of the others.

    A manifest that is damaged or lost is made anew from the shards, and so is what an unfinished store says of itself:
    shards tell whose labels they hold; the header is lost. Nothing is changed in a store that is whole.

    Raises
    ------
    DataError
        If there is no store, it is of a newer version, another process writes to it, or no shard is whole; nothing is
        changed then.

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
    is_unfinished = (path / UNSEALED).exists() or (path / JOURNALS).exists() or any((path / SHARDS).glob("*-*.h5"))
    if is_unfinished and not (path / MANIFEST).exists():
        return _repair_unfinished(path)
    manifest, problems, lost = _manifest_or_rebuilt(path)
    found = {entry.file: damage(path, entry) for entry in manifest.shards}
    whole = [entry for entry in manifest.shards if not found[entry.file]]
    if not whole:
        raise DataError(f"{path} has no shard that is whole; restore it from a copy, or make it again")
    bad = [entry for entry in manifest.shards if found[entry.file]]
    problems += [found[entry.file].partition("; ")[0] for entry in bad]
    set_aside(path, [*lost, *(entry.file for entry in bad)])
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


def _repair_unfinished(path: Path) -> Repaired:
    """Mend what its writers cannot mend: journals drop damaged records and lost entries are written anew by them."""
    with ExitStack() as held:
        for file in (path / JOURNALS).glob("[0-9]*.lock"):
            lock = FileLock(file)
            if not lock.acquire():
                raise DataError(f"another process is writing to {path}; wait for it to end, or end it")
            held.callback(lock.release)
        problems = _mend_unsealed(path)
        entries = sealed_entries(path)
        found = {entry.file: damage(path, entry) for entry in entries}
        bad = [entry for entry in entries if found[entry.file]]
        cut = [file for file in unpaired(path) if not _is_shard(file)]
        problems += [found[entry.file].partition("; ")[0] for entry in bad]
        problems += [f"{file} cannot be read" for file in cut]
        names = [*(entry.file for entry in bad), *(file.relative_to(path).as_posix() for file in cut)]
        set_aside(path, [name for file in names for name in (file, str(Path(file).with_suffix(".json")))])
    n_lost = sum(entry.n_structures for entry in bad)
    return Repaired(sum(entry.n_structures for entry in entries) - n_lost, n_lost, problems)


def _mend_unsealed(path: Path) -> list[str]:
    """Write anew what an unfinished store says of itself, if that is lost."""
    try:
        read_unsealed(path)
        return []
    except DataError as error:
        if "newer release" in str(error):
            raise
    files = [file for file in sorted((path / SHARDS).glob("[0-9]*-*.h5")) if _is_shard(file)]
    identities = [read_identity(file) for file in files]
    if not files or any(identity != identities[0] for identity in identities):
        raise DataError(f"{path / UNSEALED} is lost, and no shard says whose labels these are; make them again")
    write_json(
        path / UNSEALED,
        {
            "format": FORMAT,
            "version": VERSION,
            "identity": identities[0],
            "header": _REBUILT,
            "shard_atoms": SHARD_ATOMS,
            "compressed": False,
        },
    )
    return [f"{path / UNSEALED} was lost or damaged"]


def _manifest_or_rebuilt(path: Path) -> tuple[Manifest, list[str], list[str]]:
    """Return the manifest, made anew if it is damaged, what was wrong, and files that cannot be read at all."""
    try:
        return read_manifest(path), [], []
    except DataError as error:
        if "newer release" in str(error):
            raise
        problem = f"{path / MANIFEST} is {'damaged' if (path / MANIFEST).exists() else 'missing'}"
    files = sorted((path / SHARDS).glob("*.h5"))
    whole = [file for file in files if _is_shard(file)]
    if not whole:
        raise DataError(f"{path} holds no shard that can be read; it is no data set, or beyond repair")
    identities = [read_identity(file) for file in whole]
    if any(identity != identities[0] for identity in identities):
        raise DataError(f"{path / SHARDS} holds labels of several potentials; keep one's in each directory")
    ids = [read_index(file)[0] for file in whole]
    order = sorted(range(len(whole)), key=lambda k: int(ids[k][0]))
    if (np.diff(np.concatenate([ids[k] for k in order])) <= 0).any():
        raise DataError(f"{path / SHARDS} holds an id twice, so shards of several data sets; keep one's there")
    entries = [entry_of(path, whole[k], map_columns(whole[k])[0]) for k in order]
    lost = [file.relative_to(path).as_posix() for file in files if file not in whole]
    problems = [problem, *(f"{path / name} cannot be read" for name in lost)]
    return Manifest.of(entries, identity=identities[0], header=_REBUILT, provenance=stamp()), problems, lost


def _is_shard(file: Path) -> bool:
    try:
        return len(map_columns(file)[0]) > 0
    except DataError:
        return False
