"""Isolation: the caller's settings are as before after any foreign call, and the foreign code finds its own again."""

import logging
import os
import random
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from mlff_distiller.potentials.isolation import SETTINGS, Isolation, changed, read


def change_everything(folder: str) -> None:
    os.environ["FOREIGN"] = "1"
    os.chdir(folder)
    logging.root.setLevel(logging.DEBUG)
    random.random()
    np.random.rand()  # noqa: NPY002 - what foreign code does
    np.seterr(all="raise")
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_num_threads(torch.get_num_threads() + 1)
    torch.set_grad_enabled(False)
    torch.use_deterministic_algorithms(True)
    torch.set_float32_matmul_precision("medium")
    torch.manual_seed(12345)


@pytest.fixture
def restored():
    """Put everything back after a test, by means of its own."""
    keep = Isolation()
    with keep.inside():
        yield


def test_everything_is_put_back_also_after_an_exception(restored, tmp_path) -> None:
    before, seen = read(), []

    def foreign() -> None:
        with Isolation().inside():
            change_everything(str(tmp_path))
            seen.extend(changed(before))
            raise ValueError("foreign")

    with pytest.raises(ValueError, match="foreign"):
        foreign()
    assert len(seen) >= 12
    assert changed(before) == []


def test_the_foreign_code_finds_its_own_again(restored, tmp_path) -> None:
    isolation = Isolation()
    with isolation.inside():
        change_everything(str(tmp_path))
        theirs = read()
    with isolation.inside():
        assert changed(theirs) == []


def test_what_it_never_changed_follows_the_caller(restored, tmp_path, monkeypatch) -> None:
    isolation = Isolation()
    with isolation.inside():
        torch.set_default_dtype(torch.float64)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(7)
    wanted = read()
    with isolation.inside():
        assert torch.get_default_dtype() == torch.float64
        assert changed(wanted) == ["torch's default dtype"]
    assert changed(wanted) == []


def test_one_inside_another(restored) -> None:
    outer, inner, before = Isolation(), Isolation(), read()
    with outer.inside():
        torch.set_default_dtype(torch.float64)
        with inner.inside():
            torch.set_default_dtype(torch.float16)
        assert torch.get_default_dtype() == torch.float64
        with inner.inside():
            assert torch.get_default_dtype() == torch.float16
    assert changed(before) == []


def test_a_working_directory_that_is_gone_does_no_harm(restored, tmp_path, monkeypatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    monkeypatch.chdir(first)
    isolation = Isolation()
    with isolation.inside():
        os.chdir(second)
    second.rmdir()
    with isolation.inside():
        assert os.getcwd() == str(first)
    first.rmdir()
    with isolation.inside():
        pass


def test_a_logger_forgets_what_was_enabled_inside(restored) -> None:
    logger = logging.getLogger("mlff_distiller.tests.isolation")
    logging.root.setLevel(logging.WARNING)
    with Isolation().inside():
        logging.root.setLevel(logging.DEBUG)
        assert logger.isEnabledFor(logging.DEBUG)
    assert not logger.isEnabledFor(logging.DEBUG)


def test_warning_filters_are_put_back(restored) -> None:
    before = list(warnings.filters)
    with Isolation().inside():
        warnings.simplefilter("ignore")
    assert list(warnings.filters) == before


def test_a_library_that_the_foreign_code_loads_first_is_left_as_if_fresh() -> None:
    script = (
        "from mlff_distiller.potentials.isolation import Isolation\n"
        "import sys\n"
        "assert 'torch' not in sys.modules\n"
        "isolation = Isolation()\n"
        "with isolation.inside():\n"
        "    import torch\n"
        "    torch.set_default_dtype(torch.float64)\n"
        "    torch.set_grad_enabled(False)\n"
        "print(torch.get_default_dtype(), torch.is_grad_enabled())\n"
        "with isolation.inside():\n"
        "    print(torch.get_default_dtype(), torch.is_grad_enabled())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["torch.float32", "True", "torch.float64", "False"]


def test_every_setting_has_a_name_of_its_own() -> None:
    assert len({setting.name for setting in SETTINGS}) == len(SETTINGS)
