"""Journal: chunks of what a long run recorded, and the state to go on from; on disk, or in memory."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.errors import DataError
from mlff_distiller.core.files import write_atomically

Arrays = Mapping[str, NDArray[Any]]

_STATE: Final = "state.npz"


class Journal:
    """Chunks of arrays in the order in which they came, with the state after the last of them.

    The state is written after its chunk and says how many chunks it goes with. Wherever a process is killed, the state
    and the chunks before it are whole, and a chunk that the state does not know is written again.

    Parameters
    ----------
    folder : Path, optional
        Where the files are; without it everything stays in memory and ends with the process.

    Examples
    --------
    >>> journal = Journal()
    >>> journal.append({"energy": np.array([1.0])}, {"step": np.array(10)})
    >>> journal.append({"energy": np.array([2.0, 3.0])}, {"step": np.array(20)})
    >>> journal.joined()["energy"].tolist(), int(journal.state["step"])
    ([1.0, 2.0, 3.0], 20)
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._chunks: list[Arrays] = []
        self.state: Arrays = {}
        self.n_chunks = 0
        if folder is not None and (folder / _STATE).is_file():
            self.state = _read(folder / _STATE)
            self.n_chunks = int(self.state["n_chunks"])

    def append(self, chunk: Arrays, state: Arrays) -> None:
        """Add a chunk and the state after it.

        Raises
        ------
        DistillerError
            If the folder cannot be written to.
        """
        if self._folder is None:
            self._chunks.append(chunk)
        else:
            _write(self._path(self.n_chunks), chunk)
            _write(self._folder / _STATE, {**state, "n_chunks": np.array(self.n_chunks + 1)})
        self.n_chunks += 1
        self.state = state

    def joined(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of all chunks, put together along their first axis.

        Raises
        ------
        DataError
            If a file is missing or damaged.
        """
        chunks = list(self._read_chunks())
        return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]} if chunks else {}

    def _read_chunks(self) -> Iterator[Arrays]:
        if self._folder is None:
            yield from self._chunks
        else:
            yield from (_read(self._path(number)) for number in range(self.n_chunks))

    def _path(self, number: int) -> Path:
        return (self._folder or Path()) / f"chunk-{number:06d}.npz"


def _write(path: Path, arrays: Arrays) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as handle:
            np.savez(handle, **arrays)  # type: ignore[arg-type] # numpy types **kwds as its options

    write_atomically(path, write)


def _read(path: Path) -> Arrays:
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise DataError(f"{path} is missing or damaged ({error}); delete {path.parent} and run again") from error
