"""Tables of ``mlffd bench``."""

from collections.abc import Sequence

from rich.table import Table

from mlff_distiller.benchmarking.baseline import Change
from mlff_distiller.benchmarking.benchmark import TIMESTEP_FS, Benchmark
from mlff_distiller.core.console import titled_table

_NUMBERS = ("atoms", "median ms", "mean", "P95", "P99", "µs/atom", "ns/day", "per s", "MB")
_WAYS = {
    "paired": "paired: the student of then was timed in the same rounds.",
    "normalized": "normalized: each time over that of a fixed piece of work in the same rounds.",
}


def benchmark_table(found: Benchmark) -> Table:
    """Return the times of all that was timed as a table.

    Examples
    --------
    >>> benchmark_table(Benchmark([], [])).row_count
    0
    """
    bases = list(dict.fromkeys(row.entrant.base for row in found.rows))
    over = f"over {bases[0].rpartition(', ')[2]}" if len({b.rpartition(", ")[2] for b in bases}) == 1 else "over base"
    numbers = (*_NUMBERS, over)
    threads = ", ".join(sorted({f"{row.threads} thread{'s' if row.threads > 1 else ''}" for row in found.rows}))
    table = titled_table(
        f"Energies and forces of moving atoms, {threads}", "system", "potential", *numbers, numbers=numbers
    )
    last = ""
    for row in found.rows:
        if last and row.system != last:
            table.add_section()
        own = row.summary()
        times = [f"{own[name]:.3f}" for name in ("median_ms", "mean_ms", "p95_ms", "p99_ms")]
        rates = f"{row.us_per_atom:.1f}", f"{row.ns_per_day:,.1f}", f"{row.structures_per_s:,.0f}"
        memory = "" if row.peak_MB is None else f"{row.peak_MB:,.1f}"
        faster = found.times_faster(row)
        name = row.system if row.system != last else ""
        ratio = f"{faster:.2f}" if faster == faster else ""
        table.add_row(name, row.name, f"{row.n_atoms:,}", *times, *rates, memory, ratio)
        last = row.system
    table.caption = (
        f"ns/day: at {TIMESTEP_FS} fs, without the integrator; per s: structures. Both: all structures of a call "
        "together. MB: the most that a first call took beyond what was taken before."
    )
    return table


def changes_table(changes: Sequence[Change], tolerance: float, *, same_machine: bool) -> Table:
    """Return what changed since a baseline as a table; times then are shown if they are of this machine.

    Examples
    --------
    >>> from mlff_distiller.benchmarking.comparison import Ratio
    >>> change = Change("tiny", "H2", 1.0, 1.5, Ratio(1.5, (1.4, 1.6), "paired", 16))
    >>> changes_table([change], 0.1, same_machine=True).row_count
    1
    """
    numbers, ways = ("then ms", "now ms", "ratio", "from", "to"), sorted({change.ratio.how for change in changes})
    how = ["how"] if len(ways) > 1 else []
    table = titled_table("Compared with the baseline", "system", "potential", *numbers, *how, "so", numbers=numbers)
    for change in changes:
        ratio, (low, high) = change.ratio, change.ratio.ci95
        shown = same_machine or ratio.how == "paired"
        times = f"{change.then_ms:.3f}" if shown else "", f"{change.now_ms:.3f}"
        middle = f"{ratio.value:.3f}", f"{low:.3f}", f"{high:.3f}"
        table.add_row(
            change.system, change.name, *times, *middle, *([ratio.how] if how else []), ratio.outcome(tolerance)
        )
    table.caption = "ratio: time now over time then, with its 95 % interval. " + " ".join(_WAYS[way] for way in ways)
    return table
