"""Is it slower than it was: ratios with distribution-free intervals, round by round."""

from dataclasses import dataclass

import numpy as np

from mlff_distiller.benchmarking.quantiles import Floats, median

FEWEST_ROUNDS = 6
"""An interval of a median with 95 % needs so many."""


@dataclass(frozen=True)
class Ratio:
    """Time now over time then.

    Parameters
    ----------
    value : float
        Above 1 is slower.
    ci95 : tuple of two floats
        95 % interval.
    how : str
        ``paired``: both were timed in the same rounds; ``normalized``: each over the reference work of its own run.
    n_rounds : int
        Rounds behind the interval.

    Examples
    --------
    >>> Ratio(1.5, (1.4, 1.6), "paired", 16).outcome(0.1), Ratio(1.1, (0.9, 1.3), "paired", 16).outcome(0.1)
    ('slower', 'no change')
    """

    value: float
    ci95: tuple[float, float]
    how: str
    n_rounds: int

    def outcome(self, tolerance: float) -> str:
        """Return ``slower`` if the whole interval is above 1 + tolerance, ``faster`` if it is below 1 - tolerance."""
        if self.n_rounds < FEWEST_ROUNDS:
            return "too few rounds"
        low, high = self.ci95
        return "slower" if low > 1 + tolerance else "faster" if high < 1 - tolerance else "no change"


def paired(now: Floats, then: Floats) -> Ratio:
    """Return the ratio of times that were taken in the same rounds (R,): the median over rounds, with its interval.

    Examples
    --------
    >>> paired(np.full(9, 3.0), np.full(9, 2.0)).value
    1.5
    """
    n = min(len(now), len(then))
    found = median(now[:n] / then[:n])
    return Ratio(found.value, found.ci95, "paired", n)


def unpaired(now: Floats, then: Floats) -> Ratio:
    """Return the ratio of times of two runs (R,), (S,), each over the reference work of its own run.

    The estimate is the median of all ratios between the runs, and order statistics of them enclose it (Hodges and
    Lehmann 1963, doi:10.1214/aoms/1177704172).

    Examples
    --------
    >>> unpaired(np.full(9, 3.0), np.full(7, 2.0)).value
    1.5
    """
    n, m = len(now), len(then)
    ratios = np.sort((now[:, None] / then[None, :]).ravel())
    rank = int(np.floor(n * m / 2 - 1.96 * np.sqrt(n * m * (n + m + 1) / 12)))
    low = int(np.clip(rank, 0, (len(ratios) - 1) // 2))
    ends = float(ratios[low]), float(ratios[len(ratios) - 1 - low])
    return Ratio(float(np.median(ratios)), ends, "normalized", min(n, m))
