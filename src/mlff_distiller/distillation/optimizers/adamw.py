"""AdamW."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlff_distiller.distillation.optimizers.optimizer import OptimizerPlan

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from mlff_distiller.distillation.flat import FlatParameters


class AdamWPlan(OptimizerPlan):
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101): one step size for each weight.

    Examples
    --------
    >>> AdamWPlan().weight_decay
    1e-06
    """

    kind: Literal["adamw"] = Field("adamw", description="AdamW: a step size of its own for each weight.")

    def build(self, flat: "FlatParameters", learning_rate: float) -> "list[Optimizer]":
        """Return torch's AdamW over the whole vector."""
        from torch.optim import AdamW

        return [AdamW([flat.values], lr=learning_rate, weight_decay=self.weight_decay, fused=True)]
