"""Functions compiled by numba, kept on disk where that is possible."""

from collections.abc import Callable
from typing import Any


def compiled(function: Callable[..., Any]) -> Any:
    """Return a function that numba compiles at its first call with arguments of new types.

    What it compiles is kept beside the source, or in the user's cache; where neither can be written, each process
    compiles anew. It runs without the interpreter's lock, and divides by zero as numpy does.

    Parameters
    ----------
    function : callable
        Loops over numpy arrays.

    Examples
    --------
    >>> def double(x):
    ...     for k in range(len(x)):
    ...         x[k] *= 2
    >>> compiled(double).__name__
    'double'
    """
    from numba import njit  # half a second that only those who compile should wait for

    settings = {"nogil": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **settings)(function)
    except RuntimeError:  # numba found no place that it may write to
        return njit(**settings)(function)
