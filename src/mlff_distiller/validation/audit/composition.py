"""Composition: does the teacher cover what it is to label, and are the molecules complete."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DistillerError, UnsupportedStructureError
from mlff_distiller.core.evidence import Evidence, Skipped
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.data.columns import pack
from mlff_distiller.data.sanity.check import check
from mlff_distiller.validation.audit.theme import Found, Outcome, Subject, Theme
from mlff_distiller.validation.surface.probe import OutOfTime
from mlff_distiller.validation.surface.rms import exact
from mlff_distiller.validation.surface.subject import name_of

_EXAMPLES: Final = 5


def measure(subject: Subject) -> Evidence:
    """Count what the teacher does not cover, did not answer or overlooks, missing hydrogens and electrons."""
    systems, refused = subject.systems, _uncovered(subject)
    asked = subject.structures or subject.failures or refused
    return Evidence(
        [
            _counted("uncovered_structures", refused),
            _counted("failed_structures", [dict(failure) for failure in subject.failures]),
            _counted("missing_hydrogens", _without_hydrogens(systems)),
            _counted("odd_electrons", [{"system": name_of(s)} for s in systems if not electrons_fit_spin(s)]),
            _counted("ignored_charges", _ignoring_charge(subject)),
        ],
        [] if asked else [Skipped("failed_structures", "there was no time to ask for any structure")],
    )


def electrons_fit_spin(structure: Structure) -> bool:
    """Return whether the number of electrons is possible with the spin multiplicity.

    Of a crystal, whose electrons are shared between cells, any number is.

    Examples
    --------
    >>> methyl = [[0, 0, 0], [1.08, 0, 0], [-0.54, 0.93, 0], [-0.54, -0.93, 0]]
    >>> electrons_fit_spin(Structure([6, 1, 1, 1], methyl)), electrons_fit_spin(Structure([6, 1, 1, 1], methyl, spin=2))
    (False, True)
    """
    electrons = int(structure.numbers.sum()) - structure.charge
    unpaired = structure.spin - 1
    return bool(structure.pbc.any()) or ((electrons - unpaired) % 2 == 0 and electrons >= unpaired)


def _counted(name: str, found: list[dict[str, Any]]) -> Measurement:
    return exact(name, len(found), detail={"examples": found[:_EXAMPLES]})


def _uncovered(subject: Subject) -> list[dict[str, Any]]:
    """Return the systems that the teacher refuses before any work is done."""
    refused = []
    for structure in subject.systems:
        try:
            subject.probe.potential.check([structure], ("energy", "forces"))
        except UnsupportedStructureError as error:
            refused.append({"system": name_of(structure), "reason": str(error)})
    return refused


def _ignoring_charge(subject: Subject) -> list[dict[str, Any]]:
    """Return the charged systems whose energy the teacher gives without their charge too."""
    charged = {name_of(s): s for s in subject.structures if s.charge}
    found = []
    for name, structure in list(charged.items())[:_EXAMPLES]:
        electrons = int(structure.numbers.sum())
        neutral = Structure(
            structure.numbers, structure.positions, cell=structure.cell, pbc=structure.pbc, spin=1 + electrons % 2
        )
        with suppress(DistillerError, OutOfTime):  # a teacher that refuses this one looks at charges
            one, other = (subject.probe.energies([s])[0] for s in (structure, neutral))
            if one == other:
                found.append({"system": name, "reason": "the neutral one has the same energy"})
    return found


def _without_hydrogens(systems: Sequence[Structure]) -> list[dict[str, Any]]:
    found = check(pack(range(len(systems)), systems)).results["missing_hydrogens"]
    return [{"system": name_of(systems[row])} for row in found.rows.tolist()]


def _say(found: Found, outcome: Outcome) -> str:
    if outcome == "PASS":
        return "The teacher covers every system and answered for every structure shown; no hydrogens are missing."
    sentences = {
        "uncovered_structures": "the teacher does not cover {names}{why}",
        "failed_structures": "the teacher failed on {names}{why}",
        "missing_hydrogens": "hydrogens are missing in {names}",
        "odd_electrons": "the number of electrons does not fit the spin multiplicity in {names}",
        "ignored_charges": "the teacher ignores the charge of {names}{why}",
    }
    said = []
    for name, sentence in sentences.items():
        examples = found[name].detail["examples"]
        if examples:
            names = ", ".join(dict.fromkeys(example["system"] for example in examples))
            more = " and more" if found[name].value > len(examples) else ""
            why = f" ({examples[0]['reason']})" if "reason" in examples[0] else ""
            said.append(sentence.format(names=names + more, why=why))
    text = "; ".join(said) or "the teacher covers every system, but there was no time to ask for any structure"
    return f"{text[:1].upper()}{text[1:]}."


THEME: Final = Theme("composition", "Elements, charges and hydrogens", measure, _say)
