"""Learning-rate schedules: pure functions of step and history, so that a resumed run follows the same curve."""

import math
from collections.abc import Sequence

from mlff_distiller.distillation.plan import TrainingPlan

_LOWEST = 1e-3  # of the peak: zero would waste the last steps


def learning_rate(plan: TrainingPlan, step: int, errors: Sequence[float] = ()) -> float:
    """Return the learning rate of one optimizer step (0 to n_steps - 1).

    Parameters
    ----------
    plan : TrainingPlan
        Schedule, peak, and number of steps. One-cycle follows Smith & Topin 2017 (arXiv:1708.07120) with cosine
        flanks.
    step : int
        Number of the step.
    errors : sequence of float
        Errors of all validations before it, which "plateau" looks at.

    Examples
    --------
    >>> plan = TrainingPlan(n_steps=1000, learning_rate=0.01, schedule="cosine", warmup_fraction=0.03)
    >>> learning_rate(plan, 30), learning_rate(plan, 999) < 2e-5
    (0.01, True)
    """
    peak = 0.3 if plan.schedule == "one_cycle" else plan.warmup_fraction
    rise = round(peak * plan.n_steps)
    if step < rise:
        factor = _cosine(1 - step / rise) if plan.schedule == "one_cycle" else (step + 1) / rise
    elif plan.schedule == "plateau":
        factor = plan.plateau_factor ** n_drops(errors, patience=plan.plateau_patience)
    elif plan.schedule == "constant":
        factor = 1.0
    else:
        factor = _cosine((step - rise) / max(1, plan.n_steps - rise))
    return plan.learning_rate * max(_LOWEST, factor)


def n_drops(errors: Sequence[float], *, patience: int) -> int:
    """Return how often ``patience`` validations in a row have brought nothing better.

    Examples
    --------
    >>> n_drops([5, 4, 4, 4, 3, 3, 3], patience=2)
    2
    """
    best, waited, drops = math.inf, 0, 0
    for error in errors:
        waited = 0 if error < best else waited + 1
        best = min(best, error)
        if waited == patience:
            drops, waited = drops + 1, 0
    return drops


def _cosine(progress: float) -> float:
    """Return one at progress 0, zero at progress 1."""
    return 0.5 * (1 + math.cos(math.pi * progress))
