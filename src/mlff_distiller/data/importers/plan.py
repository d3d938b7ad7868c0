"""ImportPlan: what a user says about a foreign file; what is not said stays None and is settled or refused later."""

from typing import Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from mlff_distiller.core.errors import UnknownNameError
from mlff_distiller.core.plan import Plan

COMPONENTS: Final = ("xx", "yy", "zz", "yz", "xz", "xy")
"""Components of a symmetric tensor in Voigt's order, which is ASE's."""

_UNIT_OF: Final = {
    "length_unit": "length",
    "energy_unit": "energy",
    "force_unit": "forces",
    "stress_unit": "stress",
}

StressSign = Literal["tension-positive", "compression-positive"]


class ImportPlan(Plan):
    """Settings of an import; None means "not said".

    Examples
    --------
    >>> ImportPlan(energy_unit="kcal/mol", force_unit="kcal/mol/Angstrom").stress_unit is None
    True
    """

    format: str = Field("auto", description="Format of the file; auto looks at its content.")
    length_unit: str | None = Field(None, description="Unit of positions and cells, for instance Angstrom or Bohr.")
    energy_unit: str | None = Field(None, description="Unit of energies, for instance eV, Hartree or kcal/mol.")
    force_unit: str | None = Field(None, description="Unit of forces, for instance eV/Angstrom or Hartree/Bohr.")
    stress_unit: str | None = Field(None, description="Unit of the stress, for instance eV/Angstrom^3, GPa or kbar.")
    stress_sign: StressSign | None = Field(
        None, description="What a positive stress means: tension (as in ASE) or compression (as in VASP)."
    )
    stress_order: str | None = Field(
        None,
        description='Order of six numbers of a stress or virial: "xx,yy,zz,yz,xz,xy" (Voigt, ASE), '
        '"xx,yy,zz,xy,yz,xz" (VASP) or any other.',
    )
    energy_key: str | None = Field(None, description="Name of the energies in the file.")
    forces_key: str | None = Field(None, description="Name of the forces in the file.")
    stress_key: str | None = Field(None, description="Name of the stress in the file.")
    virial_key: str | None = Field(None, description="Name of the virial in the file.")
    atomic_energies_key: str | None = Field(None, description="Name of the energies of atoms in the file.")
    charge_key: str | None = Field(None, description="Name of the total charge in the file.")
    spin_key: str | None = Field(None, description="Name of the spin multiplicity 2S + 1 in the file.")
    energy_per_atom: bool = Field(False, description="Energies in the file are per atom, not total.")
    forces_are_gradients: bool = Field(
        False, description="Forces in the file are gradients of the energy: their sign is turned."
    )
    theory: str | None = Field(
        None,
        min_length=1,
        description="What made the labels, for instance PBE/def2-SVP; data sets of one theory may be merged.",
    )
    charge: int | None = Field(None, description="Total charge of structures whose charge the file does not say, e.")
    skip_bad_frames: bool = Field(
        False, description="Set impossible frames aside and report them, instead of stopping at the first."
    )

    @field_validator("stress_order")
    @classmethod
    def _six_components(cls, value: str | None) -> str | None:
        if value is None:
            return None
        order = tuple(part.strip().lower() for part in value.split(","))
        if tuple(sorted(_canonical(part) for part in order)) != tuple(sorted(COMPONENTS)):
            raise ValueError(f"name each of {', '.join(COMPONENTS)} once, for instance xx,yy,zz,xy,yz,xz")
        return ",".join(_canonical(part) for part in order)

    @field_validator(*_UNIT_OF)
    @classmethod
    def _known_unit(cls, value: str | None, info: ValidationInfo) -> str | None:
        from mlff_distiller.data.importers.units import factor

        if value is not None and info.field_name is not None:
            try:
                factor(_UNIT_OF[info.field_name], value)
            except UnknownNameError as error:
                raise ValueError(str(error)) from error
        return value


def _canonical(component: str) -> str:
    return "".join(sorted(component))


def asked(plan: ImportPlan) -> dict[str, str]:
    """Return the units, signs and orders that the user said, by quantity."""
    said = {
        "length": plan.length_unit,
        "energy": plan.energy_unit,
        "forces": plan.force_unit,
        "stress": plan.stress_unit,
        "stress sign": plan.stress_sign,
        "stress order": plan.stress_order,
    }
    return {quantity: value for quantity, value in said.items() if value is not None}
