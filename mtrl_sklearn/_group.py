"""Ranks: the processes of a `torch.distributed` group, which share a fit.

Each rank has some of the rows. Outside of a group, and in one of a single process,
there is one rank with all of them: nothing is sent, and functions return what they get.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist

T = TypeVar("T")

# Of a thread: fits in another one go on with the other ranks.
_is_alone: ContextVar[bool] = ContextVar("is_alone", default=False)


@contextmanager
def alone() -> Iterator[None]:
    """Work of this process that no other one takes part in, fits included.

    What measures representations trains some on the way. It may be called on one rank,
    or on all of them with tasks of their own, and would wait for the others forever.
    """
    token = _is_alone.set(True)
    try:
        yield
    finally:
        _is_alone.reset(token)


def n_ranks() -> int:
    """Number of ranks that share what is done here."""
    if _is_alone.get() or not dist.is_available() or not dist.is_initialized():
        return 1
    return dist.get_world_size()


def is_first() -> bool:
    """Whether this is the rank that writes files and shows progress."""
    return n_ranks() == 1 or dist.get_rank() == 0


def gather(value: T) -> list[T]:
    """The values of all ranks, in their order."""
    if n_ranks() == 1:
        return [value]
    values: list[Any] = [None] * n_ranks()
    with _contact():
        dist.all_gather_object(values, value)
    return values


def from_first(value: T) -> T:
    """The value of the first rank."""
    if n_ranks() == 1:
        return value
    values: list[Any] = [value]
    with _contact():
        dist.broadcast_object_list(values)
    return values[0]


def sum_over_ranks(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Sums of the tensors of all ranks, sent together.

    They get the dtype of the first one, and are the same bit for bit on all ranks.
    """
    if n_ranks() == 1:
        return tensors
    first = tensors[0]
    sums = torch.cat([tensor.reshape(-1).to(first.dtype) for tensor in tensors])
    on_gpu = dist.get_backend() == "nccl"
    with _contact():
        sums = sums.cuda() if on_gpu else sums
        dist.all_reduce(sums)
    parts = sums.to(first.device).split([tensor.numel() for tensor in tensors])
    return tuple(part.view(tensor.shape) for part, tensor in zip(parts, tensors))


@contextmanager
def together() -> Iterator[None]:
    """Local work, with nothing sent in it, that fails on all ranks if it does on one.

    Raises
    ------
    ValueError
        On the ranks where it did not fail: with the message of one where it did.
    """
    error = None
    try:
        yield
    except Exception as raised:
        if n_ranks() == 1:
            raise
        error = raised
    if n_ranks() == 1:
        return
    messages = gather(None if error is None else f"{type(error).__name__}: {error}")
    if error is not None:
        raise error
    for rank, message in enumerate(messages):
        if message is not None:
            raise ValueError(
                f"fit failed on rank {rank} of {n_ranks()}, and so on all of them: "
                f"{message}"
            )


def check_same(values: Mapping[str, Any]) -> None:
    """Refuse values, each with its name and a proper ``repr``, that ranks differ in."""
    if n_ranks() == 1:  # names of features may be many to write out
        return
    first, *others = gather({name: show(value) for name, value in values.items()})
    for rank, other in enumerate(others, start=1):
        for name, value in first.items():
            if other[name] != value:
                raise ValueError(
                    f"All ranks should have the same for {name}, got {value} on rank 0 "
                    f"and {other[name]} on rank {rank}. Pass the same everywhere."
                )


def show(value: Any) -> str:
    """As ``repr``, where numpy's numbers and Python's look alike."""
    return repr(value.item() if isinstance(value, np.generic) else value)


class Shard(NamedTuple):
    """The rows that are here, among those of all ranks one after the other."""

    start: int
    n_here: int
    n_rows: int  # of all ranks


def locate_rows(n_here: int) -> Shard:
    """Where the rows of this rank are among those of all."""
    counts = gather(n_here)
    rank = 0 if n_ranks() == 1 else dist.get_rank()
    return Shard(sum(counts[:rank]), n_here, sum(counts))


class Share(NamedTuple):
    """Which rows of a batch are here."""

    n_rows: int  # rows of the batch on all ranks
    places: Tensor | slice = slice(None)  # of those that are here, within the batch


@contextmanager
def _contact() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError(
            f"Rank {dist.get_rank()} of {n_ranks()} lost contact with the others: one "
            "has died, or is at other work. Start all of them again, with the same "
            "calls in the same order; with checkpoint=, fit goes on where it was. "
            f"({str(error).splitlines()[0]})"
        ) from error
