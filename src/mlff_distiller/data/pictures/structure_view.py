"""The structures that findings are about, each in three dimensions with its forces."""

from collections.abc import Sequence
from html import escape
from typing import Final

import numpy as np

from mlff_distiller.core.html import words
from mlff_distiller.core.html.plotting import Choice, Choices, Figure
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.pictures import scene
from mlff_distiller.data.pictures.outliers import Outlier, accused_atoms
from mlff_distiller.data.storage.store import Store

KEY: Final = "structure"
"""Anchor of the list of structures."""

_MOST_INFO: Final = 160
_MOST_LETTERS: Final = 40


def view(store: Store, outliers: Sequence[Outlier]) -> Figure:
    """Return a figure that shows one of the structures, whichever a reader chooses."""
    options = [_choice(store.take([outlier.row]), outlier) for outlier in outliers]
    caption = (
        f"{scene.HOW_TO_TURN} Orange rings: the atoms that a finding is about, where it names them. Blue arrows: "
        f"forces, in proportion within a structure. {scene.HOW_TO_READ}"
    )
    return Figure(
        "Structures to look at.", caption, [], scene.layout(), scene.HEIGHT, Choices(KEY, "Structure", options)
    )


def _choice(columns: Columns, outlier: Outlier) -> Choice:
    structure = columns.structure(0)
    label = f"{outlier.row}: {words.formula(_shortened(structure.formula, _MOST_LETTERS))}, {outlier.title}"
    drawn = scene.draw(columns, ringed=accused_atoms(columns, outlier.kinds), vectors=scene.forces(columns))
    return Choice(label, _text(columns, outlier), *drawn)


def _text(columns: Columns, outlier: Outlier) -> str:
    structure, labels = columns.structure(0), columns.labels(0)
    facts = [f"{len(structure):,} atoms", f"row {outlier.row}, id {columns.arrays['ids'][0]}"]
    if structure.charge:
        facts.append(f"charge {structure.charge:+d}".replace("-", words.MINUS))
    if labels.energy is not None:
        facts.append(f"energy {words.quantity(labels.energy, 'eV', 7)}")
    if labels.forces is not None and np.isfinite(labels.forces).all():
        facts.append(f"longest force {words.quantity(float(np.linalg.norm(labels.forces, axis=1).max()), 'eV/A')}")
    said = escape(_shortened(", ".join(f"{key} {value}" for key, value in structure.info.items()), _MOST_INFO))
    reasons = "; ".join(escape(reason) for reason in outlier.reasons)
    known = f"{' · '.join(facts)}{f' · {said}' if said else ''}<br>{scene.colors(columns)}"
    return (
        f"<p><strong>{words.formula(structure.formula)}</strong>: {reasons}.{scene.left_out(columns)}<br>"
        f'<small class="inline">{known}</small></p>'
    )


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
