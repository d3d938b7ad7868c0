"""Labeling: every structure gets the teacher's labels or a refusal, in a pool, continued after any interruption."""

from collections.abc import Callable, Collection, Iterator, Sequence, Set
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from mlff_distiller.atoms.labels import HESSIAN, SPREADS, Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Reporter
from mlff_distiller.core.errors import DataError, PredictionError, UnsupportedStructureError
from mlff_distiller.core.plan import Plan
from mlff_distiller.data.storage.store import Store
from mlff_distiller.data.storage.writer import StoreWriter
from mlff_distiller.labeling.gates import GatesPlan, Refusal
from mlff_distiller.labeling.refused import RefusedList
from mlff_distiller.potentials.base import Identity, Potential
from mlff_distiller.potentials.hessian import random_directions
from mlff_distiller.potentials.plan import PotentialPlan
from mlff_distiller.scale.pool import Pool
from mlff_distiller.teachers.resident import resident_teacher

Numbered = tuple[int, Structure]
Property = Literal["energy", "forces", "stress", "atomic_energies", "energy_std", "force_std", "embeddings"]


class LabelingPlan(Plan):
    """How structures are labeled.

    Examples
    --------
    >>> LabelingPlan().properties[:3]
    ('energy', 'forces', 'stress')
    """

    chunk_size: int = Field(
        32, ge=1, description="Structures in one task; after each task its labels are safe on disk."
    )
    properties: tuple[Property, ...] = Field(
        ("energy", "forces", "stress", "energy_std", "force_std"),
        min_length=1,
        description="What to label; stress only where the teacher has it and the cell is periodic in all directions, "
        "standard deviations only where it is a committee; embeddings, for the loss term of that name, if it is a "
        "student.",
    )
    gates: GatesPlan = Field(GatesPlan(), description="Bounds of what is accepted.")
    hessian_directions: int = Field(
        0,
        ge=0,
        le=64,
        description="Random directions per structure along which the teacher's Hessian is taken; each costs two more "
        "calls of the teacher.",
    )


@dataclass(frozen=True)
class LabelingResult:
    """What came out of labeling.

    Parameters
    ----------
    store : Store
        Structures and labels.
    n_labeled : int
        Number of labels.
    refusals : dict
        Reason to number of structures, the commonest first.
    """

    store: Store
    n_labeled: int
    refusals: dict[str, int]


@dataclass(frozen=True)
class Chunk:
    """Structures to label in one task."""

    ids: list[int]
    structures: list[Structure]
    properties: tuple[str, ...]
    gates: GatesPlan
    teacher: PotentialPlan
    identity: Identity
    n_directions: int = 0
    seed: int = 0


@dataclass
class Labeled:
    """What one task gives back."""

    ids: list[int] = field(default_factory=list)
    structures: list[Structure] = field(default_factory=list)
    labels: list[Labels] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)


