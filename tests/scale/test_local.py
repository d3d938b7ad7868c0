"""The process pool: results, progress, errors, deaths, and that nothing is left behind."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlff_distiller.core import errors
from mlff_distiller.core.console import Advance, Silent
from mlff_distiller.core.errors import DistillerError, PredictionError, StructureError
from mlff_distiller.scale.local import LocalPool, available_cores
from mlff_distiller.scale.pool import OneBar

HERE = Path(__file__).parent


class Recorder:
    """A reporter that remembers what it was told."""

    def __init__(self) -> None:
        self.bars: dict[str, int] = {}
        self.notes: list[str] = []
        self.messages: list[str] = []

    def start(self, title: str, total: int, *, done: int = 0) -> Advance:
        self.bars[title] = done

        def advance(n: int = 1, *, note: str = "") -> None:
            self.bars[title] += n
            self.notes.append(note)

        return advance

    def message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(HERE)
    return __import__("pool_tasks")


def processes(marker: str) -> list[int]:
    """Return the processes whose command line holds the marker."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def eventually(condition: Callable[[], bool]) -> bool:
    """Wait up to ten seconds for something that takes another process a moment."""
    for _ in range(200):
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_every_task_once_with_its_index(tasks) -> None:
    results = dict(LocalPool(2).run(tasks.square, range(20), reporter=Silent()))
    assert {index: value for index, (value, _) in results.items()} == {i: i * i for i in range(20)}
    pids = {pid for _, pid in results.values()}
    assert os.getpid() not in pids
    assert len(pids) <= 2


def test_results_come_as_they_complete(tasks) -> None:
    order = [index for index, _ in LocalPool(2).run(tasks.slow_first, range(4), reporter=Silent())]
    assert order[-1] == 0


def test_one_task_still_runs_in_a_process(tasks) -> None:
    [(index, (value, pid))] = LocalPool().run(tasks.square, [3], reporter=Silent())
    assert (index, value) == (0, 9)
    assert pid != os.getpid()
    assert LocalPool().size == available_cores() >= 1


def test_no_tasks_start_nothing(tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert list(LocalPool(2).run(tasks.square, [], reporter=Silent())) == []


def test_tasks_are_drawn_as_they_are_needed(tasks) -> None:
    drawn = 0

    def many() -> Iterator[int]:
        nonlocal drawn
        while True:
            drawn += 1
            yield drawn

    run = LocalPool(2).run(tasks.square, many(), reporter=Silent())
    for _ in range(5):
        next(run)
    run.close()
    assert drawn <= 5 + 2


def test_large_tasks_and_results(tasks) -> None:
    block = b"x" * 3_000_000
    results = dict(LocalPool(2).run(tasks.large, [block] * 4, reporter=Silent()))
    assert sorted(results) == [0, 1, 2, 3]
    assert all(len(result) == 6_000_000 for result in results.values())


@pytest.mark.parametrize("n_threads", [1, 2])
def test_threads_are_set_in_the_worker_alone(tasks, n_threads: int) -> None:
    before = dict(os.environ)
    [(_, (omp, mkl, torch_threads, numpy_was_loaded))] = LocalPool(1, n_threads).run(
        tasks.threads, [None], reporter=Silent()
    )
    assert (omp, mkl, torch_threads) == (str(n_threads), str(n_threads), n_threads)
    assert not numpy_was_loaded
    assert dict(os.environ) == before


def test_progress_reaches_the_parent_and_prints_do_not(tasks, capfd: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder()
    assert [value for _, value in LocalPool(2).run(tasks.progress, range(3), reporter=recorder)] == ["done"] * 3
    assert recorder.bars == {f"task {i}": 10 for i in range(3)}
    assert sorted(recorder.messages) == [f"hello from {i}" for i in range(3)]
    assert {"note 0", "note 1", "note 2"} <= set(recorder.notes)
    assert capfd.readouterr() == ("", "")


def test_messages_arrive_while_the_task_runs(tasks, tmp_path: Path) -> None:
    class Answers(Silent):
        def message(self, text: str) -> None:
            (tmp_path / "yes").touch()

    assert [v for _, v in LocalPool(1).run(tasks.live, [tmp_path / "yes"], reporter=Answers())] == ["heard"]


def test_one_bar_adds_everything_up(tasks) -> None:
    recorder = Recorder()
    merged = OneBar(recorder.start("all", 24), recorder)
    list(LocalPool(2).run(tasks.progress, range(3), reporter=merged))
    assert recorder.bars == {"all": 24}
    assert len(recorder.messages) == 3


def test_foreseen_errors_arrive_as_they_are(tasks) -> None:
    with pytest.raises(StructureError) as refused:
        list(LocalPool(2).run(tasks.refuse, [0, 1], reporter=Silent()))
    assert str(refused.value) == "structure 1 is bad; remove it"
    with pytest.raises(PredictionError) as caught:
        list(LocalPool(1).run(tasks.refuse, [2], reporter=Silent()))
    assert (caught.value.index, caught.value.reason) == (7, "SCF did not converge")


def test_all_errors_of_the_tree_survive_the_journey() -> None:
    tree = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, DistillerError)]
    assert len(tree) > 10
    for kind in tree:
        error = kind(3, "reason") if kind is PredictionError else kind("what; next step")
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), str(copy)) == (kind, str(error))


