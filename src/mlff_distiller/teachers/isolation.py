"""Isolation: settings of the process that foreign code changes are put back."""

import os
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np


class Isolation:
    """Keeps what foreign code does to the process's global settings inside its own calls.

    Covered are torch's default dtype and thread count, the global random states of Python and NumPy, environment
    variables and warning filters. The foreign code finds its own settings again when it is next called.

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
        self._own: _Settings | None = None

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Run the block with the foreign settings and put the caller's back, also after an exception."""
        outer = _Settings.read()
        if self._own is not None:
            self._own.apply()
        try:
            with warnings.catch_warnings():
                yield
        finally:
            self._own = _Settings.read()
            outer.apply()


@dataclass(frozen=True)
class _Settings:
    environment: dict[str, str]
    python_random: Any
    numpy_random: Any
    dtype: Any  # of torch; None where torch is not loaded
    threads: int | None

    @classmethod
    def read(cls) -> Self:
        torch = sys.modules.get("torch")
        return cls(
            dict(os.environ),
            random.getstate(),
            np.random.get_state(),  # noqa: NPY002 - foreign code may use the global state, which is why it is kept
            torch.get_default_dtype() if torch else None,
            torch.get_num_threads() if torch else None,
        )

    def apply(self) -> None:
        if dict(os.environ) != self.environment:
            os.environ.clear()
            os.environ.update(self.environment)
        random.setstate(self.python_random)
        np.random.set_state(self.numpy_random)  # noqa: NPY002
        torch = sys.modules.get("torch")
        if torch is None:
            return
        wanted = self.dtype or torch.float32  # torch's own default, where the foreign code was first to load it
        if torch.get_default_dtype() != wanted:
            torch.set_default_dtype(wanted)
        if self.threads is not None and torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
