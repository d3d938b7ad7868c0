"""Settling of units: option, declaration of the file, definition of the format, convention - or a refusal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from mlff_distiller.core.errors import DataError, UnknownNameError
from mlff_distiller.data.importers import evidence
from mlff_distiller.data.importers.frame import Declared, Frame, Quantity
from mlff_distiller.data.importers.plan import ImportPlan, asked
from mlff_distiller.data.importers.sanity import fault
from mlff_distiller.data.importers.stress import VOIGT
from mlff_distiller.data.importers.units import ENERGY_UNITS, canonical, factor

_OURS: Final = {
    "length": "Angstrom",
    "energy": "eV",
    "forces": "eV/Angstrom",
    "stress": "eV/Angstrom^3",
    "virial": "eV",
}
_OPTIONS: Final = {
    "length": "--length-unit",
    "energy": "--energy-unit",
    "forces": "--force-unit",
    "stress": "--stress-unit",
    "stress sign": "--stress-sign",
    "stress order": "--stress-order",
}
FOLLOWS_ASE: Final = ("extxyz", "ase-db", "aselmdb", "traj", "mace-hdf5")
"""Formats whose convention is ASE's: eV, Angstrom, eV/Angstrom, eV/Angstrom^3, tension positive, Voigt order."""

_OPTION_OF: Final = {**_OPTIONS, "virial": "--energy-unit"}
_CONVENTION: Final = "ASE's convention"
_CONFIRMED: Final = "confirmed by the numbers"
_TOGETHER: Final = "the numbers fit each other, but do not say in which unit"
_UNCONFIRMED: Final = "not confirmed by the numbers"
_HOT: Final = 15.0
_STRESS_MEDIAN: Final = 1.0
_STRESS_MAXIMUM: Final = 5.0
_LOOKS: Final = {
    "stress": "it looks like GPa, kbar or bar",
    "virial": "it looks like a stress in GPa, kbar or bar (--stress-key names it as one)",
}


@dataclass(frozen=True)
class Settled:
    """One line of the table of units: what a number of the file means, and who says so.

    Attributes
    ----------
    quantity : str
        "length", "energy", "forces", "stress", "virial", "stress sign" or "stress order".
    unit : str
        The unit, sign or order in the file.
    why : str
        Option, declaration, definition, convention or detection.
    """

    quantity: str
    unit: str
    why: str

    @property
    def is_option(self) -> bool:
        """Whether the user said so."""
        return self.why.startswith("option ")

    @property
    def is_convention(self) -> bool:
        """Whether nobody said so."""
        return self.why.startswith(_CONVENTION)


@dataclass(frozen=True)
class Units:
    """All that is settled about a file.

    Attributes
    ----------
    rows : tuple of Settled
        The table that a user is shown and the store keeps.
    energy_per_atom : bool
        Whether energies are per atom.
    """

    rows: tuple[Settled, ...]
    energy_per_atom: bool = False

    def row(self, quantity: str) -> Settled | None:
        """Return the line of a quantity, if it is settled."""
        return next((row for row in self.rows if row.quantity == quantity), None)

    def factor(self, quantity: str) -> float:
        """Return what numbers of a quantity are multiplied by."""
        row = self.row(quantity)
        if row is None:
            raise DataError(f"the unit of the {quantity} was never settled")
        return factor(quantity, row.unit)

    def has(self, frames: Sequence[Frame]) -> bool:
        """Return whether everything that frames hold is settled."""
        return not (_needed(frames) - {row.quantity for row in self.rows})


def settle(
    frames: Sequence[Frame], declared: Mapping[Quantity, Declared], plan: ImportPlan, *, format_name: str, where: str
) -> Units:
    """Settle every unit, sign and order that frames need.

    Parameters
    ----------
    frames : sequence of Frame
        A sample, in the file's units.
    declared : mapping
        What the file or the definition of its format says.
    plan : ImportPlan
        What the user says.
    format_name : str
        Name of the format in the registry.
    where : str
        What an error message calls the file.

    Raises
    ------
    DataError
        If something is not certain, or the numbers contradict it; the sentence names the option that settles it.

    Examples
    --------
    >>> oxygen = Frame("f", np.array([8]), np.zeros((1, 3)), values={"energy": np.array(-75.0)})
    >>> for row in settle([oxygen], {"length": Declared("Bohr", "definition")}, ImportPlan(),
    ...                   format_name="npz", where="o.npz").rows:
    ...     print(row.quantity, row.unit, "-", row.why)
    length Bohr - definition
    energy Hartree - detected: energies are all-electron totals
    """
    with np.errstate(all="ignore"):  # nonsense numbers are judged, not warned about
        return _Settling(frames, declared, plan, format_name, where).run()