def test_faults_arrive_with_the_workers_traceback(tasks) -> None:
    with pytest.raises(KeyError, match="a fault of ours") as caught:
        list(LocalPool(1).run(tasks.refuse, [3], reporter=Silent()))
    assert "in refuse" in "".join(caught.value.__notes__)
    with pytest.raises(RuntimeError, match="Unpicklable: 1 and 2"):
        list(LocalPool(1).run(tasks.refuse, [4], reporter=Silent()))
    with pytest.raises((AttributeError, pickle.PicklingError)):
        list(LocalPool(1).run(tasks.unpicklable_result, [4], reporter=Silent()))


@pytest.mark.parametrize(
    ("how", "said"), [("segfault", "SIGSEGV"), ("kill", "SIGKILL; too little memory"), ("exit", "exit code 3")]
)
def test_a_worker_that_dies_is_said(tasks, how: str, said: str) -> None:
    with pytest.raises(DistillerError, match=rf"a worker process died \({said}.*last words.*same command again"):
        list(LocalPool(2).run(tasks.die, [how], reporter=Silent()))


def test_leaving_early_ends_workers_and_their_children(tasks) -> None:
    marker = f"marker-{os.getpid()}-early"

    class Stop(Silent):
        def message(self, text: str) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(LocalPool(2).run(tasks.sleep, [marker, marker], reporter=Stop()))
    assert eventually(lambda: not processes(marker))


SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job ignores
sys.path.insert(0, {here!r})
sys.path.insert(0, {marker!r})
import pool_tasks
from mlff_distiller.core.console import Silent
from mlff_distiller.scale.local import LocalPool

class Says(Silent):
    def message(self, text):
        print(text, flush=True)

for _ in LocalPool(2).run(pool_tasks.sleep, [{marker!r}] * 2, reporter=Says()):
    pass
"""


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_orphans_when_the_parent_is_ended(tmp_path: Path, signal_number: signal.Signals) -> None:
    marker = str(tmp_path / "marker")
    parent = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(here=str(HERE), marker=marker)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert parent.stdout is not None
    assert [parent.stdout.readline() for _ in range(2)] == ["asleep\n"] * 2
    assert eventually(lambda: len(processes(marker)) == 5)  # the parent, two workers, two children of theirs
    os.killpg(parent.pid, signal_number) if signal_number == signal.SIGINT else parent.send_signal(signal_number)
    _, said = parent.communicate(timeout=60)
    assert eventually(lambda: not processes(marker)), processes(marker)
    assert said.count("Traceback") <= 1  # the parent's own KeyboardInterrupt
    assert "worker.py" not in said
