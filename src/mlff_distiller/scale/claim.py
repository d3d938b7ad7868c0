"""Claims: a directory that is filled over several runs belongs to one set of inputs."""

import json
from pathlib import Path
from typing import Any

from mlff_distiller.core.errors import DataError
from mlff_distiller.core.files import write_json

CLAIM = "inputs.json"


def claim_directory(path: Path, inputs: dict[str, Any], *, is_new: bool) -> None:
    """Write down what a directory's content is made from, or check that it is still the same.

    Without this, a run continued after a change of settings would mix results of both.

    Parameters
    ----------
    path : Path
        The directory; it exists.
    inputs : dict
        JSON-able: digests, seeds, identities.
    is_new : bool
        Whether nothing has been made in it yet.

    Raises
    ------
    DataError
        If the content was made from other inputs; the message names what differs.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> claim_directory(folder, {"seed": 1}, is_new=True)
    >>> claim_directory(folder, {"seed": 2}, is_new=False)
    Traceback (most recent call last):
    ...
    mlff_distiller.core.errors.DataError: ... was begun with another seed; ...
    """
    file = path / CLAIM
    if is_new:
        write_json(file, inputs)
        return
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(f"{path} does not say what it was made from ({CLAIM}); choose another directory") from None
    changed = [key for key in inputs if key not in known or known[key] != inputs[key]]
    if changed:
        raise DataError(
            f"{path} was begun with another {' and '.join(changed)}; choose another directory, or delete this one"
        )
