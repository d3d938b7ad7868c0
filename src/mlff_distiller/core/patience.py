"""A word to those who wait, without the console's library, which plain calls never load."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def patience(text: str, *, after_s: float = 2.0) -> Iterator[None]:
    """Say one line on standard error if what is done meanwhile takes longer than ``after_s`` seconds.

    Examples
    --------
    >>> with patience("compiling, half a minute the first time"):
    ...     pass
    """
    timer = threading.Timer(after_s, print, [text], {"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