class _Settling:
    """The state of one settling: what is needed, and what is already certain."""

    def __init__(
        self,
        frames: Sequence[Frame],
        declared: Mapping[Quantity, Declared],
        plan: ImportPlan,
        format_name: str,
        where: str,
    ) -> None:
        self.plan, self.where = plan, where
        self.frames = [frame for frame in frames if not fault(frame)]
        self.follows_ase = format_name in FOLLOWS_ASE
        self.needed = _needed(frames)
        self.found: dict[str, Settled] = {}
        for quantity, unit in asked(plan).items():
            other = {str(name): said.unit for name, said in declared.items()}.get(quantity)
            why = f"option {_OPTIONS[quantity]}" + (f" (the file says {other})" if other else "")
            self._take(quantity, unit, why)
        for name, said in declared.items():
            self._take(name, said.unit, said.why)

    def run(self) -> Units:
        self._refuse_idle_options()
        steps: tuple[Callable[[], None], ...] = (self._convention, self._detect, self._virial, self._sign_and_order)
        for step in steps:
            step()
        open_ = [name for name in _OPTIONS if name in self.needed and name not in self.found]
        if open_:
            raise DataError(self._sentence(open_))
        rows = tuple(self.found[name] for name in (*_OURS, "stress sign", "stress order") if name in self.found)
        units = Units(rows, self.plan.energy_per_atom)
        check(self.frames, units, where=self.where)
        with_reasons = tuple(replace(row, why=_confirmed(row, units, self.frames)) for row in rows)
        return replace(units, rows=with_reasons)

    def _take(self, quantity: str, unit: str, why: str) -> None:
        if quantity not in self.found and quantity in self.needed:
            try:
                name = canonical(quantity, unit) if quantity in _OURS else unit
            except UnknownNameError as error:
                raise DataError(f"{self.where}: {why} says '{unit}': {error}; give {_OPTION_OF[quantity]}") from error
            self.found[quantity] = Settled(quantity, name, why)

    def _convention(self) -> None:
        """Take ASE's convention for the rest, but only as a whole: one foreign unit and nothing is certain."""
        if not self.follows_ase:
            return
        self._take("length", "Angstrom", _CONVENTION)
        if all(
            factor(name, row.unit) == 1 for name, row in self.found.items() if name in ("length", "energy", "forces")
        ):
            self._take("energy", "eV", _CONVENTION)
            self._take("forces", "eV/Angstrom", _CONVENTION)
            self._take("stress", "eV/Angstrom^3", _CONVENTION)

    def _detect(self) -> None:
        if "length" not in self.found and (unit := evidence.length_unit(self.frames)):
            self._take("length", unit, "detected: nearest atoms are bonded in this unit only")
        if "energy" not in self.found:
            unit = evidence.total_energy_unit(self.frames, per_atom=self.plan.energy_per_atom)
            if unit:
                self._take("energy", unit, "detected: energies are all-electron totals")
        if "length" in self.found and ("energy" in self.found) != ("forces" in self.found):
            self._detect_by_work()

    def _detect_by_work(self) -> None:
        """Settle energies by forces or forces by energies, where energy differences are the work of the forces."""
        length = self.found["length"].unit
        work = evidence.work(evidence.totals(self.frames, self.plan.energy_per_atom), length=factor("length", length))
        if work is None or work.slope < 0:
            return
        why = f"detected: energy differences are the work of the forces ({work.n_pairs} pairs of frames)"
        if "energy" in self.found:
            energy = factor("energy", self.found["energy"].unit)
            names = [
                f"{unit}/{under}" for unit in ENERGY_UNITS for under in dict.fromkeys((length, "Angstrom", "Bohr"))
            ]
            wanted = work.slope * energy / factor("length", length)
            near = [name for name in names if abs(factor("forces", name) / wanted - 1) < evidence.SLOPE_TOLERANCE]
            target = "forces"
        else:
            wanted = factor("forces", self.found["forces"].unit) * factor("length", length) / work.slope
            near = [u for u in ENERGY_UNITS if abs(factor("energy", u) / wanted - 1) < evidence.SLOPE_TOLERANCE]
            target = "energy"
        if len(near) == 1:
            self._take(target, near[0], why)

    def _virial(self) -> None:
        if "energy" in self.found:
            energy = self.found["energy"]
            self._take("virial", energy.unit, energy.why if energy.is_option else "as the energies")

    def _sign_and_order(self) -> None:
        stress = self.found.get("stress") or self.found.get("virial")
        if self.follows_ase and stress is not None and factor(stress.quantity, stress.unit) == 1:
            self._take("stress sign", "tension-positive", _CONVENTION)
            virials = [frame.values["virial"] for frame in self.frames if "virial" in frame.values]
            if not any(np.shape(virial) == (6,) for virial in virials):
                self._take("stress order", VOIGT, _CONVENTION)  # ASE knows no virial; six of VASP are ordered otherwise

    def _refuse_idle_options(self) -> None:
        """Refuse what would have no effect on a virial, whose sign and unit follow from its definition."""
        if "virial" in self.needed and "stress" not in self.needed and (self.plan.stress_sign or self.plan.stress_unit):
            raise DataError(
                f"{self.where} holds virials, whose sign (stress = -virial / volume) and unit (that of the energies) "
                "are fixed; leave out --stress-sign and --stress-unit, or name the numbers with --stress-key if they "
                "are a stress"
            )

    def _sentence(self, names: list[str]) -> str:
        listed = ", ".join(f"{name} ({_OPTIONS[name]})" for name in names)
        foreign = [row for row in self.found.values() if row.quantity in _OURS and factor(row.quantity, row.unit) != 1]
        because = "nothing in the file says it"
        if self.follows_ase and foreign:
            because = (
                f"its {foreign[0].quantity} in {foreign[0].unit} shows that the file does not follow ASE's convention"
            )
        what = "unit of" if set(names) <= set(_OURS) else "meaning of"
        return f"{self.where}: the {what} {listed} is not certain, because {because}; give {_OPTIONS[names[0]]}"


