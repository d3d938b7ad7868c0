"""One call for every kind of split."""

from mlff_distiller.data.blocks import blocks
from mlff_distiller.data.similarity.descriptors import Descriptor
from mlff_distiller.data.source import Source
from mlff_distiller.data.splits.groups import find_groups, split_by_group
from mlff_distiller.data.splits.plan import SplitPlan
from mlff_distiller.data.splits.segments import segment_of, split_by_segment, stratum_of
from mlff_distiller.data.splits.split import Split


def make_split(source: Source, plan: SplitPlan, *, seed: int, descriptor: Descriptor | None = None) -> Split:
    """Split structures as a plan says; every structure is in exactly one part, and no part is empty.

    Parameters
    ----------
    source : Source
        A store or columns.
    plan : SplitPlan
        Settings.
    seed : int
        The same seed gives the same split.
    descriptor : Descriptor, optional
        What makes two structures alike, for kind "cluster"; the built-in one unless said.

    Raises
    ------
    DataError
        If there are too few groups to hold whole ones out, or the structures name no trajectory segments.

    Examples
    --------
    >>> import numpy as np
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> columns = pack(range(10), [Structure([z, z], [[0, 0, 0], [0, 0, 1.5]]) for z in range(1, 11)])
    >>> split = make_split(columns, SplitPlan(kind="formula"), seed=0)
    >>> len(split.train), len(split.validation), len(split.test)
    (8, 1, 1)
    """
    plan = settled(source, plan)
    if plan.kind != "segment":
        return split_by_group(find_groups(source, plan, seed=seed, descriptor=descriptor), plan, seed=seed)
    known: dict[str, str] = {}  # one copy of each name, however many structures it is written with
    segments: list[str] = []
    strata: list[str] = []
    for rows, columns in blocks(source):
        for k, row in enumerate(rows.tolist()):
            info = columns.info(k)
            for name, names in ((segment_of(info, row), segments), (stratum_of(info, row), strata)):
                names.append(known.setdefault(name, name))
    return split_by_segment(segments, plan, seed=seed, strata=strata)


def settled(source: Source, plan: SplitPlan) -> SplitPlan:
    """Return the plan with the kind that "auto" means for these structures.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.columns import pack
    >>> settled(pack([0], [Structure([1], [[0, 0, 0]])]), SplitPlan(kind="auto")).kind
    'random'
    """
    if plan.kind != "auto":
        return plan
    have = all(
        isinstance(columns.info(k).get("segment"), str) for _, columns in blocks(source) for k in range(len(columns))
    )
    return plan.model_copy(update={"kind": "segment" if have else "random"})
