"""Drawing: everything in one store, the same for any number of workers and any interruption."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from mlff_distiller.core.console import Advance, Silent
from mlff_distiller.core.errors import DataError, UnsupportedStructureError
from mlff_distiller.data.storage.store import Store
from mlff_distiller.sampling.draw import SamplingPlan, draw
from mlff_distiller.sampling.molecular_dynamics import MDPlan
from mlff_distiller.sampling.rattle import RattlePlan
from mlff_distiller.sampling.seeds import build_seeds
from mlff_distiller.sampling.smiles import SmilesSeed
from mlff_distiller.scale.local import LocalPool
from mlff_distiller.scale.pool import Pool
from mlff_distiller.teachers.xtb import XTBPlan

SEEDS = build_seeds([SmilesSeed(smiles="O", name="water"), SmilesSeed(smiles="N", name="ammonia")], seed=1)
PLAN = SamplingPlan(
    samplers=(
        RattlePlan(n_per_seed=5),
        MDPlan(temperatures_K=(300, 600), duration_ps=0.05, equilibration_ps=0.01, segment_ps=0.02, gap_ps=0.01),
        MDPlan(temperatures_K=(300,), duration_ps=0.02, equilibration_ps=0),
    )
)


class Interrupted:
    """A pool that is stopped after some results, as a kill stops it."""

    def __init__(self, n_results: int) -> None:
        self.n_results, self.n_run = n_results, 0

    def run(self, function: Any, tasks: Any, *, reporter: Any) -> Iterator[Any]:
        yield from islice(LocalPool(1).run(function, tasks, reporter=reporter), self.n_results)
        raise KeyboardInterrupt


class Counts(Silent):
    """A reporter that remembers the first bar."""

    def __init__(self) -> None:
        self.total = self.done = self.before = 0

    def start(self, title: str, total: int, *, done: int = 0) -> Advance:
        self.total, self.before, self.done = total, done, done

        def advance(n: int = 1, *, note: str = "") -> None:
            self.done += n

        return advance


def drawn(path: Path, pool: Pool, *, seed: int = 1, plan: SamplingPlan = PLAN, reporter: Any = None) -> Store:
    return draw(SEEDS, plan, XTBPlan(), seed=seed, path=path, pool=pool, reporter=reporter or Silent())


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return drawn(tmp_path_factory.mktemp("reference") / "structures", LocalPool(2))


def test_everything_is_there_with_its_origin(reference: Store) -> None:
    infos = reference.infos()
    per_sampler = {name: sum(info["sampler"] == name for info in infos) for name in ("seed", "rattle", "md", "md-2")}
    assert per_sampler == {"seed": 2, "rattle": 10, "md": 2 * 2 * 4, "md-2": 2 * 2}
    assert len(reference) == sum(per_sampler.values())
    assert {info["segment"] for info in infos if info["sampler"] == "md"} == {
        f"{seed}/md/{kelvin}K/w0/s0{k}" for seed in ("water", "ammonia") for kelvin in (300, 600) for k in (0, 1)
    }
    assert {i["segment"] for i in infos if i["sampler"] in ("seed", "rattle")} == {"water/rattle", "ammonia/rattle"}
    assert reference.properties == set()
    assert reference.header["seed"] == 1


def test_one_worker_gives_the_same(reference: Store, tmp_path: Path) -> None:
    assert drawn(tmp_path / "s", LocalPool(1)).digest == reference.digest


def test_interruptions_change_nothing(reference: Store, tmp_path: Path) -> None:
    path, counts = tmp_path / "s", Counts()
    for n_results in (2, 1):
        with pytest.raises(KeyboardInterrupt):
            drawn(path, Interrupted(n_results), reporter=counts)
    assert 0 < counts.before < counts.done < counts.total
    assert drawn(path, LocalPool(1), reporter=counts).digest == reference.digest
    assert counts.done == counts.total


def test_a_finished_store_is_returned_at_once(reference: Store) -> None:
    assert drawn(reference.path, Interrupted(0)).digest == reference.digest


def test_progress_counts_all_steps(tmp_path: Path) -> None:
    counts = Counts()
    drawn(tmp_path / "s", LocalPool(1), reporter=counts, plan=SamplingPlan(samplers=(RattlePlan(n_per_seed=7),)))
    assert (counts.before, counts.done, counts.total) == (0, 14, 14)


@pytest.mark.parametrize("state", ["finished", "unfinished"])
def test_other_settings_are_refused(tmp_path: Path, state: str) -> None:
    path, plan = tmp_path / "s", SamplingPlan(samplers=(RattlePlan(n_per_seed=2),))
    if state == "finished":
        drawn(path, LocalPool(1), plan=plan)
    else:
        with pytest.raises(KeyboardInterrupt):
            drawn(path, Interrupted(1), plan=plan)
    with pytest.raises(DataError, match="begun with another seed"):
        drawn(path, LocalPool(1), plan=plan, seed=3)
    with pytest.raises(DataError, match="begun with another sampling"):
        drawn(path, LocalPool(1), plan=SamplingPlan(samplers=(RattlePlan(n_per_seed=3),)))


def test_a_seed_that_the_teacher_does_not_cover(tmp_path: Path) -> None:
    uranium = build_seeds([SmilesSeed(smiles="[U]", name="uranium")], 1)
    with pytest.raises(UnsupportedStructureError, match="U, which xtb"):
        draw(uranium, PLAN, XTBPlan(), seed=1, path=tmp_path / "s", pool=LocalPool(1), reporter=Silent())
    assert not (tmp_path / "s").exists()