def check(frames: Sequence[Frame], units: Units, *, where: str) -> tuple[str, ...]:
    """Hold the numbers of frames against settled units.

    Returns
    -------
    tuple of str
        What the numbers say against units that the user gave: worth a message, but the user decides.

    Raises
    ------
    DataError
        If they contradict a unit that the user did not give.
    """
    doubts = []
    for quantities, sentence in _contradictions([frame for frame in frames if not fault(frame)], units):
        rows = [row for quantity in quantities if (row := units.row(quantity))]
        if all(row.is_option for row in rows):
            doubts.append(sentence)
            continue
        held = ", ".join(f"{row.quantity} {row.unit} ({row.why})" for row in rows)
        options = " or ".join(_OPTION_OF[row.quantity] for row in rows if not row.is_option)
        raise DataError(f"{where}: {sentence}, which contradicts {held}; if the file is right, say so with {options}")
    return tuple(doubts)


def _contradictions(frames: Sequence[Frame], units: Units) -> list[tuple[tuple[str, ...], str]]:
    checks = (_against_totals, _against_bonds, _against_work, _against_heat, _against_pressure)
    with np.errstate(all="ignore"):
        return [found for one in checks if frames and (found := one(frames, units)) is not None]


def _against_totals(frames: Sequence[Frame], units: Units) -> tuple[tuple[str, ...], str] | None:
    row = units.row("energy")
    if row is None:
        return None
    for per_atom in (units.energy_per_atom, not units.energy_per_atom):
        unit = evidence.total_energy_unit(frames, per_atom=per_atom)
        if unit == row.unit and per_atom == units.energy_per_atom:
            return None
        if unit is not None and max(len(f.numbers) for f in frames) > 1:
            kind = "per atom (--energy-per-atom)" if per_atom else "not per atom"
            said = "" if per_atom == units.energy_per_atom else f", {kind}"
            return ("energy",), f"the energies are all-electron total energies in {unit}{said}"
    return None


