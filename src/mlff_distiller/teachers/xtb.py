"""GFN1-xTB and GFN2-xTB through tblite: semi-empirical quantum chemistry for the elements up to radon."""

from collections.abc import Collection, Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlff_distiller.atoms.labels import SINGLE, Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PredictionError, TeacherError, UnsupportedStructureError
from mlff_distiller.core.units import BOHR, BOLTZMANN, HARTREE
from mlff_distiller.potentials.base import Identity, Potential
from mlff_distiller.potentials.calculator import PlanCalculator
from mlff_distiller.potentials.plan import PotentialPlan

_LAST_ELEMENT: Final = 86

# The electrons that the methods treat, at index Z: cores are left out, and with them the filled d shell of
# zinc's group and the whole f shell. Both methods agree (doi:10.1021/acs.jctc.7b00118, doi:10.1021/acs.jctc.8b01176).
_PERIODS: Final[tuple[list[int], ...]] = (
    [0, 1, 2],
    [*range(1, 9)],
    [*range(1, 9)],
    [*range(1, 12), 2, *range(3, 9)],
    [*range(1, 12), 2, *range(3, 9)],
    [1, 2, *[3] * 15, *range(4, 12), 2, *range(3, 9)],
)
VALENCE_ELECTRONS: Final[tuple[int, ...]] = tuple(n for period in _PERIODS for n in period)
"""Number of electrons of atomic number Z that xTB treats, at index Z."""

# What tblite says (a part of it), and what is said to the user.
_REASONS: Final = {
    "not converged": "SCF did not converge",
    "Too close": "atoms coincide",
    "eigenvalue problem": "SCF broke down",
}


class XTBPlan(PotentialPlan):
    """GFN1-xTB or GFN2-xTB; needs no weights.

    Periodic cells are treated at the Gamma point.

    Sources: GFN2-xTB, doi:10.1021/acs.jctc.8b01176; GFN1-xTB, doi:10.1021/acs.jctc.7b00118.

    Examples
    --------
    >>> water = Structure([8, 1, 1], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    >>> round(XTBPlan().build().predict([water])[0].energy, 1)
    -138.0
    """

    kind: Literal["xtb"] = Field("xtb", description="GFN-xTB through the library tblite.")
    method: Literal["GFN2-xTB", "GFN1-xTB"] = Field("GFN2-xTB", description="Which parametrization to use.")
    accuracy: float = Field(
        1.0, ge=1e-4, le=1000, description="Scale of the convergence thresholds; smaller is tighter and slower."
    )
    max_iterations: int = Field(250, ge=1, description="Most SCF cycles; a structure that needs more is refused.")
    electronic_temperature_K: float = Field(
        300.0, ge=0, le=50_000, description="Temperature of the electrons, which smears the occupation of orbitals."
    )

    def load(self) -> Potential:
        """Return the teacher; see :meth:`PotentialPlan.load`."""
        return XTB(self)


class XTB(Potential):
    """The potential behind :class:`XTBPlan`.

    Every call starts from a fresh guess of the electron density, so a structure always gets the same numbers.

    Parameters
    ----------
    plan : XTBPlan
        Settings.
    """

    elements = frozenset(range(1, _LAST_ELEMENT + 1))
    properties = frozenset(SINGLE)
    boundaries = frozenset({0, 3})
    is_conservative = True

    def __init__(self, plan: XTBPlan) -> None:
        try:
            from tblite.interface import Calculator
            from tblite.library import get_version
        except ImportError as error:
            raise TeacherError(f"tblite cannot be loaded ({error}); reinstall it with `pip install tblite`") from error
        self._calculator = Calculator
        self._method = plan.method
        self._settings = {
            "verbosity": 0,
            "accuracy": plan.accuracy,
            "max-iter": plan.max_iterations,
            "temperature": plan.electronic_temperature_K * BOLTZMANN / HARTREE,
        }
        version = ".".join(map(str, get_version()))
        self.identity = Identity("xtb", f"{plan.method}, tblite {version}", plan.fingerprint(), "float64", "cpu")

    def check(self, structures: Sequence[Structure], properties: Collection[str]) -> None:
        """Raise what :meth:`predict` promises; also for impossible multiplicities."""
        super().check(structures, properties)
        for structure in structures:
            _check_multiplicity(structure, self.identity)

    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        """Return labels for structures, in order; see :meth:`Potential.predict`."""
        self.check(structures, properties)
        return [self._labels(index, structure).only(properties) for index, structure in enumerate(structures)]

    def _labels(self, index: int, structure: Structure) -> Labels:
        result = self._result(index, structure)
        electrons = _n_electrons(structure)
        if abs(result.get("orbital-occupations").sum() - electrons) > 1e-3:  # tblite drops what does not fit
            raise PredictionError(index, f"multiplicity {structure.spin} does not fit into the orbitals")
        periodic = structure.is_periodic
        labels = Labels(
            energy=float(result.get("energy")) * HARTREE,
            forces=result.get("gradient") * (-HARTREE / BOHR),
            stress=_symmetric(result.get("virial")) * (HARTREE / structure.volume) if periodic else None,
            atomic_energies=result.get("energies") * HARTREE,
        )
        if not labels.is_finite:
            raise PredictionError(index, "SCF gave numbers that are not finite")
        return labels

    def _result(self, index: int, structure: Structure) -> Any:
        periodic = structure.is_periodic
        try:
            calculator = self._calculator(
                self._method,
                structure.numbers,
                structure.positions / BOHR,
                float(structure.charge),
                structure.spin - 1,
                structure.cell / BOHR if periodic else None,
                np.array(structure.pbc) if periodic else None,
            )
            for name, value in self._settings.items():
                calculator.set(name, value)
            return calculator.singlepoint()
        except (RuntimeError, ValueError) as error:
            raise PredictionError(index, _reason(error)) from error


class XTBCalculator(PlanCalculator):
    """An ASE calculator of GFN-xTB; its arguments are the settings of :class:`XTBPlan`."""

    plan = XTBPlan


def _check_multiplicity(structure: Structure, identity: Identity) -> None:
    """Refuse a multiplicity that the electrons cannot have; tblite itself would change it without a word."""
    electrons, unpaired = _n_electrons(structure), structure.spin - 1
    what = f"{structure.formula} with charge {structure.charge:+d}" if structure.charge else structure.formula
    if electrons < 0:
        raise UnsupportedStructureError(f"{what} would have {electrons} valence electrons; correct the charge")
    if (electrons - unpaired) % 2 or unpaired > electrons:
        lowest = 1 + electrons % 2
        raise UnsupportedStructureError(
            f"{what} has {electrons} valence electrons in {identity}, which cannot have spin multiplicity "
            f"{structure.spin}; set the multiplicity (lowest possible: {lowest}) or the charge"
        )


def _n_electrons(structure: Structure) -> int:
    atoms: list[int] = structure.numbers.tolist()
    return sum(VALENCE_ELECTRONS[z] for z in atoms) - structure.charge


def _symmetric(virial: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((virial + virial.T) / 2)


def _reason(error: Exception) -> str:
    text = str(error)
    return next((said for part, said in _REASONS.items() if part in text), f"tblite: {text.strip() or 'failed'}")
