"""The protocol between mlffd and the process of a potential: frames of JSON and arrays over two pipes. Version 1.

A frame is, little-endian and without padding::

    4 bytes   "MLFD"
    uint16    version of the protocol
    uint32    length of the header
    uint64    length of the body
    header    JSON object (UTF-8); its key "arrays" lists [name, dtype, shape] of what the body holds
    body      the arrays' bytes behind each other, C order, little-endian

The process answers every frame with one frame. Nothing that can run code is ever sent: no pickle, no names of
functions but the one place that the settings come from.
"""

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.labels import OF_ATOMS, PREDICTED, Labels, shape
from mlff_distiller.atoms.structure import Structure

Array = NDArray[Any]

VERSION: Final = 1
"""Version of the protocol; both sides must speak the same."""

_MAGIC: Final = b"MLFD"
_HEAD: Final = struct.Struct("<4sHIQ")


class ProtocolError(Exception):
    """What arrived is no frame of this protocol."""


@dataclass(frozen=True, eq=False)
class Message:
    """One frame.

    Parameters
    ----------
    kind : str
        What it is, for instance "predict".
    facts : dict
        JSON-able facts.
    arrays : dict of str to array
        Numbers.

    Examples
    --------
    >>> message = Message("predict", {"properties": ["energy"]}, {"x": np.arange(3.0)})
    >>> stream = message.to_bytes()
    >>> again = Message.read(lambda n, parts=[stream]: (parts[0][:n], parts.__setitem__(0, parts[0][n:]))[0])
    >>> again.kind, again.facts, again.arrays["x"].tolist()
    ('predict', {'properties': ['energy']}, [0.0, 1.0, 2.0])
    """

    kind: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the frame."""
        plain = {name: _plain(array) for name, array in self.arrays.items()}
        listed = [[name, array.dtype.str, array.shape] for name, array in plain.items()]
        header = json.dumps({"kind": self.kind, "facts": self.facts, "arrays": listed}).encode()
        body = b"".join(array.tobytes() for array in plain.values())
        return _HEAD.pack(_MAGIC, VERSION, len(header), len(body)) + header + body

    @classmethod
    def read(cls, take: Callable[[int], bytes]) -> "Message":
        """Return the next frame; ``take(n)`` must return the next n bytes.

        Raises
        ------
        ProtocolError
            If it is no frame, or one of another version.
        """
        magic, version, n_header, n_body = _HEAD.unpack(take(_HEAD.size))
        if magic != _MAGIC:
            raise ProtocolError(f"expected a frame, got {magic!r}")
        if version != VERSION:
            raise ProtocolError(f"the other side speaks version {version} of the protocol, not {VERSION}")
        header, body = take(n_header), take(n_body)
        try:
            kind, facts, layout = _understood(header)
            return cls(kind, facts, _arrays(layout, body))
        except (ValueError, KeyError, TypeError) as error:
            raise ProtocolError(f"a damaged frame arrived ({error})") from error


class Buffer:
    """Bytes that have arrived and are not read yet: a frame comes in one piece more often than in three.

    Examples
    --------
    >>> pieces, buffer = iter([b"ab", b"cde", b""]), Buffer()
    >>> [buffer.take(n, lambda: next(pieces)) for n in (1, 3)]
    [b'a', b'bcd']
    """

    def __init__(self) -> None:
        self._waiting = bytearray()

    def take(self, n: int, receive: Callable[[], bytes]) -> bytes:
        """Return the next n bytes.

        Parameters
        ----------
        n : int
            How many.
        receive : callable
            Returns the bytes that have arrived since, at least one, or none at the end.

        Raises
        ------
        EOFError
            If the other side has closed.
        """
        while len(self._waiting) < n:
            part = receive()
            if not part:
                raise EOFError
            self._waiting += part
        taken = bytes(self._waiting[:n])
        del self._waiting[:n]
        return taken


def pack_structures(structures: Sequence[Structure]) -> dict[str, Array]:
    """Return structures as flat arrays; ``info`` is left behind, it is not physics.

    Examples
    --------
    >>> packed = pack_structures([Structure([1], [[0, 0, 0]]), Structure([8, 1], [[0, 0, 0], [0, 0, 1]])])
    >>> packed["sizes"].tolist(), [s.formula for s in unpack_structures(packed)]
    ([1, 2], ['H', 'HO'])
    """
    return {
        "sizes": np.array([len(s) for s in structures], dtype=np.int64),
        "numbers": np.concatenate([s.numbers for s in structures] or [np.zeros(0, np.int64)]),
        "positions": np.concatenate([s.positions for s in structures] or [np.zeros((0, 3))]),
        "cells": np.array([s.cell for s in structures]).reshape(-1, 3, 3),
        "pbc": np.array([s.pbc for s in structures], dtype=np.uint8).reshape(-1, 3),
        "charges": np.array([s.charge for s in structures], dtype=np.int64),
        "spins": np.array([s.spin for s in structures], dtype=np.int64),
    }


def unpack_structures(arrays: Mapping[str, Array]) -> list[Structure]:
    """Return the structures; positions that are not finite arrive as they are, for the potential to refuse."""
    ends = np.cumsum(arrays["sizes"])
    found = []
    for k, (last, size) in enumerate(zip(ends, arrays["sizes"], strict=True)):
        own, cell = slice(last - size, last), arrays["cells"][k]
        frame = _frame(
            arrays["numbers"][own].tobytes(),
            arrays["pbc"][k].tobytes(),
            int(arrays["charges"][k]),
            int(arrays["spins"][k]),
        )
        found.append(frame.moved(arrays["positions"][own], cell=cell))
    return found


def pack_labels(labels: Sequence[Labels], sizes: Sequence[int]) -> dict[str, Array]:
    """Return labels as flat arrays, and which of them are there (S, number of properties).

    Examples
    --------
    >>> packed = pack_labels([Labels(energy=1.0), Labels(forces=np.ones((2, 3)))], [1, 2])
    >>> [sorted(one.present) for one in unpack_labels(packed, [1, 2])]
    [['energy'], ['forces']]
    """
    there = np.array([[getattr(one, name) is not None for name in PREDICTED] for one in labels], dtype=np.uint8)
    arrays: dict[str, Array] = {"present": there.reshape(-1, len(PREDICTED))}
    widths = {axis: n for one in labels for axis, n in one.widths.items()}
    for name in PREDICTED:
        values = [getattr(one, name) for one in labels]
        if any(value is not None for value in values):
            filled = [
                np.full(shape(name, size, widths), np.nan) if value is None else np.asarray(value, dtype=np.float64)
                for value, size in zip(values, sizes, strict=True)
            ]
            arrays[name] = np.concatenate(filled) if name in OF_ATOMS else np.stack(filled)
    return arrays


def unpack_labels(arrays: Mapping[str, Array], sizes: Sequence[int]) -> list[Labels]:
    """Return the labels."""
    ends = np.cumsum(sizes)
    found = []
    for k, (last, size) in enumerate(zip(ends, sizes, strict=True)):
        present = [name for name, there in zip(PREDICTED, arrays["present"][k], strict=True) if there]
        values: dict[str, Any] = {
            name: np.array(arrays[name][last - size : last] if name in OF_ATOMS else arrays[name][k])
            for name in present  # copies: what arrived may not be written to
        }
        values = {name: value if value.shape else float(value) for name, value in values.items()}
        found.append(Labels(**values))
    return found


def _plain(array: Array) -> Array:
    """Return an array that is contiguous and little-endian."""
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


@lru_cache(maxsize=16)
def _understood(header: bytes) -> tuple[str, dict[str, Any], list[tuple[str, np.dtype[Any], list[int], int]]]:
    """Return what a header says; in dynamics one is like the other, and reading it takes longer than the numbers."""
    value = json.loads(header)
    layout = []
    for name, dtype, lengths in value["arrays"]:
        kind = np.dtype(dtype)
        if kind.kind not in "biuf":
            raise ValueError(f"array '{name}' is of type {dtype}")
        layout.append((name, kind, lengths, math.prod(lengths)))
    return value["kind"], value["facts"], layout


def _arrays(layout: list[tuple[str, np.dtype[Any], list[int], int]], body: bytes) -> dict[str, Array]:
    arrays, first = {}, 0
    for name, kind, lengths, count in layout:
        arrays[name] = np.frombuffer(body, kind, count=count, offset=first).reshape(lengths)
        first += count * kind.itemsize
    if first != len(body):
        raise ValueError("the body is longer than its arrays")
    return arrays


@lru_cache(maxsize=64)
def _frame(numbers: bytes, pbc: bytes, charge: int, spin: int) -> Structure:
    """Return checked atoms at no place in particular."""
    kinds = np.frombuffer(numbers, dtype=np.int64)
    periodic = np.frombuffer(pbc, dtype=np.uint8).astype(bool)
    return Structure(kinds, np.zeros((len(kinds), 3)), cell=np.eye(3), pbc=periodic, charge=charge, spin=spin)
