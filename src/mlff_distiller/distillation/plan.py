"""Settings of a training run."""

from typing import Literal

from pydantic import Field

from mlff_distiller.core.plan import Plan


class LossPlan(Plan):
    """Weights of the loss terms; every term is measured in the RMS force of the training set, so it has no unit.

    Examples
    --------
    >>> LossPlan().force_weight
    100.0
    """

    energy_weight: float = Field(1.0, ge=0, description="Weight of the squared energy error per atom.")
    force_weight: float = Field(100.0, ge=0, description="Weight of the squared error of force components.")
    stress_weight: float = Field(
        10.0,
        ge=0,
        description="Weight of the squared virial error per atom; counts only where the teacher gives stress.",
    )


class TrainingPlan(Plan):
    """Settings of a training run.

    Examples
    --------
    >>> TrainingPlan(n_steps=100).schedule
    'cosine'
    """

    n_steps: int = Field(20_000, ge=1, description="Optimizer steps; early stopping may end the run before.")
    batch_size: int = Field(16, ge=1, description="Structures per step.")
    learning_rate: float = Field(4e-3, gt=0, le=1, description="Peak learning rate of AdamW.")
    schedule: Literal["cosine", "one_cycle"] = Field(
        "cosine", description="cosine: short linear warm-up, then cosine to zero; one_cycle: rise over 30 %, then fall."
    )
    warmup_fraction: float = Field(0.03, ge=0, le=0.5, description="Share of the steps in the warm-up of 'cosine'.")
    weight_decay: float = Field(1e-6, ge=0, description="Decoupled weight decay of AdamW.")
    gradient_clip: float = Field(10.0, gt=0, description="Largest norm of the gradient; larger ones are scaled down.")
    ema_decay: float = Field(
        0.999, ge=0, lt=1, description="Decay of the running average of weights, which is what is kept and validated."
    )
    validation_interval: int = Field(500, ge=1, description="Steps between validations; each one saves the state.")
    patience: int = Field(
        20, ge=1, description="Validations without a better force error after which the run stops early."
    )
    dtype: Literal["float32", "float64"] = Field("float32", description="Precision of the student.")
    loss: LossPlan = Field(LossPlan(), description="Weights of energies, forces and stress in the loss.")