def _against_bonds(frames: Sequence[Frame], units: Units) -> tuple[tuple[str, ...], str] | None:
    row, unit = units.row("length"), evidence.length_unit(frames)
    if row is None or unit is None or unit == row.unit:
        return None
    return ("length",), f"the distances between nearest atoms are bonds in {unit}"


def _against_work(frames: Sequence[Frame], units: Units) -> tuple[tuple[str, ...], str] | None:
    energy, forces, work = units.row("energy"), units.row("forces"), _work(frames, units)
    if energy is None or forces is None or work is None:
        return None
    what = evidence.explain(work.slope, energy=energy.unit, forces=forces.unit, n_atoms=work.n_atoms)
    if not what:
        return None
    sentence = f"energy differences are {work.slope:.4g} times the work of the forces ({work.n_pairs} pairs), so {what}"
    return ("energy", "forces", "length"), sentence


def _work(frames: Sequence[Frame], units: Units) -> evidence.Work | None:
    """Return how energy differences compare with the work of the forces, in the settled units."""
    if not all(units.row(quantity) for quantity in ("energy", "forces", "length")):
        return None
    scale = units.factor("length")
    work = evidence.work(evidence.totals(frames, units.energy_per_atom), length=scale)
    if work is None:
        return None
    return replace(work, slope=work.slope * units.factor("energy") / (units.factor("forces") * scale))


def _confirmed(row: Settled, units: Units, frames: Sequence[Frame]) -> str:
    """Return the reason of a line, for a convention with what the numbers say to it."""
    if not row.is_convention:
        return row.why
    work = _work(frames, units)
    fits = work is not None and abs(work.slope - 1) < evidence.SLOPE_TOLERANCE
    is_total = evidence.total_energy_unit(frames, per_atom=units.energy_per_atom) == "eV"
    energy, forces = units.row("energy"), units.row("forces")
    said = {
        "length": evidence.length_unit(frames) == "Angstrom",
        "energy": is_total or (fits and forces is not None and not forces.is_convention),
        "forces": fits and energy is not None and (is_total or not energy.is_convention),
    }
    if said.get(row.quantity):
        return f"{_CONVENTION}, {_CONFIRMED}"
    return f"{_CONVENTION}, {_TOGETHER if fits and row.quantity in ('energy', 'forces') else _UNCONFIRMED}"


def _against_heat(frames: Sequence[Frame], units: Units) -> tuple[tuple[str, ...], str] | None:
    row, size = units.row("forces"), evidence.rms_force(frames)
    if row is None or row.is_option or not size * units.factor("forces") > _HOT:
        return None
    return ("forces",), (
        f"the forces are {size:.3g} {row.unit} (root mean square), {size * units.factor('forces'):.3g} eV/Angstrom, "
        "more than any hot sample has"
    )


def _against_pressure(frames: Sequence[Frame], units: Units) -> tuple[tuple[str, ...], str] | None:
    for quantity, what in (("stress", "the stress"), ("virial", "the virial over the volume")):
        row = units.row(quantity)
        if row is None or (quantity == "stress" and not row.is_convention):
            continue
        sizes = evidence.stress_sizes(frames, quantity, length=units.factor("length")) * units.factor(quantity)
        if len(sizes) and (np.median(sizes) >= _STRESS_MEDIAN or sizes.max() >= _STRESS_MAXIMUM):
            pressure = sizes.max() / factor("stress", "GPa")
            return (quantity,), (
                f"{what} reaches {sizes.max():.3g} (median {np.median(sizes):.3g}) eV/Angstrom^3, a pressure of "
                f"{pressure:.3g} GPa, so {_LOOKS[quantity]}"
            )
    return None


def _needed(frames: Sequence[Frame]) -> set[str]:
    """Return what must be settled for frames."""
    present = {name for frame in frames for name in frame.values}
    needed = {"length", *(present & set(_OURS))}
    if "atomic_energies" in present or "virial" in present:
        needed.add("energy")
    tensors = [frame.values[name] for frame in frames for name in ("stress", "virial") if name in frame.values]
    if "stress" in present:
        needed.add("stress sign")
    if any(np.shape(tensor) == (6,) for tensor in tensors):
        needed.add("stress order")
    return needed
