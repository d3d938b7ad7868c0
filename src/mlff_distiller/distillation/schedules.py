"""Learning-rate schedules: pure functions of the step, so that a resumed run follows the same curve."""

import math

from mlff_distiller.distillation.plan import TrainingPlan

_LOWEST = 1e-3  # of the peak: zero would waste the last steps


def learning_rate(plan: TrainingPlan, step: int) -> float:
    """Return the learning rate of one optimizer step (0 to n_steps - 1).

    One-cycle follows Smith & Topin 2017 (arXiv:1708.07120) with cosine flanks.

    Examples
    --------
    >>> plan = TrainingPlan(n_steps=1000, learning_rate=0.01)
    >>> learning_rate(plan, 30), learning_rate(plan, 999) < 2e-5
    (0.01, True)
    """
    if plan.schedule == "one_cycle":
        rise = max(1, round(0.3 * plan.n_steps))
        factor = _cosine(1 - step / rise) if step < rise else _cosine((step - rise) / max(1, plan.n_steps - rise))
    else:
        rise = round(plan.warmup_fraction * plan.n_steps)
        factor = (step + 1) / rise if step < rise else _cosine((step - rise) / max(1, plan.n_steps - rise))
    return plan.learning_rate * max(_LOWEST, factor)


def _cosine(progress: float) -> float:
    """Return one at progress 0, zero at progress 1."""
    return 0.5 * (1 + math.cos(math.pi * progress))
