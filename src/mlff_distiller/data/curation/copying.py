"""Curation: new stores from old ones, merged or in part, that say what they were made from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.console import Reporter, Silent
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.blocks import blocks
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.storage.store import Store
from mlff_distiller.data.storage.writer import StoreWriter

Indices = NDArray[np.int64]

_BLOCK_ATOMS = 200_000


def merge(stores: Sequence[Store], path: Path, *, compressed: bool = False, reporter: Reporter | None = None) -> Store:
    """Write the structures of several stores into a new one; the same call continues after a crash.

    Structures are numbered anew: row ``r`` of a store gets the id ``first_id + r``, with the ``first_id`` that the new
    header gives for that store.

    Parameters
    ----------
    stores : sequence of Store
        At least one; all labels from one potential.
    path : Path
        Directory of the new store.
    compressed : bool
        Compress it, for an archive.
    reporter : Reporter, optional
        Where progress goes.

    Raises
    ------
    DataError
        If labels come from different potentials, a store is given twice, or the directory holds something else.

    Examples
    --------
    >>> import tempfile
    >>> from mlff_distiller.atoms.structure import Structure
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in "ab":
    ...     with StoreWriter(folder / name) as writer:
    ...         writer.append([0], [Structure([1 if name == "a" else 2], [[0, 0, 0]])])
    ...         _ = writer.seal()
    >>> merged = merge([Store.open(folder / name) for name in "ab"], folder / "both")
    >>> [s.formula for s in merged.structures()], [parent["first_id"] for parent in merged.header["parents"]]
    (['H', 'He'], [0, 1])
    """
    _check_mergeable(stores)
    first_ids = np.cumsum([0, *(len(store) for store in stores)]).tolist()
    parts = [
        Part(store, np.arange(len(store)), first_id + np.arange(len(store)))
        for store, first_id in zip(stores, first_ids, strict=False)
    ]
    parents = [{**_described(store), "first_id": first_id} for store, first_id in zip(stores, first_ids, strict=False)]
    header = {"content": "merged data sets", "parents": parents}
    return _copy(parts, path, header, compressed=compressed, title="merging", reporter=reporter)


def subset(
    store: Store,
    rows: Indices,
    path: Path,
    *,
    settings: dict[str, Any],
    compressed: bool = False,
    reporter: Reporter | None = None,
) -> Store:
    """Write some structures of a store into a new one, under their ids; the same call continues after a crash.

    Parameters
    ----------
    store : Store
        Where they come from.
    rows : (R,) int64
        Which ones.
    path : Path
        Directory of the new store.
    settings : dict
        How they were chosen, for the header; JSON-able.
    compressed : bool
        Compress it, for an archive.
    reporter : Reporter, optional
        Where progress goes.

    Raises
    ------
    DataError
        If there are no rows, or the directory holds something else.

    Examples
    --------
    >>> import tempfile
    >>> from mlff_distiller.atoms.structure import Structure
    >>> folder = Path(tempfile.mkdtemp())
    >>> writer = StoreWriter(folder / "all")
    >>> writer.append(range(3), [Structure([z], [[0, 0, 0]]) for z in (1, 2, 3)])
    >>> part = subset(writer.seal(), np.array([0, 2]), folder / "part", settings={"elements": "not helium"})
    >>> part.ids.tolist(), part.header["settings"]
    ([0, 2], {'elements': 'not helium'})
    """
    kept = np.unique(rows)
    if not len(kept):
        raise DataError(f"no structure of {store.path} is left, so there is nothing to write; loosen the conditions")
    header = {"content": "part of a data set", "parents": [_described(store)], "settings": settings}
    parts = [Part(store, kept, store.ids[kept])]
    return _copy(parts, path, header, compressed=compressed, title="copying", reporter=reporter)


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of a store, and the ids they get."""

    store: Store
    rows: Indices
    ids: Indices


def _copy(
    parts: list[Part], path: Path, header: dict[str, Any], *, compressed: bool, title: str, reporter: Reporter | None
) -> Store:
    identity = parts[0].store.identity
    advance = (reporter or Silent()).start(title, sum(len(part.rows) for part in parts))
    with StoreWriter(path, identity=identity, header=header, compressed=compressed) as writer:
        for columns in _renumbered(parts):
            ids = columns.arrays["ids"]
            left = np.flatnonzero(~np.isin(ids, writer.done_ids.common(ids)))
            if not writer.is_sealed and len(left):
                writer.append_columns(columns if len(left) == len(columns) else columns.take(left))
            advance(len(columns))
        return writer.seal()


def _renumbered(parts: list[Part]) -> Iterator[Columns]:
    for part in parts:
        done = 0
        for _, columns in blocks(part.store, part.rows, max_atoms=_BLOCK_ATOMS):
            ids = part.ids[done : done + len(columns)].astype(np.int64)
            done += len(columns)
            yield replace(columns, arrays={**columns.arrays, "ids": ids})


def _described(store: Store) -> dict[str, Any]:
    return {
        "name": store.path.resolve().name,
        "digest": store.digest,
        "n_structures": len(store),
        "header": store.header,
    }


def _check_mergeable(stores: Sequence[Store]) -> None:
    if not stores:
        raise DataError("there is nothing to merge; give at least one data set")
    digests = [store.digest for store in stores]
    for k, store in enumerate(stores):
        if store.identity != stores[0].identity:
            raise DataError(
                f"{stores[0].path} and {store.path} hold labels of different potentials "
                f"({_name(stores[0])} and {_name(store)}), which must not be mixed; label one of them anew, or if they "
                "are imports of one level of theory, name it with --theory when importing"
            )
        if store.digest in digests[:k]:
            raise DataError(f"{store.path} is given twice, or holds the same data as another one; leave it out")


def _name(store: Store) -> str:
    return f"{store.identity['kind']} {store.identity['version']}" if store.identity else "none"
