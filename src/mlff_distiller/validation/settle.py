"""What would settle an undecided check: how much more to measure, in numbers, as one sentence."""

from math import ceil, isfinite, log
from typing import Final

import numpy as np

from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.criterion import Criterion
from mlff_distiller.validation.presets import SAMPLED

_MOST: Final = 100
"""How many times more is still worth saying; beyond it the value lies on the limit."""

_SAMPLES: Final = {
    "errors": ("held-out trajectory segments", "a larger split.test_fraction or longer sampling"),
    "nve": ("replicas of each system", "validation.nve.n_replicas"),
    "timestep": ("replicas of each system", "validation.timestep.n_replicas"),
    "physicality": ("structures", "validation.physicality.n_per_system"),
    "visited": ("runs", "validation.nve.n_replicas"),
    "observables": ("runs of student and teacher", "validation.observables.n_replicas"),
    "timing": ("blocks", "timing.n_blocks"),
    "memory_growth": ("blocks", "timing.memory.n_blocks"),
}
"""What a check, or one of its numbers, samples, and the setting that gives more of it."""

_NAMES: Final = {
    "timestep": {"timestep_order"},
    "physicality": {
        *("force_residual", "stress_residual", "force_spread", "energy_spread", "force_jump", "energy_jump"),
        *("extensivity_error", "short_range_hole", "out_of_domain"),
    },
    "observables": {
        *SAMPLED,
        *("frequency_mae", "geometry_rmsd", "torsion_error", "dimer_error", "eos_error", "elastic_error"),
    },
    "timing": {"step_time", "teacher_step_time", "speedup", "memory_growth"},
}


def check_of(name: str) -> str:
    """Return the check that measures a number.

    Examples
    --------
    >>> check_of("nve_drift"), check_of("rdf"), check_of("force_rmse")
    ('nve', 'observables', 'errors')
    """
    prefix = name.partition("_")[0]
    if prefix in ("nve", "visited"):
        return prefix
    return next((check for check, names in _NAMES.items() if name in names), "errors")


def settle(name: str, measurement: Measurement | None, criterion: Criterion, *, reason: str = "") -> str:
    """Return one sentence on what would decide a check that is undecided at its limit.

    Parameters
    ----------
    name : str
        The check.
    measurement : Measurement or None
        What was measured; None if it did not run. Of its details are used, where they are there: ``half_width`` of
        the interval, ``scaling`` (the power of the length of a run with which it changes), ``duration_ps`` and
        ``n_replicas``.
    criterion : Criterion
        Its limit.
    reason : str
        Why it did not run.

    Examples
    --------
    >>> from mlff_distiller.validation.criterion import AtMost
    >>> wide = Measurement("force_rmse", 0.15, "eV/A", (0.1, 0.225), 8)
    >>> settle("force_rmse", wide, AtMost(limit=0.2))
    'About 6 more held-out trajectory segments (a larger split.test_fraction or longer sampling) would settle it.'
    """
    if measurement is None:
        return _not_run(name, reason)
    if not isfinite(measurement.value):
        return _not_evaluated(name)
    if measurement.detail.get("lenient"):
        return f"It was measured {measurement.detail['lenient']}, which shows too little; the defaults would settle it."
    if name in ("nve_duration", "nve_replicas", "nve_systems"):
        return _too_little(name, measurement.value, criterion.limit or 0.0)
    samples, setting = _samples(name)
    if measurement.ci95 is None or not all(isfinite(end) for end in measurement.ci95):
        return f"So few {samples} give no interval; more are needed ({setting})."
    ways = [*_longer(measurement, criterion), *_more(measurement, criterion)]
    if ways:
        return f"About {' or '.join(ways)} would settle it."
    return (
        f"The value lies so near the limit that {_MOST} times as many {samples} would not decide it; only a better "
        "student would."
    )


def _samples(name: str) -> tuple[str, str]:
    return _SAMPLES.get(name) or _SAMPLES[check_of(name)]


def _not_run(name: str, reason: str) -> str:
    check = check_of(name)
    if check == "timing" and not reason:
        return "It is measured at the end of `mlffd run` and `mlffd validate` (timing, timing.memory.enabled)."
    if check == "timing":
        return "Once that is put right, the same command measures it (timing)."
    if reason:
        return f"Once that is put right, `mlffd validate` measures it (validation.{check})."
    return f"`mlffd validate` measures it with validation.{check}.enabled: true."


def _not_evaluated(name: str) -> str:
    if check_of(name) == "nve":
        return "A run failed, so nothing can be said; only a student whose runs all go to their end settles it."
    return "A number was not finite, or there was nothing to compare with; the report shows where."


def _too_little(name: str, value: float, limit: float) -> str:
    if name == "nve_duration":
        return f"{limit - value:.3g} ps more per run would settle it (validation.nve.duration_ps: {limit:g})."
    if name == "nve_replicas":
        missing = ceil(limit - value)
        return f"{missing} more {_SAMPLES['nve'][0]} would settle it (validation.nve.n_replicas: {limit:g})."
    return "Constant-energy runs of more systems would settle it: of three, or of all if there are fewer."


def _longer(measurement: Measurement, criterion: Criterion) -> list[str]:
    """Return how much longer runs would have to be, if that is known and within reason."""
    detail = measurement.detail
    length, half, power = (detail.get(key) for key in ("duration_ps", "half_width", "scaling"))
    if criterion.limit is None or not length or not half or power is None or not isfinite(half) or power >= 0:
        return []
    times = np.geomspace(1, _MOST, 2000)
    values = measurement.value * (times if measurement.unit == "%" else 1.0)  # what is gained over a run grows with it
    enough = times[np.abs(criterion.limit - values) > half * times**power]
    if not len(enough):
        return []
    more = length * (enough[0] - 1)
    setting = f"validation.nve.duration_ps: {_rounded_up(length + more):g}"
    return [f"{more:.2g} ps more per run ({setting})"]


def _rounded_up(value: float) -> float:
    """Return a number rounded up to two digits."""
    step = 10.0 ** (np.floor(np.log10(value)) - 1)
    return float(np.ceil(value / step) * step)


def _more(measurement: Measurement, criterion: Criterion) -> list[str]:
    """Return how many more samples would do, if that is within reason."""
    samples, setting = _samples(measurement.name)
    n = int(measurement.detail.get("n_replicas") or measurement.n_samples)
    needed = _samples_needed(n, _share(measurement, criterion))
    return [] if needed is None else [f"{needed - n:,} more {samples} ({setting})"]


def _share(measurement: Measurement, criterion: Criterion) -> float:
    """Return the distance to the limit as a share of the interval's half width, on the scale it was made on."""
    value, limit, (low, high) = measurement.value, criterion.limit or 0.0, measurement.ci95 or (0.0, 0.0)
    if min(low, value, limit) > 0 and abs(log(high * low / value**2)) < 0.1 * log(high / low):
        return 2 * abs(log(limit / value)) / log(high / low)
    half = measurement.detail.get("half_width") or max(value - low, high - value)  # one end may be cut off at zero
    return abs(limit - value) / half if half else 0.0


def _samples_needed(n: int, share: float) -> int | None:
    """Return from how many samples on an interval that shrinks with their root is narrower by a factor."""
    if n < 2 or share <= 0:
        return None
    from scipy.stats import t  # here, because scipy.stats takes half a second to import

    counts = np.arange(n, _MOST * n + 1)
    widths = t.ppf(0.975, counts - 1) / np.sqrt(counts)
    enough = counts[widths < share * widths[0]]
    return int(enough[0]) if len(enough) else None
