"""Settings of a training run."""

from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from pydantic import Field, model_validator

from mlff_distiller.core.errors import TrainingError
from mlff_distiller.core.plan import FilePlan, Plan, kinds
from mlff_distiller.distillation.losses import LOSSES
from mlff_distiller.distillation.losses.energy import EnergyTerm
from mlff_distiller.distillation.losses.forces import ForcesTerm
from mlff_distiller.distillation.losses.stress import StressTerm
from mlff_distiller.distillation.losses.term import TermPlan
from mlff_distiller.distillation.optimizers import OPTIMIZERS
from mlff_distiller.distillation.optimizers.muon import MuonPlan

if TYPE_CHECKING:
    OptimizerField = Any
    TermField = Any
else:
    OptimizerField, TermField = kinds(OPTIMIZERS), kinds(LOSSES)


_TERMS: Final = (EnergyTerm(), ForcesTerm(), StressTerm())


def _beside_reference() -> tuple[TermPlan, ...]:
    """Return the terms for both, in which the teacher's fade: in the end the few labels of the reference decide."""
    fading = [term.model_copy(update={"labels": "teacher", "final_weight": 1e-3 * term.weight}) for term in _TERMS]
    return (*fading, *(term.model_copy(update={"labels": "reference"}) for term in _TERMS))


class TrainingPlan(FilePlan):
    """Settings of a training run.

    Examples
    --------
    >>> TrainingPlan(n_steps=100).schedule
    'cosine'
    """

    paths: ClassVar = ("start_from", "reference_data")

    n_steps: int = Field(20_000, ge=1, description="Optimizer steps; early stopping may end the run before.")
    batch_size: int = Field(16, ge=1, description="Structures per step.")
    batch_edges: int | None = Field(
        None, ge=1, description="Most edges per step, in place of a number of structures, where sizes differ much."
    )
    edges_at_once: int | None = Field(
        None,
        ge=1,
        description="Most edges evaluated at a time; larger batches are evaluated in parts whose gradients add up, "
        "which saves memory.",
    )
    optimizer: OptimizerField = Field(MuonPlan(), description="How a gradient becomes a change of weights.")
    learning_rate: float = Field(4e-3, gt=0, le=1, description="Peak learning rate.")
    schedule: Literal["cosine", "one_cycle", "plateau", "constant"] = Field(
        "cosine",
        description="cosine: short linear warm-up, then cosine to zero; one_cycle: rise over 30 %, then fall; plateau: "
        "warm-up, then lower whenever validations no longer improve; constant: warm-up alone.",
    )
    warmup_fraction: float = Field(0.03, ge=0, le=0.5, description="Share of the steps in the warm-up.")
    plateau_factor: float = Field(0.5, gt=0, lt=1, description="What 'plateau' multiplies the learning rate with.")
    plateau_patience: int = Field(5, ge=1, description="Validations without a better error before 'plateau' acts.")
    gradient_clip: float = Field(10.0, gt=0, description="Largest norm of the gradient; larger ones are scaled down.")
    ema_decay: float = Field(
        0.999, ge=0, lt=1, description="Decay of the running average of weights, which is what is kept and validated."
    )
    validation_interval: int = Field(500, ge=1, description="Steps between validations; each one saves the state.")
    state_interval_s: float = Field(
        30.0, ge=0, description="Seconds between saved states, the most that a killed run loses."
    )
    patience: int = Field(
        20, ge=1, description="Validations without a better force error after which the run stops early."
    )
    dtype: Literal["float32", "float64"] = Field("float32", description="Precision of the student.")
    mixed_precision: bool = Field(
        False, description="Let a GPU multiply matrices in bfloat16, with sums and weights as 'dtype' says."
    )
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="Where to train: cpu, cuda, or auto for a GPU if any."
    )
    compile: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Compile the training step: some four times faster, after a minute. auto: if there is a compiler "
        "and the run is long enough to pay for it.",
    )
    start_from: str | None = Field(
        None,
        description="Student file to go on from, for a new system or a new level of theory; new weights otherwise.",
    )
    reference_data: str | None = Field(
        None,
        description="Data set with the labels of a reference method, such as DFT, that are trained on beside the "
        "teacher's and choose the best student.",
    )
    baseline: bool = Field(
        True,
        description="With reference data, also train a student of each architecture on these alone, to see whether the "
        "teacher helped.",
    )
    tensorboard: bool = Field(False, description='Write logs for TensorBoard; needs the extra "tensorboard".')
    loss: tuple[TermField, ...] = Field(
        _TERMS,
        min_length=1,
        description="What is matched, each with its weight; terms whose labels are not there are left out. With "
        "reference data, unless given: these terms for the reference, and for the teacher with weights that fade.",
    )

    def chosen_device(self, rank: int = 0) -> str:
        """Return the device that a process trains on: with several GPUs, each process has its own.

        Raises
        ------
        TrainingError
            If a GPU is asked for and torch sees none.

        Examples
        --------
        >>> TrainingPlan(device="cpu").chosen_device()
        'cpu'
        """
        import torch

        n_gpus = torch.cuda.device_count()
        if self.device.startswith("cuda") and not n_gpus:
            raise TrainingError("training.device 'cuda' is asked for, but torch sees no GPU here; set it to 'auto'")
        if self.device == "auto":
            return f"cuda:{rank % n_gpus}" if n_gpus else "cpu"
        return f"cuda:{rank % n_gpus}" if self.device == "cuda" else self.device

    @model_validator(mode="before")
    @classmethod
    def _fade_the_teacher(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("reference_data") is not None and "loss" not in value:
            return {**value, "loss": _beside_reference()}
        return value

    @model_validator(mode="after")
    def _check(self) -> "TrainingPlan":
        if self.mixed_precision and self.dtype == "float64":
            raise ValueError("mixed_precision and dtype float64 contradict each other; leave one out")
        return self


class AssistantPlan(Plan):
    """How a larger student helps to train a smaller one; the name of the larger one alone will do.

    It labels copies of the training structures in which atoms are displaced at random. Mirzadeh et al. 2020
    (arXiv:1902.03393) call such a network a teacher assistant; here it gives new structures besides.

    Examples
    --------
    >>> AssistantPlan.model_validate("original").n_copies
    2
    """

    student: str = Field(description="Name of the student that labels; it is trained before.")
    n_copies: int = Field(2, ge=1, le=1000, description="Displaced copies of each training structure.")
    amplitude: float = Field(
        0.05, gt=0, le=1, description="Standard deviation of each coordinate's displacement, Angstrom."
    )
    largest_force: float = Field(
        1.5,
        ge=1,
        description="Copies with a force above this many times the largest of the training set are left out: there the "
        "assistant guesses.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"student": value} if isinstance(value, str) else value
