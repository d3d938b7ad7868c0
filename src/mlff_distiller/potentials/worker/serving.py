"""What runs inside the process of a potential: load it, then answer until the other side is gone.

Started by :mod:`mlff_distiller.potentials.worker.process`, also by the interpreter of an environment that holds
nothing of ours: only numpy, ASE, pydantic, PyYAML and the potential's own library may be imported here.
"""

import os
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

import numpy as np

from mlff_distiller.core.errors import DistillerError, PredictionError, TeacherError
from mlff_distiller.potentials import isolation
from mlff_distiller.potentials.base import Potential
from mlff_distiller.potentials.batching import Batching
from mlff_distiller.potentials.foreign import reason
from mlff_distiller.potentials.worker.protocol import Buffer, Message, pack_labels, unpack_structures

_EASY_TO_KILL: Final = "1000"
_LOOK_S: Final = 1.0
_ALL_AT_ONCE: Final = 1 << 40


def main() -> None:
    """Serve frames that arrive on standard input until it is closed."""
    source, sink = _claim_pipes()
    _be_the_one_that_is_killed()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    server, arrived = _Server(), Buffer()
    with suppress(EOFError):
        while True:
            answer = server.answer(Message.read(lambda n: arrived.take(n, lambda: os.read(source, 1 << 20))))
            data = memoryview(answer.to_bytes())
            while data:
                data = data[os.write(sink, data) :]
    _end()


class _Server:
    """Answers one frame by one."""

    def __init__(self) -> None:
        self._potential: Potential | None = None
        self._batching = Batching(_ALL_AT_ONCE)  # for a potential that does not see itself to what memory has room for

    def answer(self, request: Message) -> Message:
        """Return the answer; whatever goes wrong is an answer too."""
        before = isolation.read() if request.facts.get("watched") else {}
        try:
            answer = self._load(request) if request.kind == "load" else self._work(request)
        except PredictionError as error:
            answer = Message("prediction error", {"index": error.index, "reason": error.reason, "detail": error.detail})
        except DistillerError as error:
            answer = Message("error", {"type": type(error).__name__, "text": str(error)})
        except Exception as error:
            answer = Message("fault", {"text": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()})
        changed = isolation.changed(before) if before else []
        return Message(answer.kind, {**answer.facts, "changed": changed}, answer.arrays)

    def _load(self, request: Message) -> Message:
        facts = request.facts
        if facts["memory_limit_GB"] is not None:
            _limit_memory(facts["memory_limit_GB"])
        potential = _plan(facts["place"]).parse(facts["settings"], where="the settings of the teacher").build()
        self._potential = potential
        return Message(
            "loaded",
            {
                "elements": sorted(potential.elements),
                "charges": None if potential.charges is None else sorted(potential.charges),
                "spins": None if potential.spins is None else sorted(potential.spins),
                "boundaries": sorted(potential.boundaries),
                "opens_along_axes": potential.opens_along_axes,
                "cutoff": potential.cutoff,
                "properties": sorted(potential.properties),
                "is_conservative": potential.is_conservative,
                "identity": potential.identity.to_json(),
                "python": sys.version.split()[0],
            },
        )

    def _work(self, request: Message) -> Message:
        if self._potential is None:
            raise RuntimeError(f"asked to {request.kind} before anything was loaded")
        structures, properties = unpack_structures(request.arrays), request.facts.get("properties", [])
        if request.kind == "check":
            self._potential.check(structures, properties)
            return Message("checked")
        sizes = [len(structure) for structure in structures]
        if request.kind == "hessian":
            products, split = self._potential.hessian_products, np.cumsum(sizes)[:-1]
            directions = np.split(request.arrays["directions"], split)
            found = self._batching.run_slices(structures, lambda part: products(structures[part], directions[part]))
            return Message("products", arrays={"products": np.concatenate(found)})
        predict = self._potential.predict
        labels = self._batching.run(structures, lambda batch: predict(batch, properties))
        return Message("labels", arrays=pack_labels(labels, sizes))


def _plan(place: str) -> Any:
    """Return the class of a plan.

    Raises
    ------
    TeacherError
        If it cannot be imported here.
    """
    module, _, name = place.partition(":")
    try:
        return attrgetter(name)(import_module(module))
    except Exception as error:  # importing may run foreign code
        raise TeacherError(
            f"{name} of {module} cannot be loaded by {sys.executable} ({reason(error)}); install the package that it "
            "belongs to in the environment of the teacher"
        ) from error


def _claim_pipes() -> tuple[int, int]:
    """Return descriptors of the pipes, and give others what libraries may read from and print to."""
    source, sink = os.dup(0), os.dup(1)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return source, sink


def _end_with(parent: int) -> None:
    """End the process soon after the one that asks has gone, also in the midst of work that nobody waits for."""
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    _end()


def _end() -> None:
    """End this process and what it has started, at once: nothing of it is to be kept."""
    if hasattr(os, "killpg") and os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _be_the_one_that_is_killed() -> None:
    """Ask Linux to end this process, not the one that writes the labels, when the machine's memory runs out."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_EASY_TO_KILL)


def _limit_memory(gigabytes: float) -> None:
    """Let allocations beyond a limit fail, so that they become an error of one structure and not of the machine."""
    with suppress(ImportError):
        resource: Any = import_module("resource")  # not on Windows
        most = int(gigabytes * 1e9)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, (most, resource.getrlimit(resource.RLIMIT_DATA)[1]))
