"""Memory of this process, as Linux counts it, and the clock that it is timed by."""

import contextlib
import os
import threading
import time
from pathlib import Path

CLOCK = "MTRL_BENCH_CLOCK"  # where processes read which clock to use
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def clock():
    """Seconds of the clock that the environment names."""
    return CLOCKS[os.environ.get(CLOCK, "wall")]()


def read_status(field):
    """Bytes of a field of ``/proc/self/status``, such as VmRSS, VmHWM or RssAnon."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc/self/status has no field {field!r}.")


def reset_peak():
    """Let VmHWM start anew from what is resident now, where the system allows it."""
    with contextlib.suppress(PermissionError):
        Path("/proc/self/clear_refs").write_text("5")


class AnonymousPeak:
    """Highest RssAnon while the block runs, looked at by a thread every 5 ms.

    Pages of a memory map count towards VmHWM as long as they are cached, though the
    system may drop them at any time: RssAnon is what the process itself holds.
    """

    def __enter__(self):
        self.bytes = read_status("RssAnon")
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self):
        while not self._done.wait(0.005):
            self.bytes = max(self.bytes, read_status("RssAnon"))

    def __exit__(self, *exception):
        self._done.set()
        self._thread.join()
