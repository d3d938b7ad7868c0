"""Drawing: all samplers over all seeds, in a pool, into a store; continued after any interruption."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import Field

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Reporter
from mlff_distiller.core.plan import Plan, kinds
from mlff_distiller.core.provenance import digest
from mlff_distiller.data.storage.store import Store
from mlff_distiller.data.storage.writer import StoreWriter
from mlff_distiller.potentials.plan import PotentialPlan
from mlff_distiller.sampling.molecular_dynamics import MDPlan
from mlff_distiller.sampling.rattle import RattlePlan
from mlff_distiller.sampling.sampler import MAX_FRAMES, SAMPLERS, SamplerPlan, SamplingTask, near_seed
from mlff_distiller.scale.pool import OneBar, Pool

if TYPE_CHECKING:
    AnySampler = SamplerPlan
else:
    AnySampler = kinds(SAMPLERS)

Work = tuple[SamplingTask, PotentialPlan, int]

_SEEDS: Final = 0  # number of the first block of ids; task i has block i + 1


class SamplingPlan(Plan):
    """How to make structures from the seeds.

    Examples
    --------
    >>> SamplingPlan.parse({"samplers": [{"kind": "rattle", "n_per_seed": 5}]}, where="recipe").samplers[0].n_per_seed
    5
    """

    samplers: tuple[AnySampler, ...] = Field(
        (RattlePlan(), MDPlan()), min_length=1, description="Ways to make structures; all are applied to every seed."
    )

    def tasks(self, seeds: Sequence[Structure]) -> list[SamplingTask]:
        """Return all tasks in a fixed order; a second sampler of one kind is called "md-2" and so on."""
        found: list[SamplingTask] = []
        used: Counter[str] = Counter()
        for sampler in self.samplers:
            kind = str(type(sampler).model_fields["kind"].default)
            used[kind] += 1
            found += sampler.tasks(seeds, kind if used[kind] == 1 else f"{kind}-{used[kind]}")
        return found


def draw(
    seeds: Sequence[Structure],
    plan: SamplingPlan,
    teacher_plan: PotentialPlan,
    *,
    seed: int,
    path: Path,
    pool: Pool,
    reporter: Reporter,
) -> Store:
    """Draw structures and return them as a store without labels.

    The seeds themselves are part of it. Every finished task is stored at once, and the same call continues after a
    crash; the store is the same to the last bit for any number of workers and any interruption.

    Parameters
    ----------
    seeds : sequence of Structure
        From :func:`mlff_distiller.sampling.seeds.build_seeds`.
    plan : SamplingPlan
        Settings.
    teacher_plan : PotentialPlan
        Whose dynamics is run.
    seed : int
        For everything random.
    path : Path
        The store's directory.
    pool : Pool
        Where tasks run.
    reporter : Reporter
        Where progress goes.

    Returns
    -------
    Store
        ``info`` of each structure holds "seed", "conformer", "sampler", "segment", "stratum" and, from MD,
        "temperature_K" and "walker".

    Raises
    ------
    UnsupportedStructureError
        If the teacher does not cover a seed.
    DataError
        If the directory holds something else.

    Examples
    --------
    >>> import tempfile
    >>> from mlff_distiller.core.console import Silent
    >>> from mlff_distiller.sampling.seeds import SEEDS, build_seeds
    >>> from mlff_distiller.scale.local import LocalPool
    >>> from mlff_distiller.teachers.xtb import XTBPlan
    >>> seeds = build_seeds([SEEDS.get("molecule")(molecule="H2O")], seed=1)
    >>> plan = SamplingPlan(samplers=(RattlePlan(n_per_seed=3),))
    >>> path = Path(tempfile.mkdtemp(), "structures")
    >>> store = draw(seeds, plan, XTBPlan(), seed=1, path=path, pool=LocalPool(1), reporter=Silent())
    >>> len(store), store.structure(3).info["segment"]
    (4, 'H2O/rattle')
    """
    teacher = teacher_plan.build()
    teacher.check(seeds, ("energy", "forces"))
    teacher.close()  # the workers load one each
    inputs = {"seeds": _digest(seeds), "sampling": plan.digest(), "teacher": str(teacher.identity), "seed": seed}
    with StoreWriter(path, header={"content": "structures without labels", **inputs}) as writer:
        if not writer.is_sealed:
            _fill(writer, seeds, plan.tasks(seeds), (teacher_plan, seed), pool=pool, reporter=reporter)
        return writer.seal()


def _fill(
    writer: StoreWriter,
    seeds: Sequence[Structure],
    tasks: Sequence[SamplingTask],
    common: tuple[PotentialPlan, int],
    *,
    pool: Pool,
    reporter: Reporter,
) -> None:
    done = {number // MAX_FRAMES for number in writer.done_ids}
    if _SEEDS not in done:
        writer.append(_ids(_SEEDS, len(seeds)), [s.tagged(sampler="seed", **near_seed(s)) for s in seeds])
    left = [number for number in range(len(tasks)) if number + 1 not in done]
    total = sum(task.n_steps for task in tasks)
    advance = reporter.start("sampling", total, done=total - sum(tasks[number].n_steps for number in left))
    work = ((tasks[number], *common) for number in left)
    for place, frames in pool.run(_draw, work, reporter=OneBar(advance, reporter)):
        writer.append(_ids(left[place] + 1, len(frames)), frames)


def _draw(work: Work, reporter: Reporter) -> list[Structure]:
    """Run one task; called in a worker."""
    task, teacher, seed = work
    return task.draw(teacher, seed, reporter)


def _ids(block: int, count: int) -> range:
    return range(block * MAX_FRAMES, block * MAX_FRAMES + count)


def _digest(structures: Sequence[Structure]) -> str:
    return digest(
        [
            [s.numbers.tolist(), s.positions.tolist(), s.cell.tolist(), s.pbc.tolist(), s.charge, s.spin, s.info]
            for s in structures
        ]
    )
