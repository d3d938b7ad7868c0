"""Registries: a kind name to an object that is imported only when asked for, with did-you-mean."""

from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, get_args

from mlff_distiller.core.errors import UnknownNameError


def nearest(name: str, known: list[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the closest known name, or an empty string.

    Examples
    --------
    >>> nearest("seeed", ["seed", "teacher"])
    " (did you mean 'seed'?)"
    """
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""


def _demand_kind(name: str, plan: Any) -> None:
    """Refuse what another package adds if recipes could not tell it from the others: one such would break them all."""
    field = getattr(plan, "model_fields", {}).get("kind")
    if field is None or get_args(field.annotation) != (name,) or field.default != name:
        raise TypeError(f'it is not a plan with a field kind: Literal["{name}"] = "{name}"')


class Registry:
    """Names of one kind of thing, each with the place it is imported from.

    Parameters
    ----------
    what : str
        What the names stand for, as an error message would say it ("teacher").
    places : dict[str, str]
        Name to ``"package.module:attribute"``.
    entry_point_group : str, optional
        Installed packages may add plans through this group, each under its kind.

    Examples
    --------
    >>> shapes = Registry("number", {"pi": "math:pi", "e": "math:e"})
    >>> shapes.names()
    ['e', 'pi']
    >>> round(shapes.get("pi"), 2)
    3.14
    >>> shapes.get("pie")
    Traceback (most recent call last):
    ...
    mlff_distiller.core.errors.UnknownNameError: unknown number 'pie' (did you mean 'pi'?); known: e, pi
    """

    def __init__(self, what: str, places: dict[str, str], *, entry_point_group: str = "") -> None:
        self.what = what
        self._places = dict(places)
        if entry_point_group:
            for point in entry_points(group=entry_point_group):
                self._places.setdefault(point.name, point.value)
        self._own = frozenset(places)

    def names(self) -> list[str]:
        """Return all names in alphabetical order."""
        return sorted(self._places)

    def get(self, name: str) -> Any:
        """Import and return what a name stands for.

        Raises
        ------
        UnknownNameError
            If the name is not registered; the message names the nearest one. Also if it is that of another package
            which does not work.
        """
        if name not in self._places:
            known = self.names()
            raise UnknownNameError(f"unknown {self.what} '{name}'{nearest(name, known)}; known: {', '.join(known)}")
        module, _, attribute = self._places[name].partition(":")
        try:
            found = getattr(import_module(module), attribute)
            if name not in self._own:
                _demand_kind(name, found)
            return found
        except Exception as error:
            if name in self._own:
                raise
            raise UnknownNameError(
                f"{self.what} '{name}' comes from the package {module.partition('.')[0]}, which cannot be used "
                f"({type(error).__name__}: {error}); update or uninstall that package"
            ) from error

    def all(self) -> list[Any]:
        """Import and return everything, in alphabetical order of the names; broken additions are left out."""
        found = []
        for name in self.names():
            try:
                found.append(self.get(name))
            except UnknownNameError:  # of another package; it is said to whoever asks for that name
                continue
        return found