def label(
    structures: Store,
    plan: LabelingPlan,
    teacher_plan: PotentialPlan,
    *,
    path: Path,
    pool: Pool,
    reporter: Reporter,
    seed: int = 0,
) -> LabelingResult:
    """Label a store of structures; the same call continues after a crash, with no label lost or doubled.

    Parameters
    ----------
    structures : Store
        What to label; ids and ``info`` are kept.
    plan : LabelingPlan
        Settings.
    teacher_plan : PotentialPlan
        Who labels.
    path : Path
        Directory of the new store.
    pool : Pool
        Where tasks run.
    reporter : Reporter
        Where progress goes.
    seed : int
        What the directions of Hessians depend on, beside the ids of the structures.

    Raises
    ------
    UnsupportedStructureError
        If the teacher covers none of the structures; those that it does not cover are refused where there are others.
    PropertyError
        If the teacher does not give a property that is asked for (stress and spreads aside).
    TeacherError
        If the teacher cannot be loaded, or is no longer the one that labeled what is there.
    DataError
        If the directory holds something else, or every structure was refused.

    Examples
    --------
    >>> import tempfile
    >>> from mlff_distiller.core.console import Silent
    >>> from mlff_distiller.scale.local import LocalPool
    >>> from mlff_distiller.teachers.xtb import XTBPlan
    >>> folder = Path(tempfile.mkdtemp())
    >>> writer = StoreWriter(folder / "structures")
    >>> writer.append([0, 1], [Structure([1, 1], [[0, 0, 0], [0, 0, d]]) for d in (0.74, 0.1)])
    >>> result = label(writer.seal(), LabelingPlan(), XTBPlan(), path=folder / "labels", pool=LocalPool(1),
    ...     reporter=Silent())
    >>> result.n_labeled, result.refusals
    (1, {'min_distance': 1})
    """
    with closing(teacher_plan.build(own_process=True)) as teacher:  # before the workers, which load one each
        properties = _asked(plan, teacher)
        needed = {*properties, "forces"} if plan.hessian_directions else properties
        uncovered = _uncovered(structures, teacher, needed)
    inputs: dict[str, Any] = {
        "structures": structures.digest,
        "properties": list(properties),
        "gates": plan.gates.digest(),
    }
    if plan.hessian_directions:
        inputs["hessian"] = {"directions": plan.hessian_directions, "seed": seed}
    with StoreWriter(path, identity=teacher.identity.to_json(), header={"content": "labels", **inputs}) as writer:
        refused = RefusedList(path)
        if not writer.is_sealed:
            _refuse_uncovered(uncovered, refused, len(structures), reporter)
            job = _Job(structures, plan, properties, teacher_plan, teacher.identity, seed)
            _fill(writer, refused, job, pool=pool, reporter=reporter)
        return _result(writer, refused)


@dataclass(frozen=True)
class _Job:
    """What is to be labeled, how and by whom."""

    structures: Store
    plan: LabelingPlan
    properties: tuple[str, ...]
    teacher: PotentialPlan
    identity: Identity
    seed: int

    def chunks(self, done: Set[int]) -> Iterator[Chunk]:
        """Yield what is left; bounds do not depend on what is done, so a continued run asks the same batches."""
        ids = self.structures.ids.tolist()
        for rows in _blocks(range(len(ids)), self.plan.chunk_size):
            left = [row for row in rows if ids[row] not in done]
            if left:
                numbers = [ids[row] for row in left]
                structures = self.structures.structures(left)
                yield Chunk(
                    numbers,
                    structures,
                    self.properties,
                    self.plan.gates,
                    self.teacher,
                    self.identity,
                    self.plan.hessian_directions,
                    self.seed,
                )


def _uncovered(structures: Store, teacher: Potential, properties: Collection[str]) -> list[Refusal]:
    """Return the refusals of what the teacher does not cover; asked for in blocks, as that is hardly ever any."""
    ids, found = structures.ids.tolist(), []
    for rows in _blocks(range(len(ids)), 1000):
        block = structures.structures(rows)
        if _fault(teacher, block, properties):
            faults = ((ids[row], _fault(teacher, [one], properties)) for row, one in zip(rows, block, strict=True))
            found += [Refusal(number, "not covered by the teacher", fault) for number, fault in faults if fault]
    if found and len(found) == len(ids):
        raise UnsupportedStructureError(f"the teacher covers none of the {len(ids)} structures: {found[0].detail}")
    return found


def _fault(teacher: Potential, structures: Sequence[Structure], properties: Collection[str]) -> str:
    try:
        teacher.check(structures, properties)
    except UnsupportedStructureError as error:
        return str(error)
    return ""


def _refuse_uncovered(uncovered: Sequence[Refusal], refused: RefusedList, total: int, reporter: Reporter) -> None:
    if uncovered:
        first = uncovered[0].detail
        reporter.message(f"{len(uncovered)} of {total} structures are not covered by the teacher and refused: {first}")
        refused.append(uncovered)


