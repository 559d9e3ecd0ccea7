"""How many threads work runs on.

For small problems a second one gains nothing, and beside a busy process it costs a lot:
threads of one product wait for each other. In a forked process it never answers.
"""

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from threadpoolctl import ThreadpoolController

# What is done in fewer operations than this runs on one thread.
ONE_THREAD_OPERATIONS = 1e8

# The process that imported this module, as `fork_safe` says; a fork has another number.
FIRST_PROCESS = os.getpid()


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


def torch_threads(operations: float) -> AbstractContextManager:
    """Context for work of torch of so many operations at a time, in this thread."""
    if operations >= ONE_THREAD_OPERATIONS:
        return nullcontext()
    torch.get_num_threads()  # the first call in a thread sets their number
    return _controller().select(user_api="openmp").limit(limits=1)


def blas_threads(operations: float) -> AbstractContextManager:
    """Context for work of scipy of so many operations.

    Threads of BLAS are those of the process: of several threads in such a context the
    first to come sets their number and restores it, the others have no say.
    """
    if operations >= ONE_THREAD_OPERATIONS:
        return nullcontext()
    return _controller().select(user_api="blas").limit(limits=1)


def one_thread() -> AbstractContextManager:
    """Context for work of this thread that no other one helps with."""
    torch.get_num_threads()  # the first call in a thread sets their number
    return _controller().limit(limits=1)
