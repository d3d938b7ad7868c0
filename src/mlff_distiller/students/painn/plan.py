"""Settings of a PaiNN student; light to read, the network itself is loaded when it is built."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from mlff_distiller.students.plan import StudentPlan

if TYPE_CHECKING:
    from torch import nn

PRESETS: dict[str, dict[str, int]] = {
    "original": {"n_channels": 112, "n_layers": 3, "n_radial": 20, "n_readout": 56},
    "tiny": {"n_channels": 64, "n_layers": 2, "n_radial": 10, "n_readout": 16},
    "ultra-tiny": {"n_channels": 32, "n_layers": 2, "n_radial": 10, "n_readout": 16},
}
"""Sizes by name; widths are whole vector registers."""


class PaiNNPlan(StudentPlan):
    """Settings of a PaiNN student; a preset fills in what is not given.

    Examples
    --------
    >>> PaiNNPlan(preset="tiny").n_channels
    64
    """

    kind: Literal["painn"] = Field("painn", description="Architecture: PaiNN.")
    preset: Literal["original", "tiny", "ultra-tiny"] = Field(
        "tiny", description="Size: original (about 380k parameters), tiny (77k) or ultra-tiny (21k)."
    )
    n_channels: int = Field(64, ge=4, le=1024, description="Features per atom; multiples of 16 run fastest.")
    n_layers: int = Field(2, ge=1, le=8, description="Rounds of message passing.")
    n_radial: int = Field(10, ge=2, le=128, description="Radial basis functions.")
    n_readout: int = Field(16, ge=1, le=1024, description="Hidden features of the layer that gives the energy.")
    radial: Literal["bessel", "gaussian"] = Field("bessel", description="Radial basis: bessel or gaussian.")
    envelope_power: int = Field(
        6, ge=2, le=12, description="Exponent of the envelope of the basis; larger values keep it near one for longer."
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        preset = value.get("preset", "tiny")
        return {**PRESETS.get(preset if isinstance(preset, str) else "", {}), **value}

    def build(self, n_elements: int, *, neighbor_norm: float = 1.0) -> "nn.Module":
        """Return an untrained network; see :meth:`StudentPlan.build`."""
        from mlff_distiller.students.blocks.radial import FLOOR, RADIAL_BASES
        from mlff_distiller.students.painn.network import PaiNN

        radial = RADIAL_BASES[self.radial](
            self.n_radial, self.cutoff, power=self.envelope_power, floor=self.shortest_distance or FLOOR
        )
        return PaiNN(
            n_elements,
            radial=radial,
            n_channels=self.n_channels,
            n_layers=self.n_layers,
            n_readout=self.n_readout,
            neighbor_norm=neighbor_norm,
        )
