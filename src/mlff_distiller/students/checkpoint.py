"""Student files: one safetensors file with JSON metadata, never a pickle."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize

from mlff_distiller.core import provenance
from mlff_distiller.core.errors import CheckpointError, DistillerError
from mlff_distiller.core.files import write_bytes
from mlff_distiller.students import STUDENTS
from mlff_distiller.students.student import Student

FORMAT = "mlffd-student"
VERSION = 1
_KEYS = ("elements", "charges", "scale", "neighbor_norm", "n_parameters", "training", "created", "versions")


def save(student: Student, path: Path, *, training: dict[str, Any] | None = None) -> None:
    """Write a student to one safetensors file, atomically.

    Parameters
    ----------
    student : Student
        The student.
    path : Path
        Usually ``NAME.safetensors``.
    training : dict, optional
        JSON-able facts to keep: recipe, teacher, digests of the data.

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
        "scale": student.scale,
        "neighbor_norm": student.neighbor_norm,
        "n_parameters": student.n_parameters,
        "units": {"energy": "eV", "length": "Angstrom"},
        "training": training or {},
        **provenance.stamp(),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in student.state_dict().items()}
    metadata = {"format": FORMAT, "version": str(VERSION), "header": json.dumps(header)}
    write_bytes(path, serialize(tensors, metadata))


def load(path: str | Path, *, dtype: torch.dtype | None = None, device: torch.device | str = "cpu") -> Student:
    """Read a student.

    Parameters
    ----------
    path : str or Path
        File written by :func:`save`.
    dtype : torch.dtype, optional
        Precision of the network; as stored unless given.
    device : optional
        Where to put it.

    Raises
    ------
    CheckpointError
        If the file is missing, is no student, is damaged, or was written by a newer release.
    """
    header = read_header(path)
    try:
        plan = STUDENTS.get(header["plan"]["kind"]).parse(header["plan"], where=str(path))
        references = dict.fromkeys(header["elements"], 0.0)
        student = Student(
            plan,
            references,
            charges=header["charges"],
            scale=header["scale"],
            neighbor_norm=header["neighbor_norm"],
        )
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        student.to(tensors[next(iter(dict(student.network.named_parameters(prefix="network"))))].dtype)
        student.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError, SafetensorError, DistillerError) as error:
        raise CheckpointError(
            f"{path} is a student file but damaged ({str(error).splitlines()[0]}); "
            "copy it again, or delete it and run again"
        ) from error
    return student.to(device=device, dtype=dtype).eval()


def read_header(path: str | Path) -> dict[str, Any]:
    """Return the metadata of a student file: architecture, elements, training, versions.

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
        header: dict[str, Any] = json.loads(metadata["header"])
        header["plan"]["kind"], header["plan"]["cutoff"], *(header[key] for key in _KEYS)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is a student file but its header is damaged; copy it again") from error
    return header
