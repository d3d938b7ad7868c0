"""Which form of the training step a run uses."""

from collections.abc import Callable

from torch import Tensor

from mlff_distiller.core.errors import TrainingError
from mlff_distiller.data.loading.batch import Batch
from mlff_distiller.data.loading.loader import GraphLoader
from mlff_distiller.distillation.plan import TrainingPlan
from mlff_distiller.distillation.step import EagerStep, Step
from mlff_distiller.distillation.world import World

_PAYS_FROM = 6_000
"""Steps: a compiled step saves at least 10 ms, whatever the size of student and batch, and compiling costs 60 s."""


def choose_step(
    eager: EagerStep,
    plan: TrainingPlan,
    *,
    weights: Tensor,
    train: GraphLoader,
    world: World,
    tell: Callable[[str], None],
) -> Step:
    """Return the compiled step where it is asked for or pays, otherwise the eager one.

    The choice depends on the settings and the machine alone, never on a measurement, so that a continued run makes the
    same one. Of several processes, the first of each machine compiles, and the others load what it left.

    Parameters
    ----------
    eager : EagerStep
        The definition of the step.
    plan : TrainingPlan
        Settings.
    weights : (P,)
        Parameters of the student.
    train : GraphLoader
        Where a batch to compare both steps with comes from.
    world : World
        Processes that train together.
    tell : callable
        Is told what the user should know: that compiling takes a while, or cannot be.

    Raises
    ------
    TrainingError
        If ``compile`` is "always" and this cannot be.
    """
    if plan.compile == "never" or (plan.compile == "auto" and plan.n_steps < _PAYS_FROM):
        return eager
    sample = next((part for parts in train.steps(0) for part in parts if part.graph.n_systems), None)
    step: Step = eager
    for turn in (True, False):
        if (world.local_rank == 0) is turn and sample is not None:
            step = _compiled(eager, plan, weights, sample, tell)
        world.wait()
    return step


def _compiled(
    eager: EagerStep, plan: TrainingPlan, weights: Tensor, sample: Batch, tell: Callable[[str], None]
) -> Step:
    from mlff_distiller.distillation.compiled_step import CompiledStep  # seconds to import

    tell("compiling the training step: a minute the first time, seconds when continued")
    try:
        return CompiledStep(eager, weights, sample, tell=tell)
    except TrainingError as error:
        if plan.compile == "always":
            raise
        tell(f"training goes on with the slower step: {error}")
        return eager
