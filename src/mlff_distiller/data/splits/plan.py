"""SplitPlan: how much is held out, and what stays together."""

from typing import Literal

from pydantic import Field

from mlff_distiller.core.plan import Plan


class SplitPlan(Plan):
    """How much of the data is held out, and what stays together.

    Examples
    --------
    >>> SplitPlan(test_fraction=0.2).kind
    'segment'
    """

    kind: Literal["segment", "random", "formula", "molecule", "cluster", "auto"] = Field(
        "segment",
        description="What is held out as a whole: trajectory segments, single structures, compositions, molecules "
        "(all conformers), or clusters of structures that are alike; auto: segments where every structure names one, "
        "otherwise single structures.",
    )
    validation_fraction: float = Field(
        0.1, gt=0, lt=0.5, description="Part of the data that watches the training and chooses the best."
    )
    test_fraction: float = Field(0.1, gt=0, lt=0.5, description="Part of the data that is kept for the final verdict.")
    n_clusters: int = Field(50, ge=3, le=100_000, description="Number of clusters, for kind cluster.")
    near_duplicate_tolerance: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Kinds random and cluster keep structures on one side whose interatomic distances differ by less "
        "than this (root mean square, Angstrom); 0: exact copies only.",
    )
