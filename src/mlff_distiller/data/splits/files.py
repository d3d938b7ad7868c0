"""Files of splits: ``splits/NAME.h5`` inside a store, one byte for each structure; bound to the data by a digest."""

import json
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.errors import DataError
from mlff_distiller.core.files import write_bytes
from mlff_distiller.core.provenance import stamp
from mlff_distiller.data.splits.plan import SplitPlan
from mlff_distiller.data.splits.split import PARTS, Split

FORMAT: Final = "mlffd-split"
"""Name of the format."""

VERSION: Final = 1
"""Version of the format; readers refuse newer ones."""

FOLDER: Final = "splits"
"""Name of the directory of the splits of a store."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, eq=False)
class SplitRecord:
    """A split and how it was made.

    Attributes
    ----------
    split : Split
        Which structures belong where.
    data_digest : str
        Digest of the store it belongs to.
    plan : SplitPlan or None
        Its settings; None where the split came from elsewhere, for instance published with the data.
    seed : int or None
        Its seed.
    provenance : dict
        Versions, machine and time.
    """

    split: Split
    data_digest: str
    plan: SplitPlan | None = None
    seed: int | None = None
    provenance: dict[str, Any] | None = None


def split_file(store: Path, name: str) -> Path:
    """Return where a store keeps the split of this name.

    Raises
    ------
    DataError
        If the name is no plain file name.

    Examples
    --------
    >>> split_file(Path("data"), "by-formula").as_posix()
    'data/splits/by-formula.h5'
    """
    if not _NAME.fullmatch(name):
        raise DataError(f"'{name}' cannot name a split; use letters, digits, dots, dashes and underscores")
    return store / FOLDER / f"{name}.h5"


def split_names(store: Path) -> list[str]:
    """Return the names of all splits that a store keeps."""
    return sorted(path.stem for path in (store / FOLDER).glob("[!.]*.h5"))


def write_split(
    path: Path, split: Split, *, data_digest: str, plan: SplitPlan | None = None, seed: int | None = None
) -> None:
    """Write a split, atomically.

    Parameters
    ----------
    path : Path
        The file, for instance from :func:`split_file`.
    split : Split
        Which structures belong where.
    data_digest : str
        ``store.digest`` of the data.
    plan : SplitPlan, optional
        Its settings.
    seed : int, optional
        Its seed.

    Raises
    ------
    DistillerError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> path = split_file(Path(tempfile.mkdtemp()), "mine")
    >>> write_split(path, Split.from_assignment(np.array([0, 0, 1, 2])), data_digest="abc")
    >>> read_split(path, data_digest="abc").split.test.tolist()
    [3]
    """
    facts = {
        "data_digest": data_digest,
        "plan": None if plan is None else plan.model_dump(mode="json"),
        "seed": seed,
        "provenance": stamp(),
    }
    with h5py.File(uuid.uuid4().hex, "w", driver="core", backing_store=False) as file:
        file.attrs["format"] = np.bytes_(FORMAT)
        file.attrs["version"] = np.int64(VERSION)
        file.attrs["facts"] = np.bytes_(json.dumps(facts).encode())
        file.create_dataset("assignment", data=split.assignment, track_times=False)
        file.flush()
        image = file.id.get_file_image()
    write_bytes(path, image)


def read_split(path: Path, *, data_digest: str) -> SplitRecord:
    """Read the split of these data.

    Raises
    ------
    DataError
        If the file is missing, damaged, of a newer version, or belongs to other data.
    """
    try:
        with h5py.File(path, "r") as file:
            if file.attrs["format"] != FORMAT.encode():
                raise DataError(f"{path} is no split of format {FORMAT}; give the file of a split")
            if (version := int(file.attrs["version"])) > VERSION:
                raise DataError(
                    f"{path} is of format version {version}, written by a newer release; install that release"
                )
            record = _record(json.loads(file.attrs["facts"]), file["assignment"][()])
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{path} is missing or damaged; delete it and split the data again") from error
    if record.data_digest != data_digest:
        raise DataError(f"{path} is the split of other data; delete it and split these data")
    return record


def _record(facts: dict[str, Any], assignment: NDArray[np.uint8]) -> SplitRecord:
    if assignment.ndim != 1 or assignment.dtype != np.uint8 or assignment.max(initial=0) >= len(PARTS):
        raise ValueError("not an assignment")
    plan = None if facts["plan"] is None else SplitPlan.model_validate(facts["plan"])
    return SplitRecord(
        Split.from_assignment(assignment), facts["data_digest"], plan, facts["seed"], facts["provenance"]
    )
