"""DataRecipe: all settings of a training on data that are there already."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field, StringConstraints, model_validator

from mlff_distiller.core.errors import DataError
from mlff_distiller.core.plan import FilePlan, kinds, option
from mlff_distiller.core.provenance import content_digest, digest
from mlff_distiller.data.importers.plan import ImportPlan
from mlff_distiller.data.schema import MANIFEST, UNSEALED
from mlff_distiller.data.splits.plan import SplitPlan
from mlff_distiller.distillation.plan import AssistantPlan, TrainingPlan
from mlff_distiller.recipes.trainees import check_trainees
from mlff_distiller.students import STUDENTS

if TYPE_CHECKING:
    StudentField = Any
else:
    StudentField = kinds(STUDENTS)

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]


class DataRecipe(FilePlan):
    """All settings of a training on data that are there already; where they came from does not matter.

    Examples
    --------
    >>> recipe = DataRecipe.parse(
    ...     {"name": "water", "data": "labels", "students": {"tiny": {"kind": "painn"}}}, where="recipe.yaml"
    ... )
    >>> recipe.split.kind, recipe.training.batch_size
    ('auto', 16)
    """

    paths: ClassVar = ("data",)
    asks: ClassVar[str] = "with other data, or for another purpose"
    purpose: ClassVar[str] = "training"

    name: Name = Field(description="Name of the run, in letters, digits, dots and dashes.")
    seed: int = Field(1, ge=0, description="Seed of everything random.")
    data: str = Field(description="Data set, or a foreign file of labeled structures, which is imported first.")
    importing: ImportPlan = Field(ImportPlan(), description="What is said about a foreign file.")
    split: SplitPlan = Field(SplitPlan(kind="auto"), description="Which share is held out, and what stays together.")
    students: dict[Name, StudentField] = Field(min_length=1, description="Students to train, by name.")
    training: TrainingPlan = Field(TrainingPlan(), description="How each student is trained.")
    assistants: dict[Name, AssistantPlan] = Field(
        {}, description="Larger students that label more structures for smaller ones, by the smaller one's name."
    )

    @property
    def is_imported(self) -> bool:
        """Whether the data are a foreign file."""
        return not is_data_set(Path(self.data))

    @property
    def data_digest(self) -> str:
        """Digest of the data.

        Raises
        ------
        DataError
            If the data are not there, not finished, or of no known format.
        """
        return digest_of(self.data, self.importing)

    @property
    def question(self) -> str:
        """Digest of what makes a run this one and no other: name, data and purpose."""
        return digest([self.name, self.data_digest, self.purpose])

    @property
    def origin(self) -> dict[str, Any]:
        """What a student's file says of where its labels come from."""
        return {"recipe": self.name, "data": Path(self.data).name}

    def labels(self, folder: Path) -> Path:
        """Return the store of labels: the data themselves, or what they are imported to."""
        return folder / "labels" if self.is_imported else Path(self.data)

    def located(self, folder: Path) -> Self:
        """Return the recipe with all paths resolved against a folder."""
        return super().located(folder).model_copy(update={"training": self.training.located(folder)})

    @model_validator(mode="before")
    @classmethod
    def _split_by_what_is_known(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not isinstance(value.get("split"), dict):
            return value
        return {**value, "split": {"kind": "auto", **value["split"]}}

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_trainees(list(self.students), self.assistants, self.training)
        return self


def is_data_set(path: Path) -> bool:
    """Whether a folder is a data set of mlffd, finished or not."""
    return any((path / name).exists() for name in (MANIFEST, UNSEALED))


@contextmanager
def settings_named() -> Iterator[None]:
    """Let errors of an import name settings where they name options of ``mlffd data import``.

    Examples
    --------
    >>> with settings_named():
    ...     raise DataError("say so with --energy-unit")
    Traceback (most recent call last):
    ...
    mlff_distiller.core.errors.DataError: say so with --set importing.energy_unit=...
    """
    try:
        yield
    except DataError as error:
        text = str(error)
        for name, field in ImportPlan.model_fields.items():
            value = "true" if field.annotation is bool else "..."
            text = re.sub(rf"{option(name)}(?![\w-])", f"--set importing.{name}={value}", text)
        raise DataError(text) from error


def digest_of(data: str, importing: ImportPlan) -> str:
    """Return the digest of a data set, or of a foreign file and what is said about it.

    Raises
    ------
    DataError
        If the data are not there, not finished, or of no known format.
    """
    from mlff_distiller.data.importers.detection import detect
    from mlff_distiller.data.storage.store import Store

    if is_data_set(Path(data)):
        return Store.open(Path(data)).digest
    if importing.format == "auto" or not Path(data).exists():
        with settings_named():
            detect(Path(data))  # says what is wrong with a file that is not there
    return digest([content_digest(Path(data)), importing.model_dump(mode="json")])
