"""Sealing: the shards that several writers left, in the one order and with the one cut that a store has."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.labels import OPEN, Widths
from mlff_distiller.core.cutting import cut
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.provenance import file_digest
from mlff_distiller.data.columns import Columns, common_widths, concatenate
from mlff_distiller.data.schema import ShardEntry
from mlff_distiller.data.storage.hdf5 import map_columns, read_index, read_widths

Integers = NDArray[np.int64]


def sealed_widths(path: Path, sealed: list[ShardEntry]) -> Widths:
    """Return in how many directions the Hessians of shards are known, and how many features they have, if any.

    Parameters
    ----------
    path : Path
        The store's directory.
    sealed : list of ShardEntry
        Its shards.

    Raises
    ------
    DataError
        If shards differ in it.
    """
    files = [entry.file for entry in sealed if set().union(*OPEN.values()) & set(entry.properties)]
    return common_widths({str(path / file): read_widths(path / file) for file in files})


def arrange(path: Path, sealed: list[ShardEntry], shard_atoms: int) -> Iterator[ShardEntry | Columns]:
    """Yield the shards of the finished store: those that are right as they are, or new ones.

    The result depends on ids and sizes alone, not on who wrote what when. No more than one shard is held in memory.

    Parameters
    ----------
    path : Path
        The store's directory.
    sealed : list of ShardEntry
        What writers have left; ids ascend within each.
    shard_atoms : int
        Atoms in a shard.

    Raises
    ------
    DataError
        If two shards hold one id, and not the same structure and labels, or a shard that must be copied is damaged.
    """
    index = [read_index(path / entry.file) for entry in sealed]
    order = np.argsort([ids[0] for ids, _ in index], kind="stable")
    ids = np.concatenate([index[k][0] for k in order])
    sizes = np.concatenate([index[k][1] for k in order])
    if (np.diff(ids) > 0).all():
        bounds = np.cumsum([0, *(len(index[k][0]) for k in order)]).tolist()
        if cut(sizes, shard_atoms) == list(pairwise(bounds)):
            yield from (sealed[k] for k in order)
            return
    yield from _merged(path, sealed, index, shard_atoms)


def _merged(
    path: Path, sealed: list[ShardEntry], index: list[tuple[Integers, Integers]], shard_atoms: int
) -> Iterator[Columns]:
    for entry in sealed:  # what is copied gets a new checksum, so the old one speaks now or never
        if file_digest(path / entry.file) != entry.sha256:
            raise DataError(
                f"{path / entry.file} does not match its checksum; delete it, and make its structures again"
            )
    ids = np.concatenate([i for i, _ in index])
    sizes = np.concatenate([n for _, n in index])
    shard = np.repeat(np.arange(len(index)), [len(i) for i, _ in index])
    row = np.concatenate([np.arange(len(i)) for i, _ in index])
    order = np.argsort(ids, kind="stable")
    again = np.flatnonzero(np.diff(ids[order]) == 0)
    for first, second in zip(order[again].tolist(), order[again + 1].tolist(), strict=True):
        _check_same(path, [(sealed[shard[k]].file, int(row[k])) for k in (first, second)], int(ids[first]))
    order = np.delete(order, again + 1)
    for first, last in cut(sizes[order], shard_atoms):
        chosen = order[first:last]
        yield concatenate(
            [
                map_columns(path / sealed[k].file)[0].take(row[chosen[shard[chosen] == k]])
                for k in np.unique(shard[chosen])
            ]
        ).in_order_of_ids()


def _check_same(path: Path, places: list[tuple[str, int]], number: int) -> None:
    """Refuse an id that was stored twice with different content; the same label made twice does no harm."""
    one, two = (map_columns(path / file)[0].take(np.array([row])).arrays for file, row in places)
    if one.keys() != two.keys() or any(one[name].tobytes() != two[name].tobytes() for name in one):
        raise DataError(
            f"{path} holds two different structures with id {number}, in {places[0][0]} and {places[1][0]}; "
            "delete the file that is wrong and seal again"
        )
