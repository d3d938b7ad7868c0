"""Tables of ``mlffd data``: what functions returned, for people."""

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from mlff_distiller.core.console import titled_table
from mlff_distiller.data.curation.filtering import Kept
from mlff_distiller.data.importers.importing import Imported
from mlff_distiller.data.sanity.check import SanityReport
from mlff_distiller.data.schema import MANIFEST
from mlff_distiller.data.splits.files import read_split, split_file, split_names
from mlff_distiller.data.splits.leaks import Leaks, trained_compositions
from mlff_distiller.data.splits.plan import SplitPlan
from mlff_distiller.data.splits.split import PARTS, Split
from mlff_distiller.data.statistics import summary
from mlff_distiller.data.storage.integrity import n_pending
from mlff_distiller.data.storage.store import Store
from mlff_distiller.potentials.base import Identity

_N_FORMULAS = 10
_DISTANCES = ("5%", "median", "95%", "max")  # the minimum is that of a selected structure to itself


def info_tables(store: Store, sanity: SanityReport | None = None) -> Iterator[Table]:
    """Yield what ``mlffd data info`` says; with the findings of the sanity checks where they were run."""
    facts = summary(store)
    yield _origin(store)
    yield _content(facts)
    yield _labels(facts)
    if sanity is not None:
        yield _sanity(sanity)


def import_tables(imported: Imported) -> Iterator[Table]:
    """Yield what an import did: units with who says so, and counts."""
    units = _table(f"{imported.source} ({imported.format})", "quantity", "unit", "settled by")
    for row in imported.units:
        units.add_row(row.quantity, row.unit, row.why)
    yield units
    counts = _table("Frames", "", "number")
    for name, count in {**imported.counts, **{f"left out: {k}": n for k, n in imported.left_out.items()}}.items():
        counts.add_row(name, f"{count:,}")
    yield counts
    if imported.set_aside:
        aside = _table("Set aside", "reason")
        for reason in imported.set_aside[:10]:
            aside.add_row(reason)
        yield aside


def filter_table(store: Store, kept: Kept) -> Table | str:
    """Return how many structures each condition removed, or one line where none was."""
    if not kept.removed:
        return f"{store.path.name}: all {counted(len(store), 'structure')} kept, no condition removed any"
    table = _table(f"{store.path.name}: {len(kept.rows):,} of {len(store):,} structures kept", "removed by", "number")
    for name, count in kept.removed.items():
        table.add_row(name.replace("_", " "), f"{count:,}")
    return table


def selection_table(n_all: int, covered: dict[str, Any]) -> Table:
    """Return how well a selection covers the whole, beside a random one as large."""
    title = f"{covered['n_subset']:,} of {n_all:,} structures selected: how far is the nearest selected one?"
    table = _table(title, "", *_DISTANCES)
    for name, key in (("this selection", "distance_to_subset"), ("as many at random", "distance_to_random_subset")):
        table.add_row(name, *(f"{covered[key][quantile]:.3g}" for quantile in _DISTANCES))
    table.caption = "Distances of descriptors, without a unit; the smaller the max, the better everything is covered."
    return table


def split_tables(store: Store, split: Split, *, plan: SplitPlan, leaks: Leaks | None) -> Iterator[Table | str]:
    """Yield the parts of a split, and near-duplicates across them, where they were looked for."""
    yield _parts(store, split)
    yield from _far_from_asked(split, plan)
    for name, n in trained_compositions(store, split).items():
        yield f"{n:,} of {counted(len(getattr(split, name)), f'{name} structure')}: the composition is also in train."
    if leaks is None:
        yield "Near-duplicates across the parts were not looked for (--leaks does)."
        return
    counts = leaks.to_json()
    nearest = counts.pop("nearest")
    found = _table("Near-duplicates across parts", "", "structures")
    for name, count in counts.items():
        found.add_row(name.replace("_", " "), f"{count:,}")
    if nearest:
        rows, change = nearest[0]["rows"], nearest[0]["change_A"]
        found.caption = f"The nearest: structures {rows[0]} and {rows[1]}, distances differ by {change:.3g} Angstrom."
    yield found


