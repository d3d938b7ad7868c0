"""Measurements: numbers with units, sample sizes and intervals; judged elsewhere, never here."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Measurement:
    """One measured number.

    Parameters
    ----------
    name : str
        Name of the check, for instance ``force_rmse``.
    value : float
        The estimate; NaN where the check ran but could not be evaluated.
    unit : str
        Unit of value and interval ("" for pure numbers).
    ci95 : tuple[float, float], optional
        95 % confidence interval; None where none can be given.
    n_samples : int
        How many independent samples the interval rests on.
    detail : dict
        JSON-able facts: what was run, per-system values.

    Examples
    --------
    >>> Measurement("force_rmse", 0.041, "eV/A", (0.040, 0.042), 120).to_json()["unit"]
    'eV/A'
    """

    name: str
    value: float
    unit: str
    ci95: tuple[float, float] | None = None
    n_samples: int = 1
    detail: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the interval becomes a list."""
        return asdict(self) | {"ci95": list(self.ci95) if self.ci95 is not None else None}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Measurement":
        """Return the measurement that :meth:`to_json` wrote."""
        ci95 = value["ci95"]
        return cls(**{**value, "ci95": tuple(ci95) if ci95 is not None else None})
