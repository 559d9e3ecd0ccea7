"""How much memory of its own a block of code takes at most."""

import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

STATUS = Path("/proc/self/status")
needs_status = pytest.mark.skipif(not STATUS.exists(), reason="needs Linux")


def anonymous_bytes():
    """Memory of this process that no file backs."""
    lines = STATUS.read_text().splitlines()
    (size,) = (line.split()[1] for line in lines if line.startswith("RssAnon"))
    return 1024 * int(size)


class Growth:
    peak = 0


@contextmanager
def growth_of_memory():
    """``growth.peak``: bytes beyond those at the start, sampled in the block."""
    growth, start, done = Growth(), anonymous_bytes(), threading.Event()

    def sample():
        while not done.is_set():
            growth.peak = max(growth.peak, anonymous_bytes() - start)
            time.sleep(0.002)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield growth
    finally:
        done.set()
        thread.join()
