"""MLFF Distiller: distill a large machine-learned force field into a small, fast student.

The names below are the public face of the package; they are imported on first use, so that importing the
package (and ``mlffd --help``) stays fast and never loads torch.

>>> import mlff_distiller
>>> mlff_distiller.__version__
'0.1.0'
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mlff_distiller.atoms.labels import Labels
    from mlff_distiller.atoms.structure import Structure
    from mlff_distiller.potentials.base import Potential
    from mlff_distiller.potentials.calculator import PotentialCalculator
    from mlff_distiller.students.calculator import StudentCalculator

_HOMES = {
    "Labels": "mlff_distiller.atoms.labels",
    "Potential": "mlff_distiller.potentials.base",
    "PotentialCalculator": "mlff_distiller.potentials.calculator",
    "Structure": "mlff_distiller.atoms.structure",
    "StudentCalculator": "mlff_distiller.students.calculator",
}

__all__ = ["Labels", "Potential", "PotentialCalculator", "Structure", "StudentCalculator", "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
