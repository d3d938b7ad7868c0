"""The guard: foreign exceptions become sentences, half frames never come out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlff_distiller.core.errors import DataError
from mlff_distiller.data.importers.frame import Frame
from mlff_distiller.data.importers.guard import guarded, translated


def frames(*items: Any) -> Iterator[Frame]:
    for item in items:
        if isinstance(item, Exception):
            raise item
        yield item


def helium(**changes: Any) -> Frame:
    return Frame(**{"where": "he", "numbers": np.array([2]), "positions": np.zeros((1, 3)), **changes})


@pytest.mark.parametrize("error", [OSError("torn"), KeyError("x"), TypeError(), RecursionError("deep"), MemoryError()])
def test_any_exception_names_file_and_frame(error: Exception) -> None:
    reading = guarded(frames(helium(), error), Path("a.h5"))
    next(reading)
    with pytest.raises(DataError, match=rf"a\.h5, frame 1 cannot be read \({type(error).__name__}"):
        next(reading)


def test_our_own_errors_pass_unchanged() -> None:
    with pytest.raises(DataError, match=r"^a clear sentence$"):
        next(guarded(frames(DataError("a clear sentence")), Path("a.h5")))


@pytest.mark.parametrize(
    "changes",
    [
        {"numbers": np.array([], dtype=int)},
        {"numbers": np.array([1.5])},
        {"numbers": np.array([np.nan])},
        {"numbers": np.array(["He"])},
        {"numbers": np.array([[2]])},
        {"positions": np.zeros((2, 3))},
        {"positions": np.array([["x", "y", "z"]])},
        {"cell": np.zeros(9)},
        {"pbc": np.zeros(2, dtype=bool)},
        {"values": {"energy": np.zeros(2)}},
        {"values": {"forces": np.zeros(3)}},
        {"values": {"stress": np.zeros(5)}},
        {"values": {"virial": np.zeros((3, 2))}},
        {"values": {"atomic_energies": np.array(["a"])}},
    ],
)
def test_half_frames_do_not_come_out(changes: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="he: "):
        next(guarded(frames(helium(**changes)), Path("a.h5")))


def test_whole_frames_come_out_as_plain_numbers() -> None:
    values = {"energy": np.float32(-2.5), "stress": np.zeros(6, dtype=np.float32)}
    frame = next(guarded(frames(helium(numbers=np.array([2], dtype=np.uint8), values=values)), Path("a.h5")))
    assert frame.numbers.dtype == np.int64
    assert all(value.dtype == np.float64 for value in frame.values.values())


def test_missing_and_forbidden_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"), translated(tmp_path / "a"):
        (tmp_path / "a").read_bytes()
    with pytest.raises(DataError, match="may not be read"), translated("a"):
        raise PermissionError(13, "denied")
