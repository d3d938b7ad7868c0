"""SanityPlan: the bounds of what is believed."""

from pydantic import Field

from mlff_distiller.core.plan import Plan


class SanityPlan(Plan):
    """Bounds of structures and labels.

    Examples
    --------
    >>> SanityPlan(max_net_force=0.1).max_net_force
    0.1
    """

    min_distance_ratio: float = Field(
        0.5, ge=0, lt=1, description="Least distance of two atoms, as a fraction of the sum of their covalent radii."
    )
    isolated_distance: float = Field(
        5.0,
        ge=4,
        le=20,
        description="An atom of a larger structure without a neighbor within this is isolated, Angstrom.",
    )
    min_volume_per_atom: float = Field(1.5, ge=0, description="Least volume of a periodic cell, Angstrom^3 per atom.")
    max_missing_hydrogens: float = Field(
        0.35, ge=0, description="Free valences that a molecule with carbon may have, per heavy atom."
    )
    max_net_force: float = Field(
        0.01, ge=0, description="Largest sum of all forces of a structure, eV/Angstrom per atom; it should vanish."
    )
    max_net_torque: float = Field(
        0.05,
        ge=0,
        description="Largest torque of all forces of a non-periodic structure, eV per atom; it should vanish.",
    )
    max_energy_deviation: float = Field(
        10.0,
        gt=0,
        description="Largest distance of an energy per atom from the median of its composition, in robust standard "
        "deviations.",
    )
    max_force_deviation: float = Field(
        10.0,
        gt=0,
        description="Largest excess of the logarithm of a structure's largest force over the median of all, in robust "
        "standard deviations.",
    )