def _fill(writer: StoreWriter, refused: RefusedList, job: _Job, *, pool: Pool, reporter: Reporter) -> None:
    done = writer.done_ids | refused.refusals.keys()
    advance = reporter.start("labeling", len(job.structures), done=len(done))
    for _, labeled in pool.run(label_chunk, job.chunks(done), reporter=reporter):
        refused.append(labeled.refusals)
        writer.append(labeled.ids, labeled.structures, labeled.labels)
        note = f"{len(refused.refusals)} refused" if refused.refusals else ""
        advance(len(labeled.ids) + len(labeled.refusals), note=note)


def _result(writer: StoreWriter, refused: RefusedList) -> LabelingResult:
    counts = refused.counts()
    if not writer.done_ids:
        commonest, count = next(iter(counts.items()))
        raise DataError(
            f"all {sum(counts.values())} structures were refused, {count} of them because of '{commonest}'; "
            f"see {writer.path / 'refused.jsonl'}, then change the sampling, the gates or the teacher's settings"
        )
    store = writer.seal()
    return LabelingResult(store, len(store), counts)


def label_chunk(chunk: Chunk, reporter: Reporter) -> Labeled:
    """Label the structures of one task; called in a worker."""
    teacher = resident_teacher(chunk.teacher, own_process=True)
    chunk.identity.demand(teacher.identity)  # a file may have been replaced since the first worker loaded it
    accepted, refusals = chunk.gates.screen(chunk.ids, chunk.structures)

    def labels_of(part: Sequence[Numbered]) -> list[Labels]:
        return teacher.predict([structure for _, structure in part], chunk.properties)

    labels = _kept(accepted, labels_of, chunk.gates, refusals)
    if chunk.n_directions:
        left = [(number, structure) for number, structure in accepted if number in labels]
        rows = _kept(left, lambda part: _hessian_rows(teacher, part, chunk), chunk.gates, refusals)
        labels = {k: replace(labels[k], **{name: getattr(row, name) for name in HESSIAN}) for k, row in rows.items()}
    structures = [structure for number, structure in accepted if number in labels]
    return Labeled(list(labels), structures, list(labels.values()), refusals)


def _hessian_rows(teacher: Potential, part: Sequence[Numbered], chunk: Chunk) -> list[Labels]:
    """Return directions and products alone."""
    directions = [random_directions(len(s), chunk.n_directions, seed=chunk.seed, number=number) for number, s in part]
    products = teacher.hessian_products([structure for _, structure in part], directions)
    pairs = zip(directions, products, strict=True)
    return [Labels(hessian_directions=along, hessian_products=found) for along, found in pairs]


def _kept(
    accepted: Sequence[Numbered],
    ask: Callable[[Sequence[Numbered]], list[Labels]],
    gates: GatesPlan,
    refusals: list[Refusal],
) -> dict[int, Labels]:
    """Return the labels that are accepted, by the numbers of their structures; the refusals of others are noted."""
    kept = {}
    for (number, _), answer in zip(accepted, _answers(accepted, ask), strict=True):
        if isinstance(answer, PredictionError):
            refusals.append(Refusal(number, answer.reason, answer.detail))
        elif fault := gates.label_fault(answer):
            refusals.append(Refusal(number, *fault))
        else:
            kept[number] = answer
    return kept


def _answers(
    accepted: Sequence[Numbered], ask: Callable[[Sequence[Numbered]], list[Labels]]
) -> list[Labels | PredictionError]:
    """Return labels or the reason why there are none; one structure that fails does not spoil the others."""
    answers: list[Labels | PredictionError] = []
    stack: list[Sequence[Numbered] | PredictionError] = [accepted]
    while stack:
        item = stack.pop()
        if isinstance(item, PredictionError):
            answers.append(item)
            continue
        try:
            answers += ask(item) if item else []
        except PredictionError as error:
            stack += [item[error.index + 1 :], error, item[: error.index]]
    return answers


def _asked(plan: LabelingPlan, teacher: Potential) -> tuple[str, ...]:
    absent = {"stress", *SPREADS} - teacher.properties
    return tuple(name for name in plan.properties if name not in absent)


def _blocks(rows: range, size: int) -> Iterator[range]:
    return (rows[first : first + size] for first in range(0, len(rows), size))
