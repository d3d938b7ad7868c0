"""The contract of an optimizer."""

from abc import abstractmethod
from typing import TYPE_CHECKING

from pydantic import Field

from mlff_distiller.core.plan import Plan

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from mlff_distiller.distillation.flat import FlatParameters


class OptimizerPlan(Plan):
    """Settings of an optimizer; the learning rate is a setting of the training, which has a schedule for it."""

    weight_decay: float = Field(1e-6, ge=0, description="Decoupled weight decay.")

    @abstractmethod
    def build(self, flat: "FlatParameters", learning_rate: float) -> "list[Optimizer]":
        """Return torch optimizers that together step all parameters.

        Parameters
        ----------
        flat : FlatParameters
            The parameters, as one vector and as the matrices that it is made of.
        learning_rate : float
            Peak of the schedule; every step scales it.
        """