def counted(n: int, what: str) -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> counted(1, "shard"), counted(2000, "shard")
    ('1 shard', '2,000 shards')
    """
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _origin(store: Store) -> Table:
    table = _table(str(store.path), "", "")
    table.show_header = False
    n_bytes = sum(shard.n_bytes for shard in store.manifest.shards)
    if not (store.path / MANIFEST).exists():
        waiting = n_pending(store.path)
        table.add_row("state", f"unfinished: what is sealed so far; {waiting:,} more wait in journals")
    table.add_row("structures", f"{len(store):,} ({store.n_atoms:,} atoms)")
    table.add_row("on disk", f"{n_bytes / 1e6:,.1f} MB in {counted(len(store.manifest.shards), 'shard')}")
    table.add_row("labeled by", str(Identity(**store.identity)) if store.identity else "nobody")
    for name, value in store.header.items():
        table.add_row(name.replace("_", " "), _short(value))
    for name in split_names(store.path):
        split = read_split(split_file(store.path, name), data_digest=store.digest).split
        table.add_row(f"split {name}", ", ".join(f"{part} {len(getattr(split, part)):,}" for part in PARTS))
    for repaired in store.manifest.repairs:
        table.add_row("repaired", "; ".join(repaired["problems"]))
    return table


def _content(facts: dict[str, Any]) -> Table:
    formulas = sorted(facts["formulas"].items(), key=lambda item: -item[1])
    table = _table("Content", "", "")
    table.show_header = False
    table.add_row("elements", ", ".join(f"{name} {count:,}" for name, count in facts["elements"].items()) + " atoms")
    shown = ", ".join(f"{name} {count:,}" for name, count in formulas[:_N_FORMULAS])
    more = len(formulas) - _N_FORMULAS
    table.add_row("formulas", shown + (f" and {more:,} more" if more > 0 else ""))
    table.add_row("periodic", f"{facts['n_periodic']:,} structures")
    return table


def _labels(facts: dict[str, Any]) -> Table:
    table = _table("Labels", "label", "structures", "range")
    energies, rms = facts["energy_per_atom_eV"], facts["force_rms_eV_per_A"]
    ranges = {}
    if energies is not None:
        ranges["energy"] = "{min:.4f} to {max:.4f}, mean {mean:.4f} eV/atom".format(**energies)
    if rms is not None:
        ranges["forces"] = f"root mean square {rms:.4g}, longest {facts['force_max_eV_per_A']:.4g} eV/A"
    for name, count in facts["properties"].items():
        spoiled = facts["not_finite"].get(name)
        said = [ranges.get(name), spoiled and f"in {counted(spoiled, 'structure')} not a finite number, left out here"]
        table.add_row(name.replace("_", " "), f"{count:,}", "; ".join(filter(None, said)))
    if not facts["properties"]:
        table.add_row("none", "", "not labeled yet")
    return table


def _sanity(report: SanityReport) -> Table:
    title = f"Sanity: {len(report.rows):,} of {report.n_structures:,} structures need a look"
    table = _table(title, "check", "looked at", "found", "worst")
    for kind, result in report.results.items():
        worst = result.findings(1)
        style = "yellow" if worst else None
        sentence = worst[0].sentence if worst else ""
        table.add_row(kind.replace("_", " "), f"{result.n_checked:,}", f"{len(result.rows):,}", sentence, style=style)
    return table


def _parts(store: Store, split: Split) -> Table:
    table = _table(f"{store.path.name}: {counted(len(store), 'structure')}", "part", "structures", "atoms", "share")
    for name in PARTS:
        rows = getattr(split, name)
        share = f"{100 * len(rows) / len(store):.1f} %"
        table.add_row(name, f"{len(rows):,}", f"{int(store.sizes[rows].sum()):,}", share)
    return table


def _far_from_asked(split: Split, plan: SplitPlan) -> Iterator[str]:
    n = len(split.assignment)
    for name, asked in (("validation", plan.validation_fraction), ("test", plan.test_fraction)):
        share = len(getattr(split, name)) / n
        if abs(share - asked) > 0.5 * asked:
            yield (
                f"Warning: {name} has {100 * share:.1f} % of the structures, not the {100 * asked:.1f} % asked for: "
                "what must stay together comes in too few or too large pieces."
            )


def _table(title: str, *columns: str) -> Table:
    numbers = {"number", "structures", "atoms", "share", "looked at", "found", "5%", "median", "95%", "max"}
    return titled_table(title, *columns, numbers=numbers)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(inner)}" for key, inner in value.items()) or "-"
    if isinstance(value, list):
        return "; ".join(map(_named, value[:6])) + (f" and {len(value) - 6} more" if len(value) > 6 else "")
    text = str(value)
    return text if len(text) < 60 else f"{text[:12]}..."


def _named(value: Any) -> str:
    """Return the name of a parent or the text of a row of units, and anything else as it is."""
    if not isinstance(value, dict):
        return _short(value)
    if "n_structures" in value:
        return f"{value['name']} ({value['n_structures']:,})"
    if "quantity" in value:
        return f"{value['quantity']} {value['unit']}"
    return _short(value)
