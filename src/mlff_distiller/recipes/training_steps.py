"""The work of the stages from data to students: the same whether a teacher labeled the data or they were there."""

import json
from pathlib import Path
from typing import Any

from mlff_distiller.core.console import Reporter
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.files import write_json
from mlff_distiller.data.importers.importing import import_data
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.data.loading.loader import GraphLoader
from mlff_distiller.data.splits.files import write_split
from mlff_distiller.data.splits.make import make_split, settled
from mlff_distiller.data.storage.store import Store
from mlff_distiller.data.storage.writer import StoreWriter
from mlff_distiller.deployment import TARGETS
from mlff_distiller.distillation.assistant import assist, joined
from mlff_distiller.distillation.distill import Task, distill
from mlff_distiller.distillation.evaluation import Errors, evaluate
from mlff_distiller.distillation.reference import joint_digest, unshifted
from mlff_distiller.recipes.data_recipe import DataRecipe, settings_named
from mlff_distiller.recipes.held_out import LabeledData
from mlff_distiller.recipes.stages import Context
from mlff_distiller.recipes.trainees import Trainee, trainees
from mlff_distiller.students import checkpoint
from mlff_distiller.students.potential import StudentPotential
from mlff_distiller.students.record import TrainingRecord
from mlff_distiller.students.student import Student

Facts = dict[str, Any]


def import_file(context: Context[DataRecipe], reporter: Reporter) -> Facts:
    """Import a foreign file of labeled structures."""
    recipe = context.recipe
    with settings_named():
        done = import_data(Path(recipe.data), recipe.importing, context.directory.labels, reporter=reporter)
    return {"format": done.format, **done.counts}


def split_data(context: Context[Any], reporter: Reporter) -> Facts:
    """Choose what is held out, of reference data too if there are any."""
    recipe, reference = context.recipe, context.recipe.training.reference_data
    store = Store.open(recipe.labels(context.directory.path))
    other = None if reference is None else Store.open(Path(reference))
    source = store if other is None else unshifted(store, other)
    plan = settled(source, recipe.split)
    split = make_split(source, plan, seed=recipe.seed)
    digest = joint_digest(store, other)
    write_split(context.directory.split_file, split, data_digest=digest, plan=plan, seed=recipe.seed)
    return {"kind": plan.kind, **{name: len(rows) for name, rows in vars(split).items()}}


def label_with_assistant(context: Context[Any], reporter: Reporter) -> Facts:
    """Let a larger student label displaced copies of the training structures for a smaller one."""
    directory, plan = context.directory, _trainee(context).assistant
    assert plan is not None
    assistant = StudentPotential(checkpoint.load(directory.training(plan.student) / "best.safetensors"))
    train = LabeledData.of(directory, context.recipe).part("train")
    found = assist(assistant, train, plan, seed=context.recipe.seed)
    with StoreWriter(directory.assistance(context.student), identity=assistant.identity.to_json()) as writer:
        new = [k for k in range(len(found.structures)) if k not in writer.done_ids]
        writer.append(new, [found.structures[k] for k in new], [found.labels[k] for k in new])
        writer.seal()
    return {"n_structures": len(found.structures), "n_left_out": found.n_left_out}


def train_student(context: Context[Any], reporter: Reporter) -> Facts:
    """Train one student."""
    data, who = LabeledData.of(context.directory, context.recipe), _trainee(context)
    train, validation = data.to_train_on(who.on_reference)
    if who.assistant is not None:
        train = joined(train, MolecularDataset(Store.open(context.directory.assistance(who.name))))
    task = Task(
        who.student,
        who.training,
        train=train,
        validation=validation,
        seed=context.recipe.seed,
        digest=context.digest,
        data_digest=data.digest,
        teacher=data.store.manifest.identity,
    )
    folder, title = context.directory.training(who.name), f"training {who.name}"
    return vars(distill(task, folder, title=title, reporter=reporter, world=context.world))


def export_student(context: Context[Any], reporter: Reporter) -> Facts:
    """Put the best weights where users look for them, if the file gives the same forces as the student."""
    directory, name = context.directory, context.student
    best = directory.training(name) / "best.safetensors"
    header = checkpoint.read_header(best)
    training = {**context.recipe.origin, "stage_digest": context.digest, **header["training"]}
    record = TrainingRecord.model_validate(header["record"])
    structures = LabeledData.of(directory, context.recipe).part("test").structures()[:64]
    parity = TARGETS.get("ase")().write(
        checkpoint.load(best), directory.student_file(name), structures, training=training, record=record
    )
    return dict(vars(parity))


def measure_errors(context: Context[Any], reporter: Reporter) -> Facts:
    """Measure all students on what was held out: the teacher's labels, and those of the reference data if any."""
    data, directory = LabeledData.of(context.directory, context.recipe), context.directory
    held_out = {"test": data.part("test")}
    if data.reference is not None:
        held_out["reference_test"] = data.reference.reference_part("test")
    students: dict[str, Any] = {}
    for who in trainees(context.recipe):
        student = checkpoint.load(directory.student_file(who.name))
        students[who.name] = {
            "n_parameters": student.n_parameters,
            "labels": _labels(who, data),
            **(directory.record(f"train-{who.name}") or {"facts": {}})["facts"],
            "validation": _validation_errors(directory.training(who.name) / "best.safetensors"),
            **{name: errors_on(student, part) for name, part in held_out.items()},
        }
    kind = (directory.record("split") or {"facts": {}})["facts"].get("kind")
    sizes = {name: len(part) for name, part in held_out.items()}
    write_json(directory.errors_file, {"split": kind, "n_structures": sizes, "students": students})
    return {name: row["test"]["force_rmse"] for name, row in students.items()}


def errors_on(student: Student, data: MolecularDataset) -> Errors:
    """Return the errors of a student on data, in the student's precision."""
    loader = GraphLoader(data, cutoff=student.cutoff, batch_size=64, seed=0, dtype=student.dtype, shuffle=False)
    return evaluate(student, loader)


def read_errors(path: Path) -> dict[str, Any]:
    """Return what :func:`measure_errors` wrote.

    Raises
    ------
    DataError
        If the file is missing or damaged.
    """
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        value["split"], value["n_structures"], [row["test"] for row in value["students"].values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged; delete it and run again") from error
    return value


def _trainee(context: Context[Any]) -> Trainee:
    return next(who for who in trainees(context.recipe) if who.name == context.student)


def _labels(who: Trainee, data: LabeledData) -> str:
    if who.on_reference:
        return "reference"
    own = "teacher" if data.reference is None else "teacher and reference"
    return own if who.assistant is None else f"{own}, {who.assistant.student}"


def _validation_errors(path: Path) -> dict[str, Any]:
    row = checkpoint.read_header(path)["training"]
    return {name.removeprefix("validation_"): value for name, value in row.items() if name.startswith("validation_")}
