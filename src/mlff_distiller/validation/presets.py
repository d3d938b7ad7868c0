"""Presets of the criteria, and the one rule for limits of one's own: they may only be stricter."""

from collections.abc import Mapping
from typing import Any, Final, Literal

Preset = Literal["production", "quantitative", "screening"]

Settings = dict[str, Any]

FLOOR_FACTOR: Final = 2.0
"""Under ``quantitative`` the mean force error may be this many times the teacher's error floor."""

SAMPLED: Final = (
    "bond_distribution",
    "angle_distribution",
    "dihedral_distribution",
    "rdf",
    "vdos",
    "pressure",
    "diffusion",
)
"""Observables whose value is a distance from the teacher in units of the teacher's own run-to-run difference."""

_WITHIN_SPREAD: Final = {"limit": 2.0, "required": True, "for_screening": False}

_QUANTITATIVE: Final[Mapping[str, Settings]] = {
    "force_mae": {"limit": 0.02},
    "nve_drift": {"required": True, "for_screening": False},
    **dict.fromkeys(SAMPLED, _WITHIN_SPREAD),
    "frequency_mae": {"limit": 30.0, "required": True, "for_screening": False},
    "torsion_error": {"limit": 43.0, "required": True, "for_screening": False},
}


def preset_criteria(preset: str, production: Mapping[str, Settings]) -> dict[str, Settings]:
    """Return all criteria of a preset as plain data.

    Parameters
    ----------
    preset : str
        ``production``; ``quantitative``, which asks for all of it and more; or ``screening``, which has the screening
        limits for limits.
    production : mapping
        The criteria of ``production``.

    Examples
    --------
    >>> force = {"limit": 0.2, "screening_limit": 0.4, "required": True, "for_screening": True}
    >>> preset_criteria("screening", {"force_rmse": force})["force_rmse"]["limit"]
    0.4
    """
    if preset == "quantitative":
        return {name: settings | _QUANTITATIVE.get(name, {}) for name, settings in production.items()}
    if preset == "screening":
        return {name: _screening(settings) for name, settings in production.items()}
    return {name: dict(settings) for name, settings in production.items()}


def _screening(settings: Settings) -> Settings:
    if not settings["for_screening"]:
        return settings | {"required": False}
    limit, screening = settings["limit"], settings["screening_limit"]
    return settings | {"limit": limit if screening is None else screening, "screening_limit": None}


def demand_stricter(name: str, own: Settings, preset: Settings, *, sign: int, of: str) -> None:
    """Refuse a criterion that asks for less than that of the preset.

    Parameters
    ----------
    name : str
        The check.
    own, preset : dict
        Its criterion as plain data, as it is to be and as the preset has it.
    sign : int
        1 where more is better, -1 where less is.
    of : str
        Name of the preset.

    Raises
    ------
    ValueError
        With the setting and what the preset has; a plan makes a sentence of it.

    Examples
    --------
    >>> force = {"limit": 0.2, "screening_limit": 0.4, "required": True, "for_screening": True}
    >>> demand_stricter("force_rmse", force | {"limit": 0.5}, force, sign=-1, of="production")
    Traceback (most recent call last):
    ...
    ValueError: 'force_rmse.limit' 0.5 is looser than the 0.2 of the preset production; a verdict cannot be loosened; \
sign a waiver instead
    """
    for key, of_preset in _limits(preset).items():
        if of_preset is not None and _is_looser(_limits(own)[key], of_preset, sign):
            _refuse(name, key, _limits(own)[key], of_preset, of)
    for key in ("required", "for_screening"):
        if preset["required"] and preset[key] and own[key] is False:
            _refuse(name, key, False, True, of)


def _limits(settings: Settings) -> dict[str, Any]:
    """Return both limits, the limit standing in for a screening limit that is not there."""
    limit, screening = settings["limit"], settings["screening_limit"]
    return {"limit": limit, "screening_limit": limit if screening is None else screening}


def _is_looser(own: Any, preset: float, sign: int) -> bool:
    if own is None:
        return True
    return isinstance(own, int | float) and sign * (own - preset) < 0


def _refuse(name: str, key: str, own: Any, preset: Any, of: str) -> None:
    said = ("none" if value is None else str(value).lower() if isinstance(value, bool) else f"{value:g}"
            for value in (own, preset))  # fmt: skip
    mine, theirs = said
    raise ValueError(
        f"'{name}.{key}' {mine} is looser than the {theirs} of the preset {of}; a verdict cannot be loosened; "
        "sign a waiver instead"
    )
