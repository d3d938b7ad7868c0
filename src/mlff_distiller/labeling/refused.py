"""The list of refused structures, one JSON line each, appended durably and never twice."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mlff_distiller.core.errors import DataError
from mlff_distiller.labeling.gates import Refusal

REFUSED = "refused.jsonl"


class RefusedList:
    """The refusals of one store.

    Parameters
    ----------
    path : Path
        The store's directory.

    Attributes
    ----------
    refusals : dict of int to Refusal
        By id of the structure.

    Raises
    ------
    DataError
        If the file is damaged elsewhere than at its end (a line cut short by a crash is forgotten).

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> RefusedList(folder).append([Refusal(3, "max_force", "41 eV/Angstrom")])
    >>> RefusedList(folder).counts()
    {'max_force': 1}
    """

    def __init__(self, path: Path) -> None:
        self._file = path / REFUSED
        self.refusals: dict[int, Refusal] = {}
        content = self._file.read_bytes() if self._file.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), start=1):
            refusal = self._parsed(line, number)
            self.refusals[refusal.id] = refusal
        if len(whole) < len(content):
            os.truncate(self._file, len(whole))

    def append(self, refusals: Sequence[Refusal]) -> None:
        """Add refusals; when this returns they survive a crash."""
        new = [refusal for refusal in refusals if refusal.id not in self.refusals]
        if not new:
            return
        try:
            with self._file.open("ab") as handle:
                handle.write("".join(json.dumps(refusal.to_json()) + "\n" for refusal in new).encode())
                handle.flush()
                os.fsync(handle.fileno())
        except OSError as error:
            raise DataError(f"cannot write {self._file} ({error.strerror}); check permissions and space") from error
        self.refusals.update({refusal.id: refusal for refusal in new})

    def counts(self) -> dict[str, int]:
        """Return how many structures each reason refused, the commonest first."""
        return dict(Counter(refusal.reason for refusal in self.refusals.values()).most_common())

    def _parsed(self, line: bytes, number: int) -> Refusal:
        try:
            value = json.loads(line)
            return Refusal(int(value["id"]), str(value["reason"]), str(value["detail"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{self._file}, line {number} is damaged; delete that line and run again") from error
