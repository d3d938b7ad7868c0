"""TrialRecipe: all settings of a validation of potentials that are there already, trained here or anywhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from mlff_distiller.benchmarking.step_time import StepTimePlan
from mlff_distiller.core.plan import FilePlan, kinds
from mlff_distiller.core.provenance import content_digest, digest
from mlff_distiller.data.importers.plan import ImportPlan
from mlff_distiller.labeling.label import LabelingPlan
from mlff_distiller.potentials.base import Potential
from mlff_distiller.recipes.data_recipe import Name, digest_of, is_data_set
from mlff_distiller.sampling.draw import SamplingPlan
from mlff_distiller.sampling.seeds import SEEDS
from mlff_distiller.teachers import TEACHERS
from mlff_distiller.validation.audit.plan import AuditPlan
from mlff_distiller.validation.criteria import CriteriaPlan
from mlff_distiller.validation.plan import ValidationPlan

if TYPE_CHECKING:
    SeedField = Any
    PotentialField = Any
    OptionalPotentialField = Any
else:
    SeedField, PotentialField = kinds(SEEDS), kinds(TEACHERS)
    OptionalPotentialField = PotentialField | None


class TrialRecipe(FilePlan):
    """All settings of a validation: what is on trial, what it is compared with, and on which structures.

    Examples
    --------
    >>> recipe = TrialRecipe.parse(
    ...     {
    ...         "name": "check",
    ...         "potentials": {"mine": {"kind": "ase", "factory": "ase.calculators.emt:EMT"}},
    ...         "teacher": {"kind": "xtb"},
    ...         "seeds": [{"kind": "smiles", "smiles": "CCO"}],
    ...     },
    ...     where="check.yaml",
    ... )
    >>> recipe.names
    ['mine']
    """

    paths: ClassVar = ("data", "split")
    asks: ClassVar[str] = "of other potentials, or on other structures"

    name: Name = Field(description="Name of the validation, in letters, digits, dots and dashes.")
    seed: int = Field(1, ge=0, description="Seed of everything random.")
    potentials: dict[Name, PotentialField] = Field(
        min_length=1, description="What is on trial, by name: student files, ASE calculators, any teacher."
    )
    teacher: OptionalPotentialField = Field(
        None, description="What they are held against; without one, whatever needs a teacher stays undecided."
    )
    data: str | None = Field(
        None,
        description="Labeled structures that none of them was trained on: a data set, or a file that is imported "
        "first; unless given, the teacher draws and labels some around the seeds.",
    )
    split: str | None = Field(None, description="Split file of the data, of which the test part alone is used.")
    importing: ImportPlan = Field(ImportPlan(), description="What is said about a foreign file of data.")
    seeds: list[SeedField] = Field([], description="Molecules or structure files, where there are no data.")
    sampling: SamplingPlan = Field(SamplingPlan(), description="How the teacher draws structures around the seeds.")
    labeling: LabelingPlan = Field(LabelingPlan(), description="How it labels them.")
    audit: AuditPlan = Field(AuditPlan(), description="How the teacher is audited before.")
    validation: ValidationPlan = Field(ValidationPlan(), description="What is measured of each.")
    timing: StepTimePlan = Field(StepTimePlan(), description="How the time per step is measured.")
    criteria: CriteriaPlan = Field(CriteriaPlan(), description="What must be reached to be approved.")

    @property
    def names(self) -> list[str]:
        """Names of what is on trial."""
        return list(self.potentials)

    @property
    def is_imported(self) -> bool:
        """Whether the data are a foreign file."""
        return self.data is not None and not is_data_set(Path(self.data))

    @property
    def data_digest(self) -> str | None:
        """Digest of the data and of the split; None where the teacher labels.

        Raises
        ------
        DataError
            If they are not there, not finished, or of no known format.
        """
        if self.data is None:
            return None
        split = [] if self.split is None else [content_digest(Path(self.split))]
        return digest([digest_of(self.data, self.importing), *split])

    @property
    def question(self) -> str:
        """Digest of what makes this validation this one and no other: its name, the potentials and the structures."""
        return digest(
            [
                self.name,
                {name: plan.question for name, plan in self.potentials.items()},
                [seed.fingerprint() for seed in self.seeds],
                self.data_digest,
            ]
        )

    def labels(self, folder: Path) -> Path:
        """Return the store of labels: the data themselves, or where they are made or imported to."""
        return folder / "labels" if self.data is None or self.is_imported else Path(self.data)

    def potential(self, folder: Path, name: str) -> Potential:
        """Return one of the potentials."""
        built: Potential = self.potentials[name].build()
        return built

    def n_parameters(self, folder: Path, name: str) -> int | None:
        """Return how many parameters it has; None where that is not known."""
        from mlff_distiller.students.checkpoint import read_header

        plan = self.potentials[name]
        return int(read_header(Path(plan.model))["n_parameters"]) if plan.kind == "student" else None

    def located(self, folder: Path) -> Self:
        """Return the recipe with all paths resolved against a folder."""
        return (
            super()
            .located(folder)
            .model_copy(
                update={
                    "potentials": {name: plan.located(folder) for name, plan in self.potentials.items()},
                    "teacher": None if self.teacher is None else self.teacher.located(folder),
                    "seeds": [seed.located(folder) for seed in self.seeds],
                }
            )
        )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.data is None and not self.seeds:
            raise ValueError("there is nothing to validate on; give labeled data, or seeds and a teacher")
        if self.data is None and self.teacher is None:
            raise ValueError("seeds alone have no labels to compare with; give a teacher too, or labeled data")
        return self
