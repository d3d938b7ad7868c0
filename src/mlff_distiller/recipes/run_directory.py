"""The run directory: what has been done, with the digest of its inputs; locked while somebody works in it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

from mlff_distiller.core.errors import RunDirectoryError
from mlff_distiller.core.files import write_json, write_text
from mlff_distiller.core.lock import FileLock
from mlff_distiller.validation.records import ARRAYS, MEASUREMENTS

FORMAT = "mlffd-run"
VERSION = 1


class Asking(Protocol):
    """What makes the run of a recipe this one and no other."""

    @property
    def name(self) -> str:
        """Name of the run."""

    @property
    def question(self) -> str:
        """Digest of what is asked."""

    @property
    def asks(self) -> str:
        """What else differs where two runs of one name have different questions."""

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """Return all settings as plain data."""


@dataclass(frozen=True)
class RunDirectory:
    """One output directory.

    Parameters
    ----------
    path : Path
        The directory.

    Examples
    --------
    >>> RunDirectory(Path("out")).student_file("tiny").as_posix()
    'out/students/tiny.safetensors'
    """

    path: Path

    @property
    def recipe_name(self) -> str:
        """Name of the recipe whose run this is.

        Raises
        ------
        RunDirectoryError
            If that cannot be read.
        """
        return self._held()[0]

    @property
    def recipe_file(self) -> Path:
        """All settings of the last command, defaults included."""
        return self.path / "recipe.yaml"

    @property
    def samples(self) -> Path:
        """Store of drawn structures."""
        return self.path / "sampling"

    @property
    def audit_file(self) -> Path:
        """What the audit of the teacher found."""
        return self.path / "audit.json"

    @property
    def labels(self) -> Path:
        """Store of labeled structures."""
        return self.path / "labels"

    def assistance(self, student: str) -> Path:
        """Return the store of what an assistant has labeled for a student."""
        return self.path / "assistance" / student

    @property
    def errors_file(self) -> Path:
        """Errors of all students on what was held out."""
        return self.path / "errors.json"

    @property
    def split_file(self) -> Path:
        """Which structures are for training, validation and test."""
        return self.path / "split.h5"

    def training(self, student: str) -> Path:
        """Return the folder of one student's training."""
        return self.path / "training" / student

    def training_files(self, student: str) -> list[Path]:
        """Return what a finished training leaves for later stages."""
        return [self.training(student) / name for name in ("best.safetensors", "history.jsonl")]

    def student_file(self, student: str) -> Path:
        """Return where a finished student lies."""
        return self.path / "students" / f"{student}.safetensors"

    def evidence(self, student: str, check: str) -> Path:
        """Return the folder of what one check found of one student."""
        return self.path / "validation" / student / check

    def evidence_files(self, student: str, check: str) -> list[Path]:
        """Return the files in it without which the check is not done."""
        return [self.evidence(student, check) / name for name in (MEASUREMENTS, ARRAYS)]

    @property
    def observations(self) -> Path:
        """Folder of what the teacher itself did, for comparison."""
        return self.path / "validation" / "_teacher"

    @property
    def observation_files(self) -> list[Path]:
        """Files in it without which that is not done."""
        return [self.observations / name for name in (MEASUREMENTS, ARRAYS)]

    def timing(self, student: str) -> Path:
        """Return the folder of one student's timing."""
        return self.path / "timing" / student

    def timing_files(self, student: str) -> list[Path]:
        """Return the files in it without which the timing is not done."""
        return [self.timing(student) / name for name in (MEASUREMENTS, ARRAYS)]

    @property
    def verdict_file(self) -> Path:
        """The verdict, for machines."""
        return self.path / "verdict.json"

    @property
    def report_file(self) -> Path:
        """The verdict, for people."""
        return self.path / "report.html"

    @contextmanager
    def opened(self, recipe: Asking) -> Iterator[None]:
        """Create or continue the directory for a recipe, and keep others out while the block runs.

        Raises
        ------
        RunDirectoryError
            If the directory cannot be written, is in use, or holds something else.
        """
        question = recipe.question  # data that are not there are refused before a directory is made
        lock = self._lock()
        try:
            self._claim(recipe, question)
            yield
        finally:
            lock.release()

    def record(self, stage: str) -> dict[str, Any] | None:
        """Return what is known of a finished stage; None if it has not finished."""
        path = self._record_file(stage)
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None  # a damaged record means that the stage is run again
        types = {"digest": str, "elapsed_s": int | float, "facts": dict}
        known = isinstance(value, dict) and all(isinstance(value.get(key), kind) for key, kind in types.items())
        return value if known else None

    def write_record(self, stage: str, value: dict[str, Any]) -> None:
        """Note that a stage has finished."""
        write_json(self._record_file(stage), value)

    def begun(self, stage: str) -> str | None:
        """Return the digest of the inputs that a stage was last begun with; None if it never was."""
        path = self._begun_file(stage)
        return path.read_text(encoding="utf-8", errors="replace").strip() if path.exists() else None

    def note_begun(self, stage: str, digest: str) -> None:
        """Note that what a stage leaves from now on belongs to these inputs."""
        write_text(self._begun_file(stage), digest + "\n")
        self._record_file(stage).unlink(missing_ok=True)  # it spoke of what is now made anew

    def records(self) -> dict[str, dict[str, Any]]:
        """Return what is known of all finished stages, in the order they finished."""
        files = sorted((self.path / "stages").glob("*.json"), key=lambda path: path.stat().st_mtime)
        found = {path.stem: self.record(path.stem) for path in files}
        return {name: value for name, value in found.items() if value is not None}

    def set_aside(self, paths: list[Path], tag: str) -> None:
        """Move results that belong to other settings out of the way, to ``superseded/``; nothing is deleted."""
        for path in paths:
            if path.exists():
                target = (
                    self.path / "superseded" / f"{path.relative_to(self.path).as_posix().replace('/', '-')}-{tag[:8]}"
                )
                target.parent.mkdir(exist_ok=True)
                while target.exists():
                    target = target.with_name(target.name + "+")
                path.rename(target)

    def _record_file(self, stage: str) -> Path:
        return self.path / "stages" / f"{stage}.json"

    def _begun_file(self, stage: str) -> Path:
        return self.path / "stages" / f"{stage}.begun"

    def _lock(self) -> FileLock:
        lock = FileLock(self.path / ".lock")
        try:
            acquired = lock.acquire()
        except OSError as error:
            raise RunDirectoryError(
                f"cannot write to {self.path} ({error.strerror}); give another directory with --out"
            ) from error
        if not acquired:
            raise RunDirectoryError(f"{self.path} is in use by another mlffd; wait for it, or stop it")
        return lock

    def _claim(self, recipe: Asking, question: str) -> None:
        marker = self.path / "run.json"
        others = [p.name for p in self.path.iterdir() if p.name != ".lock" and not p.name.endswith(".tmp")]
        if marker.exists():
            self._check(recipe, question)
        elif others:
            raise RunDirectoryError(
                f"{self.path} is not empty and not a run of mlffd; give another directory with --out"
            )
        else:
            write_json(marker, {"format": FORMAT, "version": VERSION, "name": recipe.name, "question": question})
        write_text(self.recipe_file, yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))

    def _held(self) -> tuple[str, str]:
        """Return the name and the question of the recipe whose run this is."""
        marker = self.path / "run.json"
        try:
            held = json.loads(marker.read_text(encoding="utf-8"))
            name, question, version = held["name"], held["question"], int(held["version"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunDirectoryError(f"{marker} is damaged; give another directory with --out") from error
        if version > VERSION:
            raise RunDirectoryError(f"{self.path} was written by a newer release; install a newer mlff-distiller")
        return name, question

    def _check(self, recipe: Asking, question: str) -> None:
        name, held = self._held()
        if held != question:
            what = f"recipe '{name}'" if name != recipe.name else f"'{name}' {recipe.asks}"
            raise RunDirectoryError(f"{self.path} holds the run of {what}; give another directory with --out")
