"""All checks of one potential in this process, one after the other."""

from dataclasses import replace

from mlff_distiller.core.evidence import Evidence
from mlff_distiller.validation.plan import ValidationPlan
from mlff_distiller.validation.trial import Trial


def validate(trial: Trial, plan: ValidationPlan) -> dict[str, Evidence]:
    """Return what every check found, by its name.

    Parameters
    ----------
    trial : Trial
        The potential, and what it is measured with; each check gets a folder of its own in that of the trial.
    plan : ValidationPlan
        Which checks, and their settings.
    """
    found = dict(trial.found)
    for name, check in plan.checks.items():
        folder = None if trial.folder is None else trial.folder / name
        found[name] = check.measure(replace(trial, found=found, folder=folder))
    return {name: found[name] for name in plan.checks}
