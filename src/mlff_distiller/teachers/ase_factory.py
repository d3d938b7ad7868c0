"""Any ASE calculator as a teacher: the user names a function that returns it."""

import re
import sys
from collections.abc import Callable, Collection, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import Field, JsonValue

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PredictionError, TeacherError
from mlff_distiller.core.provenance import digest, file_digest
from mlff_distiller.potentials.base import Identity, Potential
from mlff_distiller.teachers.isolation import Isolation
from mlff_distiller.teachers.plan import TeacherPlan

# ASE's names of our properties. Forces come first: a calculator then has done all its work when the rest is asked.
_ASE_NAMES: Final = {"forces": "forces", "energy": "energy", "stress": "stress", "atomic_energies": "energies"}


class ASEFactoryPlan(TeacherPlan):
    """An ASE calculator made by a function of the user's.

    The function is imported and run, so recipes with this teacher must come from someone you trust.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> plan = ASEFactoryPlan(factory="ase.calculators.emt:EMT")
    >>> copper = Structure([29, 29], [[0, 0, 0], [0, 0, 2.2]])
    >>> plan.build().predict([copper])[0].forces.shape
    (2, 3)
    """

    kind: Literal["ase"] = Field("ase", description="Any ASE calculator, made by a function that you name.")
    factory: str = Field(
        description='Function or class that returns the calculator, as "package.module:name".',
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$",
    )
    arguments: dict[str, JsonValue] = Field(
        default_factory=dict, description="Keyword arguments that the function is called with."
    )
    is_conservative: bool = Field(
        True, description="Whether its forces are the exact derivative of its energy; false for direct-force models."
    )

    def fingerprint(self) -> str:
        """Return a digest of the settings and of the source file they name: a user's own module has no version."""
        return digest([self.digest(), _source_digest(self.factory.partition(":")[0])])

    def build(self) -> Potential:
        """Return the teacher; see :meth:`TeacherPlan.build`."""
        return ASEPotential(self)


class ASEPotential(Potential):
    """A potential over an ASE calculator, which is reset before every structure.

    Total charge and spin multiplicity are given in ``atoms.info`` ("charge", "spin") and also, spread evenly, as
    initial charges and magnetic moments: calculators look in one place or the other.

    Parameters
    ----------
    plan : ASEFactoryPlan
        Settings.
    """

    elements = frozenset(range(1, 119))

    def __init__(self, plan: ASEFactoryPlan) -> None:
        self._isolation = Isolation()
        with self._isolation.inside():
            function = _imported(plan.factory)
            self._calculator = _called(function, plan)
            self.identity = Identity("ase", f"{plan.factory}{_version(function)}", plan.fingerprint())
        offered = set(self._calculator.implemented_properties)
        self.properties = frozenset(own for own, name in _ASE_NAMES.items() if name in offered)
        self.is_conservative: bool = plan.is_conservative
        if "energy" not in self.properties:
            raise TeacherError(f"the calculator of {plan.factory} has no energy; it has {', '.join(sorted(offered))}")

    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        """Return labels for structures, in order; see :meth:`Potential.predict`."""
        self.check(structures, properties)
        with self._isolation.inside():
            return [self._labels(index, structure, properties) for index, structure in enumerate(structures)]

    def _labels(self, index: int, structure: Structure, properties: Collection[str]) -> Labels:
        asked = [own for own in _ASE_NAMES if own in properties and (own != "stress" or structure.is_periodic)]
        try:
            atoms = _atoms(structure)
            self._calculator.reset()
            found = {own: self._calculator.get_property(_ASE_NAMES[own], atoms) for own in asked}
            labels = Labels(**{own: _value(own, value, len(structure)) for own, value in found.items()})
        except (Exception, SystemExit) as error:  # a calculator raises whatever its code hits first
            raise PredictionError(index, _reason(error)) from error
        if not labels.is_finite:
            raise PredictionError(index, "the calculator gave numbers that are not finite")
        return labels


def _imported(factory: str) -> Callable[..., Any]:
    module, _, attribute = factory.partition(":")
    try:
        function: Any = import_module(module)
        for part in attribute.split("."):
            function = getattr(function, part)
    except Exception as error:  # importing runs foreign code
        raise TeacherError(
            f"the factory {factory} cannot be imported ({_reason(error)}); check that the module is installed or lies "
            "on PYTHONPATH, and the name after the colon"
        ) from error
    if not callable(function):
        raise TeacherError(f"the factory {factory} is not a function but {type(function).__name__}; name a function")
    return function  # type: ignore[no-any-return] # checked just above


def _called(function: Callable[..., Any], plan: ASEFactoryPlan) -> Any:
    try:
        calculator = function(**plan.arguments)
    except Exception as error:
        raise TeacherError(f"the factory {plan.factory} failed ({_reason(error)}); check its arguments") from error
    needed = ("reset", "get_property", "implemented_properties")
    if not all(hasattr(calculator, name) for name in needed):
        raise TeacherError(
            f"the factory {plan.factory} returned {type(calculator).__name__}, not an ASE calculator; return one"
        )
    return calculator


def _source_digest(module: str) -> str:
    """Return the digest of a module's source file, found without running any code; empty where there is none."""
    package, *inner = module.split(".")
    try:
        found = find_spec(package)
    except (ImportError, ValueError):  # what is wrong with it is said when the teacher is built
        found = None
    if found is None:
        return ""
    places = [Path(place, *inner) for place in found.submodule_search_locations or []]
    files = [file for place in places for file in (place.with_name(f"{place.name}.py"), place / "__init__.py")]
    source = next((file for file in files if inner and file.is_file()), Path(found.origin or ""))
    return file_digest(source) if source.is_file() else ""


def _version(function: Any) -> str:
    """Return ", package 1.2" where the module belongs to an installed package or has a ``__version__``."""
    package = str(getattr(function, "__module__", "")).partition(".")[0]
    try:
        return f", {package} {version(package)}"
    except (PackageNotFoundError, ValueError):
        own = getattr(sys.modules.get(package), "__version__", "")
        return f", {package} {own}" if own else ""


def _atoms(structure: Structure) -> Any:
    from mlff_distiller.atoms.conversion import to_ase

    atoms = to_ase(structure)
    if structure.charge:
        atoms.set_initial_charges(np.full(len(structure), structure.charge / len(structure)))
    if structure.spin > 1:
        atoms.set_initial_magnetic_moments(np.full(len(structure), (structure.spin - 1) / len(structure)))
    return atoms


def _value(name: str, value: Any, n_atoms: int) -> Any:
    """Return a copy in our shape; a wrong shape must not reach a data set."""
    array = np.array(value, dtype=np.float64)
    if name == "energy":
        return float(array.reshape(()))
    if name == "stress":
        from ase.stress import voigt_6_to_full_3x3_stress

        array = voigt_6_to_full_3x3_stress(array) if array.shape == (6,) else array
    expected = {"forces": (n_atoms, 3), "stress": (3, 3), "atomic_energies": (n_atoms,)}[name]
    if array.shape != expected:
        raise ValueError(f"{name} have shape {array.shape}, not {expected}")
    return array


def _reason(error: BaseException) -> str:
    """Return the error in a few words: its type and the first line it says, addresses in memory left out."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = re.sub(r" at 0x[0-9a-f]+", "", lines[0])[:160] if lines else ""
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
