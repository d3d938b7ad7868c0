"""TrainingState: all that a run needs to continue as if it had never stopped."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from mlff_distiller.core.errors import CheckpointError
from mlff_distiller.core.files import write_bytes

FORMAT = "mlffd-training-state"
VERSION = 3


@dataclass
class TrainingState:
    """Progress of a run.

    Attributes
    ----------
    step : int
        Optimizer steps done.
    epoch, batch : int
        Where the next batch is: the epoch, and its number in that epoch.
    kept : Any
        Weights, their running average, what the optimizers keep, and the losses since the last validation: tensors in
        nested dictionaries and lists.
    history : list[dict]
        One row per validation.
    errors : list[float]
        The error of each validation by which the best student is chosen.
    elapsed_s : float
        Time spent, over all sittings.

    Examples
    --------
    >>> import tempfile, torch
    >>> path = Path(tempfile.mkdtemp()) / "state.safetensors"
    >>> TrainingState(step=3, kept={"weights": torch.ones(2)}).save(path, digest="d")
    >>> TrainingState.load(path, digest="d").kept
    {'weights': tensor([1., 1.])}
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    kept: Any = None
    history: list[dict[str, Any]] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    elapsed_s: float = 0.0

    @property
    def best_error(self) -> float:
        """Error of the best validation so far; infinite before the first."""
        return min(self.errors, default=math.inf)

    @property
    def best_step(self) -> int:
        """Step of the best validation so far; 0 before the first."""
        return int(self.history[self.errors.index(self.best_error)]["step"]) if self.errors else 0

    @property
    def n_waited(self) -> int:
        """Validations since the best one."""
        return len(self.errors) - 1 - self.errors.index(self.best_error) if self.errors else 0

    def save(self, path: Path, *, digest: str) -> None:
        """Write the state atomically; ``digest`` tells which run it belongs to."""
        tensors: dict[str, Tensor] = {}
        facts = {**vars(self), "kept": _taken_apart(self.kept, "kept", tensors)}
        metadata = {"format": FORMAT, "version": str(VERSION), "digest": digest, "facts": json.dumps(facts)}
        write_bytes(path, serialize(tensors, metadata))

    @classmethod
    def load(cls, path: Path, *, digest: str) -> "TrainingState | None":
        """Read a state; None if there is none, or it belongs to other settings or data.

        Raises
        ------
        CheckpointError
            If the file is damaged or of another release.
        """
        if not path.exists():
            return None
        try:
            with safe_open(str(path), framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            if metadata["format"] != FORMAT or int(metadata["version"]) != VERSION:
                raise CheckpointError(
                    f"{path} is not a training state of this release; delete it to start training anew"
                )
            if metadata["digest"] != digest:
                return None
            facts = json.loads(metadata["facts"])
            return cls(**{**facts, "kept": _put_together(facts["kept"], tensors)})
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged ({error}); delete it to start this training anew") from error


def _taken_apart(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return nested values with names instead of tensors, which go to ``tensors``; keys may be numbers, too."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"items": [[key, _taken_apart(inner, f"{name}/{key}", tensors)] for key, inner in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_taken_apart(inner, f"{name}/{k}", tensors) for k, inner in enumerate(value)]}
    return {"value": value}


def _put_together(value: Any, tensors: dict[str, Tensor]) -> Any:
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "items":
        return {key: _put_together(inner, tensors) for key, inner in content}
    if kind == "list":
        return [_put_together(inner, tensors) for inner in content]
    return content
