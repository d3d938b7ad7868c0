"""Any ASE calculator as a teacher: the user names a function that returns it."""

import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np
from pydantic import Field, JsonValue

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import TeacherError
from mlff_distiller.core.provenance import digest, file_digest
from mlff_distiller.potentials.base import Identity, Potential
from mlff_distiller.potentials.foreign import ForeignPotential, reason
from mlff_distiller.potentials.plan import PotentialPlan

# ASE's names of our properties. Forces come first: a calculator then has done all its work when the rest is asked.
_ASE_NAMES: Final = {"forces": "forces", "energy": "energy", "stress": "stress", "atomic_energies": "energies"}


class ASEFactoryPlan(PotentialPlan):
    """Any ASE calculator, made by a function of yours.

    The function is imported and run, so recipes with this teacher must come from someone you trust.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> plan = ASEFactoryPlan(factory="ase.calculators.emt:EMT")
    >>> copper = Structure([29, 29], [[0, 0, 0], [0, 0, 2.2]])
    >>> plan.build().predict([copper])[0].forces.shape
    (2, 3)
    """

    uses_python_path: ClassVar = True
    files: ClassVar = ("weights",)

    kind: Literal["ase"] = Field("ase", description="Any ASE calculator, made by a function that you name.")
    factory: str = Field(
        description='Function or class that returns the calculator, as "package.module:name".',
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$",
    )
    arguments: dict[str, JsonValue] = Field(
        default_factory=dict, description="Keyword arguments that the function is called with."
    )
    weights: str | None = Field(
        None,
        description="File or folder of the model's weights, if it has one: labels made with others are not mixed; the "
        "function gets it through its arguments all the same.",
    )
    is_conservative: bool = Field(
        True, description="Whether its forces are the exact derivative of its energy; false for direct-force models."
    )

    def fingerprint(self) -> str:
        """Return a digest of the settings and of the files they name: weights, and the source, which has no version."""
        return digest([self.question, _source_digest(self.factory.partition(":")[0])])

    def load(self) -> Potential:
        """Return the teacher; see :meth:`PotentialPlan.load`."""
        return ASEPotential(self)


class ASEPotential(ForeignPotential):
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
        super().__init__()
        with self.isolation.inside():
            function = _imported(plan.factory)
            self._calculator = _called(function, plan)
            self.identity = Identity(
                "ase", f"{plan.factory}{_version(function)}", plan.fingerprint(), "unknown", "unknown"
            )
        offered = set(self._calculator.implemented_properties)
        self.properties = frozenset(own for own, name in _ASE_NAMES.items() if name in offered)
        self._has_free_energy = "free_energy" in offered
        self.is_conservative: bool = plan.is_conservative
        if "energy" not in self.properties:
            raise TeacherError(f"the calculator of {plan.factory} has no energy; it has {', '.join(sorted(offered))}")

    def evaluate(self, structures: Sequence[Structure], properties: Collection[str]) -> list[Labels]:
        """Return labels of one batch; see :meth:`ForeignPotential.evaluate`."""
        return [self._labels(structure, properties) for structure in structures]

    def _labels(self, structure: Structure, properties: Collection[str]) -> Labels:
        asked = [own for own in _ASE_NAMES if own in properties and (own != "stress" or structure.is_periodic)]
        atoms = _atoms(structure)
        self._calculator.reset()
        found = {own: self._property(own, atoms) for own in asked}
        return Labels(**{own: _matrix(value) if own == "stress" else value for own, value in found.items()})

    def _property(self, own: str, atoms: Any) -> Any:
        """Return one result; where electrons are smeared the forces belong to the free energy, so that comes first."""
        from ase.calculators.calculator import PropertyNotImplementedError

        if own == "energy" and self._has_free_energy:
            with suppress(PropertyNotImplementedError):  # some list it and do not have it
                return self._calculator.get_property("free_energy", atoms)
        return self._calculator.get_property(_ASE_NAMES[own], atoms)


def _imported(factory: str) -> Callable[..., Any]:
    module, _, attribute = factory.partition(":")
    try:
        function: Any = import_module(module)
        for part in attribute.split("."):
            function = getattr(function, part)
    except Exception as error:  # importing runs foreign code
        raise TeacherError(
            f"the factory {factory} cannot be imported ({reason(error)}); check that the module is installed or lies "
            "on PYTHONPATH, and the name after the colon"
        ) from error
    if not callable(function):
        raise TeacherError(f"the factory {factory} is not a function but {type(function).__name__}; name a function")
    return function  # type: ignore[no-any-return] # checked just above


def _called(function: Callable[..., Any], plan: ASEFactoryPlan) -> Any:
    try:
        calculator = function(**plan.arguments)
    except Exception as error:
        raise TeacherError(f"the factory {plan.factory} failed ({reason(error)}); check its arguments") from error
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


def _matrix(stress: Any) -> Any:
    """Return a stress as a matrix, whether the calculator gives that or ASE's six components."""
    from ase.stress import voigt_6_to_full_3x3_stress

    return voigt_6_to_full_3x3_stress(stress) if np.shape(stress) == (6,) else stress
