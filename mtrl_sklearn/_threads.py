"""Threads for small problems: a second one gains nothing there.

Beside a busy process it costs a lot: threads of one product wait for each other.
"""

import functools
from contextlib import AbstractContextManager, nullcontext

from threadpoolctl import ThreadpoolController

# What is done in fewer operations than this runs on one thread.
ONE_THREAD_OPERATIONS = 1e8


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # takes milliseconds to find all libraries


def threads_for(operations: float) -> AbstractContextManager:
    """Context for work of so many operations at a time."""
    if operations >= ONE_THREAD_OPERATIONS:
        return nullcontext()
    return _controller().limit(limits=1)
