"""Interruption: a training that is told to end finishes the step it is in."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_REQUESTS = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C; schedulers and torchrun


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether the process was asked to end, by Ctrl-C or SIGTERM, within the block.

    The first request is only noted; a second one acts at once, as it would outside the block. Requests that the process
    ignores stay ignored; in a thread other than the main one, which gets no signals, nothing changes.

    Examples
    --------
    >>> import os
    >>> with stop_requests() as asked:
    ...     os.kill(os.getpid(), signal.SIGTERM)
    ...     print(asked())
    True
    """
    earlier: dict[int, Any] = {}
    seen = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        """Note the first request, and let the next one act."""
        seen.set()
        for each, handler in earlier.items():
            signal.signal(each, handler)

    if threading.current_thread() is threading.main_thread():
        earlier = {n: h for n in _REQUESTS if (h := signal.getsignal(n)) not in (signal.SIG_IGN, None)}
    for number in earlier:
        signal.signal(number, note)
    try:
        yield seen.is_set
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
