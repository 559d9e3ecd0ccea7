"""Settings of the process that a fit makes, and leaves as they were."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from processes import METHODS, run
from threadpoolctl import OpenBLASController, threadpool_info, threadpool_limits

from mtrl_sklearn._arrays.precision import (
    _tf32,
    has_bfloat16_products,
    tf32_allowed,
)
from mtrl_sklearn._arrays.threads import (
    ONE_THREAD_OPERATIONS,
    SharedContext,
    blas_threads,
    one_thread,
    torch_threads,
)

SMALL, LARGE = ONE_THREAD_OPERATIONS / 2, ONE_THREAD_OPERATIONS * 2


pytestmark = [  # Python 3.12 warns of any fork beside threads
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
]


def n_blas_threads():
    np.ones((2, 2)) @ np.ones((2, 2))
    return {i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"}


def n_threads():
    return {torch.get_num_threads()} | n_blas_threads()


COUNTS = [{2}, {1}, {2}, {1}, {2}, {2}]


def count_threads():
    """Numbers of threads before, in, between, in and after contexts."""
    torch.set_num_threads(2)
    with threadpool_limits(2, user_api="blas"):
        counts = [n_threads()]
        with torch_threads(SMALL), blas_threads(SMALL):
            counts.append(n_threads())
        counts.append(n_threads())
        with one_thread():
            counts.append(n_threads())
        with torch_threads(LARGE), blas_threads(LARGE):
            counts.append(n_threads())
        counts.append(n_threads())
    return counts


def test_small_problems_run_on_one_thread_and_leave_no_trace():
    """In a process of its own: what other threads of it do would count as well."""
    assert run(METHODS[0], count_threads) == COUNTS


def enter():
    context = one_thread()
    context.__enter__()
    return context


def count_after_overlap(first_leaves_first):
    """As above, beside two threads that were in contexts at once and live on."""
    threadpool_limits(2, user_api="blas")
    OpenBLASController.clear_controlling_thread()  # so that others may set it
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        contexts = {thread: thread.submit(enter).result() for thread in (first, second)}
        inside = n_blas_threads()
        for thread in (first, second) if first_leaves_first else (second, first):
            thread.submit(contexts[thread].__exit__, None, None, None).result()
        return inside, n_blas_threads(), count_threads()


@pytest.mark.parametrize("first_leaves_first", [True, False])
def test_threads_that_overlap_leave_no_trace(first_leaves_first):
    found = run(METHODS[0], count_after_overlap, first_leaves_first)
    assert found == ({1}, {2}, COUNTS)


def test_threads_that_overlap_share_a_setting():
    log = []

    class Setting:
        def __enter__(self):
            log.append("made")

        def __exit__(self, *error):
            log.append("undone")

    shared = SharedContext(Setting)
    inside, leave = threading.Event(), threading.Event()

    def stay():
        with shared:
            inside.set()
            leave.wait(5)

    thread = threading.Thread(target=stay)
    thread.start()
    inside.wait(5)
    with shared:
        pass
    assert log == ["made"]  # the other one still needs it
    leave.set()
    thread.join()
    assert log == ["made", "undone"]
    with pytest.raises(KeyError), shared:
        raise KeyError
    assert log == ["made", "undone"] * 2


def test_tf32_is_a_matter_of_gpus():
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    for allow, device in ((True, "cpu"), (False, "cuda")):
        with tf32_allowed(allow, device):
            assert matmul.allow_tf32 == before
    with _tf32():
        assert matmul.allow_tf32
    assert matmul.allow_tf32 == before


AVX512 = {"avx2": True, "fma3": True, "avx512_f": True, "avx512_vnni": True}


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx2": True, "avx512_f": False, "avx512_bf16": False}, False),  # Zen 3
        (AVX512 | {"avx512_bf16": False, "amx_bf16": False}, False),  # Ice Lake
        (AVX512 | {"avx512_bf16": True, "amx_bf16": False}, True),  # Zen 4
        (AVX512 | {"avx512_bf16": True, "amx_bf16": True}, True),  # Sapphire Rapids
    ],
)
def test_products_of_bfloat16_are_those_of_the_hardware(
    monkeypatch, capabilities, expected
):
    """AVX-512 alone emulates them, many times slower than float32."""
    tell = {"get_capabilities": lambda: capabilities}
    monkeypatch.setattr(torch, "cpu", SimpleNamespace(**tell))
    assert has_bfloat16_products("cpu") is expected


def test_older_torch_does_not_tell_of_products_of_bfloat16(monkeypatch):
    monkeypatch.setattr(torch, "cpu", SimpleNamespace())
    assert has_bfloat16_products("cpu") is False
