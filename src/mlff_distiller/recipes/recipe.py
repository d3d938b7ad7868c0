"""Recipe: all settings of a run, from the seeds to the criteria of the verdict."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from mlff_distiller.benchmarking.step_time import StepTimePlan
from mlff_distiller.core import plan as plans
from mlff_distiller.core.plan import Plan, kinds
from mlff_distiller.core.provenance import digest
from mlff_distiller.data.splits.plan import SplitPlan
from mlff_distiller.distillation.plan import AssistantPlan, TrainingPlan
from mlff_distiller.labeling.label import LabelingPlan
from mlff_distiller.recipes.data_recipe import Name
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.recipes.trainees import check_trainees
from mlff_distiller.sampling.draw import SamplingPlan
from mlff_distiller.sampling.seeds import SEEDS
from mlff_distiller.students import STUDENTS
from mlff_distiller.teachers import TEACHERS
from mlff_distiller.validation.audit.plan import AuditPlan
from mlff_distiller.validation.criteria import CriteriaPlan
from mlff_distiller.validation.plan import ValidationPlan

if TYPE_CHECKING:
    from mlff_distiller.potentials.base import Potential

    SeedField = Any
    StudentField = Any
    TeacherField = Any
else:
    SeedField, StudentField, TeacherField = kinds(SEEDS), kinds(STUDENTS), kinds(TEACHERS)


class Recipe(Plan):
    """All settings of a run.

    Examples
    --------
    >>> recipe = Recipe.parse(
    ...     {
    ...         "name": "water",
    ...         "teacher": {"kind": "xtb"},
    ...         "seeds": [{"kind": "smiles", "smiles": "O"}],
    ...         "students": {"tiny": {"kind": "painn", "preset": "tiny"}},
    ...     },
    ...     where="recipe.yaml",
    ... )
    >>> recipe.students["tiny"].n_channels
    64
    """

    asks: ClassVar[str] = "with another teacher or other seeds"

    name: Name = Field(description="Name of the run, in letters, digits, dots and dashes.")
    seed: int = Field(1, ge=0, description="Seed of everything random; the same seed gives the same structures.")
    teacher: TeacherField = Field(description="The force field to distill.")
    seeds: list[SeedField] = Field(min_length=1, description="What to start from: molecules or structure files.")
    sampling: SamplingPlan = Field(SamplingPlan(), description="How structures are drawn around the seeds.")
    audit: AuditPlan = Field(AuditPlan(), description="How the teacher is audited before it labels.")
    labeling: LabelingPlan = Field(
        LabelingPlan(), description="How the teacher labels them, and which labels are refused."
    )
    split: SplitPlan = Field(
        SplitPlan(), description="Which share is held out, and what stays together: whole trajectory segments."
    )
    students: dict[Name, StudentField] = Field(min_length=1, description="Students to train, by name.")
    training: TrainingPlan = Field(TrainingPlan(), description="How each student is trained.")
    assistants: dict[Name, AssistantPlan] = Field(
        {}, description="Larger students that label more structures for smaller ones, by the smaller one's name."
    )
    validation: ValidationPlan = Field(ValidationPlan(), description="What is measured of each student.")
    timing: StepTimePlan = Field(StepTimePlan(), description="How the time per step is measured.")
    criteria: CriteriaPlan = Field(CriteriaPlan(), description="What a student must reach to be approved.")

    @property
    def names(self) -> list[str]:
        """Names of the students, which are on trial once they are trained."""
        return list(self.students)

    def potential(self, folder: Path, name: str) -> "Potential":
        """Return a student that the run in a folder has trained."""
        from mlff_distiller.students import checkpoint
        from mlff_distiller.students.potential import StudentPotential

        return StudentPotential(checkpoint.load(RunDirectory(folder).student_file(name)))

    def n_parameters(self, folder: Path, name: str) -> int:
        """Return how many parameters it has."""
        from mlff_distiller.students.checkpoint import read_header

        return int(read_header(RunDirectory(folder).student_file(name))["n_parameters"])

    @property
    def question(self) -> str:
        """Digest of what makes a run this one and no other: its name, its teacher and its seeds."""
        return digest([self.name, self.teacher.question, [seed.fingerprint() for seed in self.seeds]])

    @property
    def origin(self) -> dict[str, Any]:
        """What a student's file says of where its labels come from."""
        return {"recipe": self.name, "teacher": self.teacher.model_dump(mode="json")}

    def labels(self, folder: Path) -> Path:
        """Return the store of labels of the run in a folder."""
        return folder / "labels"

    def located(self, folder: Path) -> Self:
        """Return the recipe with the paths of files resolved against the folder of the recipe file."""
        return self.model_copy(
            update={
                "seeds": [seed.located(folder) for seed in self.seeds],
                "teacher": self.teacher.located(folder),
                "training": self.training.located(folder),
            }
        )

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_trainees(list(self.students), self.assistants, self.training)
        return self


def load(path: Path, *, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe from YAML, ``a.b=value`` overrides on top.

    Raises
    ------
    PlanError
        If the file or a setting is wrong; the message names the file, the key and the nearest known one.
    """
    return plans.load(Recipe, path, overrides=overrides).located(path.resolve().parent)
