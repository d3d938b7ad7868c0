"""Coverage: was everything that a student learned also tested."""

from collections.abc import Iterable

from mlff_distiller.core.measurement import Measurement


def measure_coverage(trained: Iterable[str], tested: Iterable[str]) -> Measurement:
    """Return the share of the systems in the training set that have held-out frames too.

    Parameters
    ----------
    trained, tested : iterable of str
        Names of systems, repeated or not.

    Examples
    --------
    >>> measure_coverage(["water", "methane"], ["water"]).detail["untested"]
    ['methane']
    """
    learned, seen = set(trained), set(tested)
    share = len(learned & seen) / len(learned) if learned else float("nan")
    return Measurement("systems_covered", share, "", None, len(learned), {"untested": sorted(learned - seen)})
