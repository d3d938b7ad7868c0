"""Numbers, units and names as a reader of a page sees them."""

import re
from collections.abc import Mapping
from html import escape
from math import floor, isfinite, log10
from typing import Any, Final

MINUS: Final = "\N{MINUS SIGN}"
TIMES: Final = "\N{MULTIPLICATION SIGN}"
NONE: Final = "\N{EN DASH}"

_SUBSCRIPT: Final = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_SUFFIX: Final = re.compile(r"_(K|fs|ps|ms|s|eV_per_A\w*|meV_per_A\w*)$")
_UNITS: Final = {"A": "Å", "eV/A": "eV/Å", "eV/A^3": "eV/Å³", "1/cm": "cm⁻¹", "degree": "°", "percent": "%"}
_SUPERSCRIPT: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def unit(name: str) -> str:
    """Return the escaped unit as print has it.

    Examples
    --------
    >>> unit("eV/A^3")
    'eV/Å³'
    """
    return escape(_UNITS.get(name, name))


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with a few significant digits, in powers of ten where it is very small or large.

    Examples
    --------
    >>> number(0.012345), number(-2.5e-7), number(float("nan")), number(0.99987, 5)
    ('0.0123', '−2.50 × 10⁻⁷', '–', '0.99987')
    """
    if value is None or value != value:
        return NONE
    if not isfinite(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    if value == 0:
        return "0"
    exponent = floor(log10(abs(float(f"{value:.{digits - 1}e}"))))
    if exponent < -3 or exponent > 5:
        return f"{value / 10.0**exponent:.{digits - 1}f} {TIMES} {_power_of_ten(exponent)}".replace("-", MINUS)
    return f"{value:,.{max(digits - 1 - exponent, 0)}f}".replace("-", MINUS)


def _power_of_ten(exponent: int) -> str:
    return f"10{str(exponent).translate(_SUPERSCRIPT)}"


def interval(ci95: tuple[float, float] | None, digits: int = 3) -> str:
    """Return a 95 % interval.

    Examples
    --------
    >>> interval((0.01, 0.02)), interval(None)
    ('0.0100 to 0.0200', '–')
    """
    return NONE if ci95 is None else f"{number(ci95[0], digits)} to {number(ci95[1], digits)}"


def quantity(value: float | None, unit_name: str, digits: int = 3) -> str:
    """Return a number with its unit.

    Examples
    --------
    >>> quantity(3.0, "degree"), quantity(0.999, ""), quantity(0.2, "eV/A").split()
    ('3.00°', '0.999', ['0.200', 'eV/Å'])
    """
    if value is None or value != value:
        return NONE
    shown = unit(unit_name)
    gap = "" if not shown or shown == "°" else "\u00a0"
    return f"{number(value, digits)}{gap}{shown}"


def ratio(speedup: float) -> tuple[str, str]:
    """Return how many times, and whether faster or slower.

    Examples
    --------
    >>> ratio(12.0), ratio(0.5)
    (('12.0', 'faster'), ('2.00', 'slower'))
    """
    return (number(speedup), "faster") if not speedup < 1 else (number(1 / speedup), "slower")


def formula(text: str) -> str:
    """Return an escaped chemical formula with subscripts.

    Examples
    --------
    >>> formula("C2H6O")
    'C₂H₆O'
    """
    return escape(text).translate(_SUBSCRIPT)


def key(name: str) -> str:
    """Return the escaped name of a setting, its unit in parentheses.

    Examples
    --------
    >>> key("duration_ps"), key("n_epochs")
    ('duration (ps)', 'n epochs')
    """
    found = _SUFFIX.search(name)
    stem, shown = (name[: found.start()], f" ({found[1].replace('_per_', '/')})") if found else (name, "")
    return escape(stem.replace("_", " ") + shown)


def bound(limit: float | None, symbol: str) -> str:
    """Return a limit as "≤ 0.2", short.

    Examples
    --------
    >>> bound(0.2, "≤"), bound(1e-6, "≤"), bound(None, "")
    ('≤ 0.2', '≤ 10⁻⁶', '–')
    """
    if limit is None:
        return NONE
    exponent = floor(log10(abs(limit))) if limit else 0
    if exponent < -3 and abs(limit / 10.0**exponent - 1) < 1e-9:
        return f"{symbol} {_power_of_ten(exponent)}"
    return f"{symbol} {limit:g}".replace("-", MINUS)


def listing(items: list[str], last: str = "and") -> str:
    """Join words as a sentence does.

    Examples
    --------
    >>> listing(["H", "C", "O"])
    'H, C and O'
    """
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}" if items else "none"


def plain(value: Any) -> str:
    """Return plain data as one escaped line, names of settings set apart.

    Examples
    --------
    >>> plain({"charges": [0, 1], "note": None})
    '<span class="key">charges</span> 0, 1'
    """
    if isinstance(value, Mapping):
        kept = {name: inner for name, inner in value.items() if inner not in (None, "", [], {})}
        return " · ".join(f'<span class="key">{key(str(name))}</span> {plain(inner)}' for name, inner in kept.items())
    if isinstance(value, list | tuple):
        return "; ".join(map(plain, value)) if any(isinstance(x, dict) for x in value) else ", ".join(map(plain, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return escape(f"{value:g}" if isinstance(value, float) else str(value))
