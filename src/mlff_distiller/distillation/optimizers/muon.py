"""Muon."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlff_distiller.distillation.optimizers.optimizer import OptimizerPlan

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from mlff_distiller.distillation.flat import FlatParameters


class MuonPlan(OptimizerPlan):
    """Muon (Liu et al. 2025, arXiv:2502.16982) for matrices of layers, AdamW for tables, biases and the last layer.

    Examples
    --------
    >>> MuonPlan().kind
    'muon'
    """

    kind: Literal["muon"] = Field("muon", description="Muon: orthogonal steps for matrices, AdamW for the rest.")

    def build(self, flat: "FlatParameters", learning_rate: float) -> "list[Optimizer]":
        """Return torch's Muon and AdamW; see :meth:`OptimizerPlan.build`."""
        from torch import optim

        matrices = {name: p for name, p in flat.named.items() if p.ndim == 2 and min(p.shape) > 1}
        chosen = [p for name, p in matrices.items() if name not in flat.tables]
        left = [p for name, p in flat.named.items() if all(p is not c for c in chosen)]
        rate, decay = learning_rate, self.weight_decay
        found: list[Optimizer] = []
        if chosen:
            found.append(optim.Muon(chosen, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
        if left:
            found.append(optim.AdamW(left, lr=rate, weight_decay=decay))
        return found
