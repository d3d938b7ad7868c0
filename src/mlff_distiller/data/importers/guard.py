"""The guard: whatever a damaged file makes a library raise becomes one clear sentence."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from mlff_distiller.core.errors import DataError, DistillerError
from mlff_distiller.data.importers.frame import Array, Frame

Shapes = tuple[tuple[int, ...], ...]

_SHAPES: Final[dict[str, Callable[[int], Shapes]]] = {
    "energy": lambda n: ((), (1,)),
    "forces": lambda n: ((n, 3),),
    "atomic_energies": lambda n: ((n,), (n, 1)),
    "stress": lambda n: ((3, 3), (9,), (6,)),
    "virial": lambda n: ((3, 3), (9,), (6,)),
}


def guarded(frames: Iterator[Frame], path: Path) -> Iterator[Frame]:
    """Yield the frames of a reader; an exception of a library becomes a DataError that names file and frame.

    Parameters
    ----------
    frames : iterator of Frame
        What ``Reader.frames()`` made.
    path : Path
        The file that is read.

    What is yielded is whole: every array consists of numbers and fits the number of atoms, whatever bytes the file
    holds. Whether the numbers make sense is the border's question.

    Raises
    ------
    DataError
        If the file turns out to be damaged; no half-read frame was yielded before.

    Examples
    --------
    >>> def torn():
    ...     yield Frame("a", np.array([1]), np.zeros((1, 3)))
    ...     raise OSError("unexpected end of file")
    >>> for frame in guarded(torn(), Path("a.h5")):
    ...     print(frame.where)
    Traceback (most recent call last):
    ...
    mlff_distiller.core.errors.DataError: a.h5, frame 1 cannot be read (OSError: unexpected end of file); \
the file is damaged or of another format: restore it from a copy, or check its format
    """
    count = 0
    while True:
        with translated(f"{path}, frame {count}"):
            frame = next(frames, None)
            checked = None if frame is None else _plain(frame)
        if checked is None:
            return
        yield checked
        count += 1


def _plain(frame: Frame) -> Frame:
    """Return a frame whose arrays are numbers of the right shapes."""
    numbers = _numeric(frame, "atomic numbers", frame.numbers)
    n = len(numbers) if numbers.ndim == 1 else 0
    if not n or (numbers.dtype.kind == "f" and not np.array_equal(numbers, np.rint(numbers))):
        raise DataError(f"{frame.where}: the atomic numbers are not N >= 1 whole numbers; the file is damaged")
    values = {name: _numeric(frame, name, value, _SHAPES[name](n)) for name, value in frame.values.items()}
    return replace(
        frame,
        numbers=numbers.astype(np.int64),
        positions=_numeric(frame, "positions", frame.positions, ((n, 3),)),
        cell=None if frame.cell is None else _numeric(frame, "cell", frame.cell, ((3, 3),)),
        pbc=_numeric(frame, "pbc", frame.pbc, ((3,),)).astype(bool),
        values=values,
    )


def _numeric(frame: Frame, name: str, value: Any, shapes: Shapes | None = None) -> Array:
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or (shapes is not None and array.shape not in shapes):
        expected = " or ".join(map(str, shapes)) if shapes else "numbers"
        raise DataError(
            f"{frame.where}: {name} of type {array.dtype} and shape {array.shape} where {expected} belongs; the file "
            "is damaged or of another format: restore it from a copy, or check its format"
        )
    return array if array.dtype.kind in "iub" and name == "atomic numbers" else array.astype(np.float64)


@contextmanager
def translated(what: Path | str) -> Iterator[None]:
    """Turn any exception that is not ours into a DataError about ``what``; floating-point warnings stay silent.

    Raises
    ------
    DataError
        For every foreign exception inside the block.

    Examples
    --------
    >>> with translated("b.npz"):
    ...     open("/nowhere/b.npz")
    Traceback (most recent call last):
    ...
    mlff_distiller.core.errors.DataError: b.npz does not exist; check the path
    """
    try:
        with np.errstate(all="ignore"):  # nonsense numbers of a damaged file are judged as values, not warned about
            yield
    except DistillerError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{what} does not exist; check the path") from error
    except PermissionError as error:
        raise DataError(f"{what} may not be read by this user; check its permissions") from error
    except Exception as error:  # h5py, zlib, json, ... raise whatever their parser hits first
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        raise DataError(
            f"{what} cannot be read ({type(error).__name__}: {reason}); the file is damaged or of another format: "
            "restore it from a copy, or check its format"
        ) from error
