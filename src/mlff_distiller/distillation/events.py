"""Events of a training, for whoever wants to follow it: the progress bar, log files, TensorBoard, a caller's own."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlff_distiller.core.console import Reporter
from mlff_distiller.core.errors import TrainingError
from mlff_distiller.core.files import write_text

Row = dict[str, Any]


class Listener:
    """Is told what happens; a base whose methods do nothing.

    Examples
    --------
    >>> class Loud(Listener):
    ...     def validated(self, history):
    ...         print(f"step {history[-1]['step']}")
    >>> Loud().validated([{"step": 500}])
    step 500
    """

    def began(self, n_steps: int, step: int, history: list[Row]) -> None:
        """Take note that training begins or goes on at a step; the history has a row for each validation so far."""

    def noted(self, text: str) -> None:
        """Take note of something that the user should know."""

    def stepped(self, step: int) -> None:
        """Take note that so many steps are done, after a validation if there is one; not the place for slow work."""

    def validated(self, history: list[Row]) -> None:
        """Take note of a validation; its row is the last."""

    def ended(self) -> None:
        """Take note that training came to its end, or was broken off."""


class ProgressBar(Listener):
    """Shows steps, validation errors and an estimate of the time left."""

    def __init__(self, title: str, reporter: Reporter) -> None:
        self._title, self._reporter = title, reporter
        self._advance: Callable[..., None] = lambda *_, **__: None
        self._note = ""

    def began(self, n_steps: int, step: int, history: list[Row]) -> None:
        """Start the bar where the run is."""
        self._advance = self._reporter.start(self._title, n_steps, done=step)
        if history:
            self.validated(history)

    def noted(self, text: str) -> None:
        """Say one line."""
        self._reporter.message(f"  {self._title}: {text}")

    def stepped(self, step: int) -> None:
        """Move the bar."""
        self._advance(1, note=self._note)

    def validated(self, history: list[Row]) -> None:
        """Show the errors from the next step on."""
        self._note = _note(history[-1])


class HistoryFiles(Listener):
    """Keeps ``history.jsonl`` and ``history.csv``, a row for each validation."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def validated(self, history: list[Row]) -> None:
        """Write both files anew: they are small, and whole at any moment."""
        write_text(self._folder / "history.jsonl", "".join(json.dumps(row) + "\n" for row in history))
        table = io.StringIO()
        writer = csv.DictWriter(table, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)
        write_text(self._folder / "history.csv", table.getvalue())


class TensorBoard(Listener):
    """Writes the history for TensorBoard into ``folder / "tensorboard"``; needs the extra "tensorboard".

    Raises
    ------
    TrainingError
        If tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise TrainingError(
                'training.tensorboard needs tensorboard; run pip install "mlff-distiller[tensorboard]" or leave it out'
            ) from error
        self._open: Callable[..., Any] = SummaryWriter
        self._folder, self._writer = folder / "tensorboard", None

    def began(self, n_steps: int, step: int, history: list[Row]) -> None:
        """Open the log; what an earlier sitting wrote beyond the saved state is hidden."""
        self._writer = self._open(str(self._folder), purge_step=step + 1)

    def validated(self, history: list[Row]) -> None:
        """Write the newest row."""
        assert self._writer is not None
        row = history[-1]
        for name, value in row.items():
            if name != "step" and value is not None:
                self._writer.add_scalar(name, value, row["step"])
        self._writer.flush()

    def ended(self) -> None:
        """Close the log."""
        if self._writer is not None:
            self._writer.close()


def _note(row: Row) -> str:
    force, energy = row["validation_force_rmse"], row["validation_energy_rmse_per_atom"]
    parts = [f"F {1e3 * force:.0f} meV/Å"] if force is not None else []
    parts += [f"E {1e3 * energy:.1f} meV/atom"] if energy is not None else []
    return " ".join(parts)
