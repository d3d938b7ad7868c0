"""Force error against the number of labels, with and without Hessian rows and selection: a table and a plot.

Run it with: mlffd label benchmarks/water_cluster.yaml --out RUN
             python benchmarks/data_efficiency.py RUN --out FOLDER [--sizes 100 333 1000 3333] [--set KEY=VALUE ...]

RUN holds labels with Hessian rows (`labeling.hessian_directions`) and is split here by segment: a fixed validation
and test part, and a pool that training structures are taken from, at random or by farthest-point selection. Every
training makes the same number of steps. Published for PaiNN on bulk water (64 molecules, DFT): 67, 47, 40, 33 meV/A
at 100, 333, 1,000 and 3,333 structures; a cluster with another teacher is a stand-in for the shape of the curve.
"""

import argparse
from pathlib import Path

import plotly.graph_objects as go
from trainings import one_thread, print_row, trained
from variants import override

from mlff_distiller.data.curation.selection import SelectionPlan, select
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.data.splits.make import make_split
from mlff_distiller.data.splits.plan import SplitPlan
from mlff_distiller.data.storage.store import Store
from mlff_distiller.distillation.distill import Task
from mlff_distiller.distillation.plan import TrainingPlan
from mlff_distiller.students import STUDENTS

PUBLISHED = {100: 67, 333: 47, 1000: 40, 3333: 33}
LOSS = [{"kind": "energy", "final_weight": 10.0}, {"kind": "forces"}]
MODES = {
    "random": ("random", []),
    "selected": ("farthest", []),
    "random, Hessian rows": ("random", [{"kind": "hessian"}]),
    "selected, Hessian rows": ("farthest", [{"kind": "hessian"}]),
}


def main() -> None:
    """Train all, print the table and write the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="*", default=sorted(PUBLISHED))
    parser.add_argument("--modes", nargs="*", choices=sorted(MODES), default=list(MODES))
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--hessian-weight", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    one_thread()
    store = Store.open(options.run / "labels")
    split = make_split(store, SplitPlan(validation_fraction=0.06, test_fraction=0.06), seed=options.seed)
    pool, validation, test = (
        MolecularDataset(MolecularDataset(store, rows=rows), in_memory=True)
        for rows in (split.train, split.validation, split.test)
    )
    settings = {"student": {"kind": "painn", "preset": "tiny"}, "training": {"n_steps": 6000}}
    for change in options.set:
        override(settings, change)
    student = STUDENTS.get("painn").parse(settings["student"], where="--set")
    curves: dict[str, dict[int, float]] = {}
    for mode in options.modes:
        kind, terms = MODES[mode]
        loss = [*LOSS, *({**term, "weight": options.hessian_weight} for term in terms)]
        plan = TrainingPlan.parse({"loss": loss, **settings["training"]}, where="--set")
        for n in options.sizes:
            rows = select(pool, SelectionPlan(kind=kind, n=min(n, len(pool))), seed=options.seed)
            task = Task(student, plan, pool.subset(rows), validation, seed=options.seed)
            row = trained(f"{mode}, {n}".replace(", ", "-").replace(" ", "-"), task, test, options.out)
            print_row(row)
            curves.setdefault(mode, {})[len(rows)] = row["force_mae_meV_per_A"]
    print_table(curves)
    plot(curves, options.out / "data_efficiency.html")


def print_table(curves: dict[str, dict[int, float]]) -> None:
    """Print force MAE (meV/Angstrom) by number of labels."""
    sizes = sorted({n for curve in curves.values() for n in curve})
    print(f"{'force MAE, meV/A':32s}" + "".join(f"{n:>9,d}" for n in sizes))
    for mode, curve in curves.items():
        print(f"{mode:32s}" + "".join(f"{curve[n]:9.1f}" if n in curve else f"{'':9s}" for n in sizes))


def plot(curves: dict[str, dict[int, float]], path: Path) -> None:
    """Write the curves as one offline page."""
    figure = go.Figure([go.Scatter(x=list(c), y=list(c.values()), name=mode) for mode, c in curves.items()])
    figure.update_xaxes(type="log", title="labels")
    figure.update_yaxes(type="log", title="force MAE, meV/Å")
    figure.write_html(path, include_plotlyjs=True)
    print(f"Plot: {path}")


if __name__ == "__main__":
    main()
