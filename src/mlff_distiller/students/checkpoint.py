"""Student files: one safetensors file with JSON metadata, never a pickle."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core import provenance
from mlff_distiller.core.errors import CheckpointError, DistillerError
from mlff_distiller.core.files import write_bytes
from mlff_distiller.students import STUDENTS, self_check
from mlff_distiller.students.plan import StudentPlan
from mlff_distiller.students.record import TrainingRecord
from mlff_distiller.students.student import Student

FORMAT = "mlffd-student"
VERSION = 2
_KEYS = ("elements", "charges", "states", "scale", "neighbor_norm", "n_parameters", "training", "record", "references")
_STAMP = ("created", "versions")


def save(
    student: Student,
    path: Path,
    *,
    training: dict[str, Any] | None = None,
    record: TrainingRecord | None = None,
    references: Sequence[Structure] = (),
) -> None:
    """Write a student to one safetensors file, atomically.

    Parameters
    ----------
    student : Student
        The student.
    path : Path
        Usually ``NAME.safetensors``.
    training : dict, optional
        JSON-able facts to keep, free in form: name of the recipe, settings.
    record : TrainingRecord, optional
        Teacher, data, domain and errors.
    references : sequence of Structure
        Such as it was trained on. The three smallest are kept, after a chain of all its elements, with the student's
        predictions, which :func:`load` compares with what it gives then.

    Examples
    --------
    >>> import tempfile
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> path = Path(tempfile.mkdtemp()) / "h.safetensors"
    >>> save(Student(PaiNNPlan(preset="ultra-tiny"), {1: -13.6}), path)
    >>> load(path).elements
    (1,)
    """
    header = {
        "format": FORMAT,
        "version": VERSION,
        "plan": student.plan.model_dump(mode="json"),
        "elements": list(student.elements),
        "charges": list(student.charges),
        "states": [[formula, charge, spin] for formula, (charge, spin) in sorted(student.states.items())],
        "scale": student.scale,
        "neighbor_norm": student.neighbor_norm,
        "n_parameters": student.n_parameters,
        "units": {"energy": "eV", "length": "Angstrom"},
        "training": training or {},
        "record": (record or TrainingRecord()).model_dump(mode="json"),
        **provenance.stamp(),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in student.state_dict().items()}
    header["references"] = self_check.references(_assembled(student.plan, header, tensors), references)
    metadata = {"format": FORMAT, "version": str(VERSION), "header": json.dumps(header)}
    write_bytes(path, serialize(tensors, metadata))


def load(
    path: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    check: bool = True,
) -> Student:
    """Read a student.

    Parameters
    ----------
    path : str or Path
        File written by :func:`save`.
    dtype : torch.dtype, optional
        Precision of the network; as stored unless given.
    device : optional
        Where to put it.
    check : bool
        Whether to compare its predictions for the file's reference structures with those stored; a few milliseconds.

    Raises
    ------
    CheckpointError
        If the file is missing, is no student, is damaged, was written by a newer release, or the student does not
        give here what it gave when it was written.
    """
    header = read_header(path)
    try:
        plan = STUDENTS.get(header["plan"]["kind"]).parse(header["plan"], where=str(path))
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        student = _assembled(plan, header, tensors)
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError, DistillerError) as error:
        raise CheckpointError(
            f"{path} is a student file but damaged ({str(error).splitlines()[0]}); "
            "copy it again, or delete it and run again"
        ) from error
    student.to(device=device, dtype=dtype)
    if check:
        self_check.demand(student, header["references"], where=str(path), written=_written(header))
    return student


def _assembled(plan: StudentPlan, header: dict[str, Any], tensors: dict[str, Tensor]) -> Student:
    student = Student(
        plan,
        dict.fromkeys(header["elements"], 0.0),
        charges=header["charges"],
        states={formula: (charge, spin) for formula, charge, spin in header["states"]},
        scale=header["scale"],
        neighbor_norm=header["neighbor_norm"],
    )
    student.to(tensors[next(iter(dict(student.network.named_parameters(prefix="network"))))].dtype)
    student.load_state_dict(tensors)
    return student.eval()


def _written(header: dict[str, Any]) -> str:
    versions = header["versions"]
    return ", ".join(f"{name} {versions[name]}" for name in ("mlff-distiller", "torch") if name in versions)


def read_header(path: str | Path) -> dict[str, Any]:
    """Return the metadata of a student file, as of the newest version: architecture, elements, training, references.

    Raises
    ------
    CheckpointError
        If the file is missing, is no student, or was written by a newer release.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"{path} does not exist; a run writes its students to students/NAME.safetensors")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a safetensors file or is cut short ({error}); copy it again, or delete it and run again"
        ) from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path} is a safetensors file but not a student of mlffd; give a student file")
    if not metadata.get("version", "").isdigit() or int(metadata["version"]) > VERSION:
        raise CheckpointError(
            f"{path} has format version {metadata.get('version')}, this release reads up to {VERSION}; "
            "install a newer mlff-distiller"
        )
    try:
        header = upgraded(json.loads(metadata["header"]), version=int(metadata["version"]))
        header["plan"]["kind"], header["plan"]["cutoff"], *(header[key] for key in (*_KEYS, *_STAMP))
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is a student file but its header is damaged; copy it again") from error
    return header


def upgraded(header: dict[str, Any], *, version: int) -> dict[str, Any]:
    """Return the header as the newest version of the format would have it.

    Examples
    --------
    >>> upgraded({"plan": {"kind": "painn"}}, version=1)["plan"]["repulsion"]
    'none'
    """
    for number in range(version, VERSION):
        header = _UPGRADES[number](header)
    return {**header, "version": VERSION}


def _from_1(header: dict[str, Any]) -> dict[str, Any]:
    """Say what version 1 did not: no repulsion, one kind of radial basis, no states, no record, no references."""
    settings = {"repulsion": "none", "radial": "bessel", "envelope_power": 6}
    record = TrainingRecord().model_dump(mode="json")
    return {**header, "plan": {**settings, **header["plan"]}, "states": [], "record": record, "references": []}


_UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}
