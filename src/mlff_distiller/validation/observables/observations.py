"""What was observed of a potential, system by system, as arrays that a file can hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from mlff_distiller.core.evidence import Evidence, texts

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Observations:
    """What was observed of S systems.

    Attributes
    ----------
    names : list of str
        Of the systems.
    systems : list of dict
        Arrays of each; see :func:`~mlff_distiller.validation.observables.observe.observe`.
    settings : str
        Digest of the settings it was observed with.
    """

    names: list[str]
    systems: list[Arrays]
    settings: str

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], prefix: str = "") -> "Observations":
        """Return what :meth:`arrays` wrote flat."""
        names = [str(name) for name in arrays[f"{prefix}systems"]]
        systems: list[Arrays] = [{} for _ in names]
        for key, array in arrays.items():
            row, _, name = key.removeprefix(prefix).partition("/")
            if key.startswith(prefix) and name and row.isdigit():
                systems[int(row)][name] = array
        return cls(names, systems, str(arrays[f"{prefix}settings"][0]))

    def arrays(self, prefix: str = "") -> Arrays:
        """Return everything as one flat dictionary; the keys of system k begin with "k/".

        Examples
        --------
        >>> import numpy as np
        >>> one = Observations(["water"], [{"frequencies": np.ones(3)}], "")
        >>> list(one.arrays()), Observations.of(one.arrays("teacher/"), "teacher/").names
        (['systems', 'settings', '0/frequencies'], ['water'])
        """
        flat: Arrays = {f"{prefix}systems": texts(self.names), f"{prefix}settings": texts([self.settings])}
        for row, own in enumerate(self.systems):
            flat |= {f"{prefix}{row}/{name}": array for name, array in own.items()}
        return flat

    def get(self, name: str) -> Arrays:
        """Return the arrays of a system; none where it was not observed."""
        return dict(zip(self.names, self.systems, strict=True)).get(name, {})

    def reason(self, system: str, family: str) -> str:
        """Return why something was not observed of a system; empty where it was, or where it makes no sense."""
        found = [str(line).partition(": ") for line in self.get(system).get("missing", [])]
        return next((why for name, _, why in found if name == family), "")


def joined(parts: Sequence[Evidence]) -> Evidence:
    """Return one evidence of what was observed of a potential system by system.

    Examples
    --------
    >>> parts = [Evidence(arrays=Observations([name], [{}], "").arrays()) for name in ("water", "methane")]
    >>> joined(parts).arrays["systems"].tolist()
    ['water', 'methane']
    """
    found = [Observations.of(part.arrays) for part in parts]
    names = [name for one in found for name in one.names]
    systems = [own for one in found for own in one.systems]
    return Evidence(arrays=Observations(names, systems, found[0].settings if found else "").arrays())
