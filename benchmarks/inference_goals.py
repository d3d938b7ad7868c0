"""The ratios that benchmarks/inference.py is run for, each with its goal, and how far our kernel is from its floor."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from inference_floor import Machine, work

from mlff_distiller.students.painn.network import PaiNN
from mlff_distiller.students.painn.plan import PRESETS

OURS = ("kernel", "triton")


class Ratio(NamedTuple):
    """What is compared, the value, and within which bounds it should be; None where there is no goal."""

    what: str
    value: float
    least: float | None = None
    most: float | None = None

    @property
    def line(self) -> str:
        goal = f"at least {self.least:g}" if self.least is not None else ""
        goal += f"{' and ' if goal else ''}at most {self.most:g}" if self.most is not None else ""
        met = (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)
        judged = f"goal: {goal}{'' if met else '  MISSED'}" if goal else ""
        return f"  {self.what:<66}{self.value:>8.2f}   {judged}".rstrip()


class Times:
    """Median ms of records; a ratio of what was not measured is left out."""

    def __init__(self, records: list[dict[str, Any]]) -> None:
        self._ms = {(r["system"], r["preset"], r["backend"], r["threads"]): r["median_ms"] for r in records}
        self.own = next((name for name in OURS if any(r["backend"] == name for r in records)), OURS[0])
        self.backends = {r["backend"] for r in records}
        self.single = min((r["threads"] for r in records), default=1)

    def of(self, system: str, preset: str, backend: str | None = None, threads: int | None = None) -> float | None:
        return self._ms.get((system, preset, backend or self.own, threads or self.single))

    def ratio(self, what: str, slow: float | None, fast: float | None, **goal: float) -> Iterator[Ratio]:
        if slow is not None and fast is not None:
            yield Ratio(what, slow / fast, **goal)


def ratios(times: Times) -> Iterator[Ratio]:
    """Yield all ratios for which both sides were measured; goals are those of the CPU and one thread unless said."""
    goals = {"eager": (5.0, 5.0, 12.0, 12.0), "compile": (1.5, 1.5, 4.0, 4.0)}
    goals |= {name: (None,) * 4 for name in ("package", "schnetpack", "graph-pes") if name in times.backends}
    for backend, least in goals.items():
        for system, bound in zip(("ethanol", "aspirin", "water-192", "water-1536"), least, strict=True):
            slow, fast = times.of(system, "original", backend), times.of(system, "original")
            yield from times.ratio(f"{times.own} over {backend}, original, {system}", slow, fast, least=bound)
    part, whole = times.of("ethanol", "ultra-tiny"), times.of("ethanol", "ultra-tiny", "eager")
    yield from times.ratio(f"{times.own}'s part of the time of eager, ultra-tiny, ethanol", part, whole, most=0.12)
    for preset in PRESETS:
        yield from _sizes(times, preset)
    slow = times.of("aspirin", "ultra-tiny", "GFN2-xTB", 1)
    fast = times.of("aspirin", "ultra-tiny")
    yield from times.ratio(f"{times.own} over GFN2-xTB, ultra-tiny, aspirin", slow, fast, least=10.0)


def _sizes(times: Times, preset: str) -> Iterator[Ratio]:
    one, two = (times.of("water-1536", preset, threads=n) for n in (1, 2))
    yield from times.ratio(f"two threads over one, {preset}, water-1536", one, two, least=1.6)
    small, large = times.of("water-192", preset), times.of("water-12288", preset)
    large = None if large is None else large / 64
    what = f"cost of an atom, 12,288 over 192, {preset}, water"
    yield from times.ratio(what, large, small, least=0.85, most=1.15)
    single, batch = times.of("aspirin", preset), times.of("aspirin x 64", preset)
    single = None if single is None else 64 * single
    yield from times.ratio(f"64 aspirins in one call over single calls, {preset}", single, batch, least=1.5)


def report(records: list[dict[str, Any]], edges: dict[str, int], network: Callable[[str], PaiNN]) -> None:
    """Print the ratios and, for our kernel on the CPU with one thread, the floor.

    Parameters
    ----------
    records : list of dict
        Of benchmarks/inference.py.
    edges : dict
        Pairs within the cutoff of each system, in both directions.
    network : callable
        Preset to the network that was timed.
    """
    times = Times(records)
    print("ratios of medians:")
    for one in ratios(times):
        print(one.line)
    own = [r for r in records if r["backend"] == "kernel" and r["threads"] == 1 and r["system"] in edges]
    if not own:
        return
    machine, alone = Machine(), {(r["preset"], r["system"]): r for r in records if r["backend"] == "kernel alone"}
    print(f"floor of the kernel, by a count; {machine.said()}; ms:")
    names = "".join(f"{name:>10}" for name in ("products", "atoms", "edges", "floor", "alone", "kernel", "distance"))
    print(f"  {'preset':<12}{'system':<14}{names}")
    for r in own:
        floor = machine.floor(work(network(r["preset"]), r["n_atoms"], edges[r["system"]]))
        bare = alone[r["preset"], r["system"]]["median_ms"]
        parts = (floor.products, floor.atoms, floor.edges, floor.ms, bare, r["median_ms"])
        numbers = "".join(f"{part:>10.3f}" for part in parts)
        print(f"  {r['preset']:<12}{r['system']:<14}{numbers}{bare / floor.ms:>10.2f}")
    print("  goal: a distance of at most 1.5, which is that of the kernel alone: the floor has no neighbors in it")
