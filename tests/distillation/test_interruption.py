"""Ctrl-C and SIGTERM: the step in progress is finished and saved, one line says so, and the next run goes on there."""

import os
import signal
import threading

import pytest
from training_tasks import PLAN, assert_same_files, begin, interrupted, plan_with, run

from mlff_distiller.distillation.interruption import stop_requests
from mlff_distiller.distillation.state import TrainingState


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_is_saved_and_goes_on(tmp_path, number):
    folder, plan = tmp_path / "run", plan_with(state_interval_s=1e9)
    process = begin(interrupted, folder, plan, 10, number)
    process.join(60)
    assert process.exitcode == 130
    said = "mlffd: training stopped at step 11 of 24, which is saved; run the same command again to continue\n"
    assert (tmp_path / "error").read_text() == said
    assert TrainingState.load(folder / "state.safetensors", digest="d").step == 11
    run(folder)
    run(tmp_path / "whole")
    assert_same_files(tmp_path / "whole", folder)


def test_an_interruption_in_the_last_step_changes_nothing(tmp_path):
    process = begin(interrupted, tmp_path / "run", PLAN, PLAN.n_steps - 1, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 0
    assert (tmp_path / "error").read_text() == ""


def test_a_second_request_acts_at_once():
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with stop_requests() as asked:
            assert not asked()
            os.kill(os.getpid(), signal.SIGINT)
            assert asked()
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, earlier)


def test_what_is_ignored_stays_ignored_and_threads_are_left_alone():
    earlier = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with stop_requests() as asked:
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGTERM)
            assert not asked()
    finally:
        signal.signal(signal.SIGTERM, earlier)
    handlers = []

    def work():
        with stop_requests() as asked:
            handlers.extend([signal.getsignal(signal.SIGINT), asked()])

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [before, False]
