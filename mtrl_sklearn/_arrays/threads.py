"""How many threads work runs on.

For small problems a second one gains nothing, and beside a busy process it costs a lot:
threads of one product wait for each other. In a forked process it never answers.
"""

import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from threadpoolctl import OpenBLASController, ThreadpoolController

# What is done in fewer operations than this runs on one thread.
ONE_THREAD_OPERATIONS = 1e8

# The process that imported this module, as `fork_safe` says; a fork has another number.
FIRST_PROCESS = os.getpid()


class _Inside:
    """The threads of one process that are in a context."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.n = 0
        self.setting: AbstractContextManager = nullcontext()


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
        self.inside: dict[int, _Inside] = {}

    def _of_this_process(self) -> _Inside:
        """A fork starts anew: threads of its parent are not there to leave."""
        return self.inside.setdefault(os.getpid(), _Inside())

    def __enter__(self) -> None:
        inside = self._of_this_process()
        with inside.lock:
            if inside.n == 0:
                inside.setting = self.make()
                inside.setting.__enter__()
            inside.n += 1

    def __exit__(self, *error: object) -> None:
        inside = self._of_this_process()
        with inside.lock:
            inside.n -= 1
            if inside.n == 0:
                inside.setting.__exit__(None, None, None)


@contextmanager
def fork_safe() -> Iterator[None]:
    """Context, or decorator, of all work of torch: in a forked process one thread.

    The thread that came through the fork would wait for threads of its parent, which
    are not there. Threads that were started since have no such past.

    A process counts as forked if it got this module from its parent. One that imports
    it after the fork does not, and may wait forever if its parent had run torch on
    several threads: nothing there tells what threads the parent had, and most forks
    that import the package themselves, such as workers of a server, may use their own.
    Import the package before the fork, or call ``torch.set_num_threads(1)`` after it.
    """
    is_first = os.getpid() == FIRST_PROCESS
    if is_first or threading.current_thread() is not threading.main_thread():
        yield
        return
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


@functools.cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # takes milliseconds to find all libraries


@contextmanager
def _limit_blas() -> Iterator[None]:
    """One thread of BLAS in the whole process.

    Any thread may undo it: threadpoolctl leaves that to the one that made a setting, as
    long as it lives.
    """
    limit = _controller().select(user_api="blas").limit(limits=1)
    OpenBLASController.clear_controlling_thread()
    try:
        yield
    finally:
        limit.restore_original_limits()
        OpenBLASController.clear_controlling_thread()


_one_thread_of_blas = SharedContext(_limit_blas)


def torch_threads(operations: float) -> AbstractContextManager:
    """Context for work of torch of so many operations at a time, in this thread."""
    if operations >= ONE_THREAD_OPERATIONS:
        return nullcontext()
    torch.get_num_threads()  # the first call in a thread sets their number
    return _controller().select(user_api="openmp").limit(limits=1)


def blas_threads(operations: float) -> AbstractContextManager:
    """Context for work of scipy of so many operations."""
    return nullcontext() if operations >= ONE_THREAD_OPERATIONS else _one_thread_of_blas


@contextmanager
def one_thread() -> Iterator[None]:
    """Context for work of this thread that no other one helps with."""
    with torch_threads(0), blas_threads(0):
        yield
