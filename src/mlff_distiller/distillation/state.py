"""TrainingState: all that a run needs to continue as if it had never stopped."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from mlff_distiller.core.errors import CheckpointError
from mlff_distiller.core.files import write_bytes

FORMAT = "mlffd-training-state"
VERSION = 2


class FlatParameters:
    """All parameters of a module as one vector, and their gradients as another.

    The module's own parameters become views, so that optimizer, averaging, clipping and saving are single
    operations on a vector instead of loops over many small tensors.

    Examples
    --------
    >>> layer = nn.Linear(2, 1)
    >>> flat = FlatParameters(layer)
    >>> with torch.no_grad():
    ...     _ = flat.values.zero_()
    >>> layer.bias.item()
    0.0
    """

    def __init__(self, module: nn.Module) -> None:
        parameters = list(module.parameters())
        self.values = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
        self.values.grad = torch.zeros_like(self.values)
        first = 0
        for p in parameters:
            view = slice(first, first := first + p.numel())
            p.data = self.values.data[view].view_as(p)
            p.grad = self.values.grad[view].view_as(p)


@dataclass
class TrainingState:
    """Progress of a run.

    Attributes
    ----------
    step : int
        Optimizer steps done.
    epoch, batch : int
        Where the next batch is: the epoch, and its number in that epoch.
    tensors : dict[str, Tensor]
        Weights, their running average and the optimizer's moments, as flat vectors.
    best_step : int
        Step of the best validation so far.
    best_error : float
        Its force RMSE, eV/Angstrom.
    history : list[dict]
        One row per validation.
    elapsed_s : float
        Time spent, over all sittings.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)
    best_step: int = 0
    best_error: float = float("inf")
    history: list[dict[str, Any]] = field(default_factory=list)
    elapsed_s: float = 0.0

    def save(self, path: Path, *, digest: str) -> None:
        """Write the state atomically; ``digest`` tells which run it belongs to."""
        facts = {name: value for name, value in vars(self).items() if name != "tensors"}
        metadata = {"format": FORMAT, "version": str(VERSION), "digest": digest, "facts": json.dumps(facts)}
        write_bytes(path, serialize(self.tensors, metadata))

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
            return cls(tensors=tensors, **json.loads(metadata["facts"]))
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged ({error}); delete it to start this training anew") from error
