"""Threads for small problems: a second one gains nothing there.

Beside a busy process it costs a lot: threads of one product wait for each other.
"""

import functools
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from threadpoolctl import ThreadpoolController

# What is done in fewer operations than this runs on one thread.
ONE_THREAD_OPERATIONS = 1e8


class SharedContext:
    """A setting of the whole process, while any of its threads is in the context.

    The first thread to come makes it and the last one to leave undoes it.

    Parameters
    ----------
    make : callable
        Returns a context manager that makes the setting and undoes it.
    """

    def __init__(self, make: Callable[[], AbstractContextManager]):
        self.make = make
        self._forget_threads()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget_threads)

    def _forget_threads(self) -> None:
        """Start without any: a fork leaves all threads behind but one."""
        self.lock = threading.Lock()
        self.n_inside = 0

    def __enter__(self) -> None:
        with self.lock:
            if self.n_inside == 0:
                self.setting = self.make()
                self.setting.__enter__()
            self.n_inside += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.n_inside -= 1
            if self.n_inside == 0:
                self.setting.__exit__(None, None, None)


def _use_one_thread() -> None:
    """In a forked process: to ask for the threads that its parent had hangs."""
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_use_one_thread)


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # takes milliseconds to find all libraries


_one_thread_of_blas = SharedContext(
    lambda: _controller().select(user_api="blas").limit(limits=1)
)


def torch_threads(operations: float) -> AbstractContextManager:
    """Context for work of torch of so many operations at a time, in this thread."""
    if operations >= ONE_THREAD_OPERATIONS:
        return nullcontext()
    torch.get_num_threads()  # the first call in a thread sets their number
    return _controller().select(user_api="openmp").limit(limits=1)


def blas_threads(operations: float) -> AbstractContextManager:
    """Context for work of scipy of so many operations."""
    return nullcontext() if operations >= ONE_THREAD_OPERATIONS else _one_thread_of_blas
