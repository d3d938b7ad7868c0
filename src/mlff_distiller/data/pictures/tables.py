"""The tables of the page: what the store is, and what looks wrong in it."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from mlff_distiller.atoms.labels import PROPERTIES
from mlff_distiller.core.html import words
from mlff_distiller.core.html.markup import definitions, table
from mlff_distiller.data.pictures.outliers import Outlier
from mlff_distiller.data.pictures.structure_view import KEY
from mlff_distiller.data.sanity.check import CheckResult, SanityReport
from mlff_distiller.data.splits.split import PARTS, Split
from mlff_distiller.data.statistics import Statistics
from mlff_distiller.data.storage.store import Store


def facts(store: Store, content: Mapping[str, Any]) -> str:
    """Return what the store is, as a list of terms."""
    sizes, n_periodic = content["sizes"], content["n_periodic"]
    each = f"{sizes['min']:,.0f} to {sizes['max']:,.0f}" if sizes["min"] < sizes["max"] else f"{sizes['min']:,.0f}"
    periodic = {0: "none", content["n_structures"]: "all"}.get(n_periodic, f"{n_periodic:,}")
    return definitions(
        {
            "structures": f"{content['n_structures']:,}, {periodic} of them periodic",
            "atoms": f"{content['n_atoms']:,}, {each} in a structure",
            "elements": list(content["elements"]),
            "compositions": f"{content['n_formulas']:,}",
            "labeled by": store.identity or "nobody: the labels have no origin, or there are none",
            "digest": store.digest,
        }
    )


def labels(statistics: Statistics) -> str:
    """Return how many structures have which label."""
    rows = [
        [name.replace("_", " "), f"{n:,}", f"{words.number(100 * n / statistics.n_structures)} %" if n else words.NONE]
        for name in PROPERTIES
        for n in [statistics.properties[name]]
    ]
    return table(["Label", "Structures with it", "Share"], rows, numeric=[1, 2])


def splits(found: Mapping[str, Split | str]) -> str:
    """Return how many structures are in which part of each split, or why a split cannot be read."""
    rows = []
    for name, split in found.items():
        if isinstance(split, str):
            rows.append([escape(name), f"<small>{escape(split)}</small>", "", ""])
        else:
            rows.append([escape(name), *(f"{len(getattr(split, part)):,}" for part in PARTS)])
    return table(["Split", *(part.capitalize() for part in PARTS)], rows, numeric=[1, 2, 3])


def findings(sanity: SanityReport, outliers: Sequence[Outlier]) -> str:
    """Return what every check found, with its worst structure and a link to its picture."""
    places = {outlier.row: place for place, outlier in enumerate(outliers)}
    rows = [_finding(kind, result, places) for kind, result in sanity.results.items()]
    return table(["Check", "Found", "Looked at", "Bound", "Worst"], rows, numeric=[1, 2, 3])


def _finding(kind: str, result: CheckResult, places: Mapping[int, int]) -> list[str]:
    worst = next(iter(result.findings(1)), None)
    name = escape(kind.replace("_", " "))
    if worst is None:
        said = words.NONE if result.n_checked else "nothing to look at"
    else:
        subject, sentence = worst.sentence.split(": ", 1)
        link = f'<a href="#{KEY}" data-choice="{places[worst.row]}">{escape(subject)}</a>'
        said = f'<span class="said">{link}: {escape(sentence)}</span>'
    return [
        f"<strong>{name}</strong>" if worst else f'<span class="optional">{name}</span>',
        f"{len(result.rows):,}",
        f"{result.n_checked:,}",
        f"{result.bound:g}",
        said,
    ]
