"""Isolation: settings of the process that foreign code changes are put back."""

import gc
import logging
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

Values = dict[str, Any]

_ABSENT: Final = object()


@dataclass(frozen=True)
class Setting:
    """One setting of the whole process.

    Parameters
    ----------
    name : str
        As a message would call it.
    read : callable
        Returns its value, in a form that can be compared.
    apply : callable
        Sets it.
    module : str
        The library that must be loaded for the setting to exist.
    fresh : object
        Its value right after the library was loaded, for a library that the foreign code was first to load.
    """

    name: str
    read: Callable[[], Any]
    apply: Callable[[Any], None]
    module: str = "os"
    fresh: Any = _ABSENT

    @property
    def exists(self) -> bool:
        """Whether its library is loaded."""
        return self.module in sys.modules


def _set_environment(environment: dict[str, str]) -> None:
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    for name, value in environment.items():
        if os.environ.get(name) != value:  # setting one takes a while, and most are as they were
            os.environ[name] = value


def _root_logger() -> tuple[Any, ...]:
    return logging.root.level, logging.root.disabled, *logging.root.handlers


def _set_root_logger(state: tuple[Any, ...]) -> None:
    level, logging.root.disabled, *logging.root.handlers = state
    logging.root.setLevel(level)  # also makes loggers forget what they found enabled


def _directory() -> str | None:
    """Return the working directory; None where it has been deleted."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def _set_directory(place: str | None) -> None:
    if place is not None:
        with suppress(OSError):  # it may be gone by now, and then nobody can work there
            os.chdir(place)


def _numpy_random() -> tuple[Any, ...]:
    name, keys, *others = np.random.get_state()  # noqa: NPY002 - foreign code may use the global state: it is kept
    return name, np.asarray(keys).tobytes(), *others


def _set_numpy_random(state: tuple[Any, ...]) -> None:
    name, keys, *others = state
    np.random.set_state((name, np.frombuffer(keys, dtype=np.uint32), *others))  # noqa: NPY002


def _torch() -> Any:
    return sys.modules["torch"]


def _jax() -> Any:
    return sys.modules["jax"].config


def _set_torch_random(state: bytes) -> None:
    torch = _torch()
    torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))


def _set_jax(option: str) -> Callable[[Any], None]:
    return lambda value: _jax().update(option, value)


SETTINGS: Final = (
    Setting("environment variables", lambda: dict(os.environ), _set_environment),
    Setting("working directory", _directory, _set_directory),
    Setting("root logger", _root_logger, _set_root_logger),
    Setting("garbage collection", gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
    Setting("random state of Python", random.getstate, random.setstate),
    Setting("random state of NumPy", _numpy_random, _set_numpy_random),
    Setting("error handling of NumPy", np.geterr, lambda value: np.seterr(**value) and None),
    Setting(
        "torch's default dtype",
        lambda: str(_torch().get_default_dtype()).removeprefix("torch."),
        lambda value: _torch().set_default_dtype(getattr(_torch(), value)),
        "torch",
        "float32",
    ),
    Setting(
        "torch's default device",
        lambda: str(_torch().get_default_device()),
        lambda value: _torch().set_default_device(None if value == "cpu" else value),
        "torch",
        "cpu",
    ),
    Setting("torch's threads", lambda: _torch().get_num_threads(), lambda n: _torch().set_num_threads(n), "torch"),
    Setting(
        "torch's gradient mode",
        lambda: _torch().is_grad_enabled(),
        lambda value: _torch().set_grad_enabled(value) and None,
        "torch",
        True,
    ),
    Setting(
        "torch's deterministic algorithms",
        lambda: _torch().are_deterministic_algorithms_enabled(),
        lambda value: _torch().use_deterministic_algorithms(value),
        "torch",
        False,
    ),
    Setting(
        "torch's matmul precision",
        lambda: _torch().get_float32_matmul_precision(),
        lambda value: _torch().set_float32_matmul_precision(value),
        "torch",
        "highest",
    ),
    Setting(
        "random state of torch", lambda: bytes(_torch().get_rng_state().numpy().tobytes()), _set_torch_random, "torch"
    ),
    Setting("JAX's 64-bit mode", lambda: _jax().jax_enable_x64, _set_jax("jax_enable_x64"), "jax", False),
    Setting(
        "JAX's matmul precision",
        lambda: _jax().jax_default_matmul_precision,
        _set_jax("jax_default_matmul_precision"),
        "jax",
        None,
    ),
    Setting("JAX's check for NaN", lambda: _jax().jax_debug_nans, _set_jax("jax_debug_nans"), "jax", False),
)
"""Everything that is put back. Warning filters are too, by Python's own means."""


def read() -> Values:
    """Return the value of every setting that exists.

    Examples
    --------
    >>> read()["working directory"] == os.getcwd()
    True
    """
    return {setting.name: setting.read() for setting in SETTINGS if setting.exists}


def apply(wanted: Values, now: Values) -> None:
    """Set what is not as it should be; libraries that were loaded since are set as if they were fresh.

    Parameters
    ----------
    wanted : dict
        From :func:`read`, or some of it.
    now : dict
        What :func:`read` returns now; the caller has it, and reading takes longer than all the rest.
    """
    for setting in SETTINGS:
        value = wanted.get(setting.name, setting.fresh)
        if setting.name in now and value is not _ABSENT and now[setting.name] != value:
            setting.apply(value)


def changed(before: Values, now: Values | None = None) -> list[str]:
    """Return the names of the settings that are not what they were.

    Examples
    --------
    >>> before = read()
    >>> _ = random.random()
    >>> changed(before)
    ['random state of Python']
    """
    now = read() if now is None else now
    fresh = {setting.name: setting.fresh for setting in SETTINGS}
    was = {name: before.get(name, fresh[name]) for name in now}
    return [name for name, value in was.items() if value is not _ABSENT and value != now[name]]


class Isolation:
    """Keeps what foreign code does to the settings of the process inside its own calls.

    Covered are :data:`SETTINGS` and warning filters. The foreign code finds what it has changed again when it is next
    called, and in all else follows the caller.

    Examples
    --------
    >>> isolation = Isolation()
    >>> with isolation.inside():
    ...     os.environ["MODEL_CACHE"] = "/somewhere"
    >>> "MODEL_CACHE" in os.environ
    False
    >>> with isolation.inside():
    ...     os.environ["MODEL_CACHE"]
    '/somewhere'
    """

    def __init__(self) -> None:
        self._own: Values = {}  # what the foreign code has ever changed; in all else it follows the caller

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Run the block with the foreign settings and put the caller's back, also after an exception."""
        outer = read()
        try:
            apply({**outer, **self._own}, outer)
            with warnings.catch_warnings():
                yield
        finally:
            now = read()
            self._own = {name: now[name] for name in {*self._own, *changed(outer, now)}}
            apply(outer, now)
