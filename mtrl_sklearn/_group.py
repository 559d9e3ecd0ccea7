"""The processes that fit together: a `torch.distributed` group, or one process alone.

A fit takes its `Group` once, at its start, and hands it on. Code without a group in its
hands cannot send anything.
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
_fits_alone: ContextVar[bool] = ContextVar("fits_alone", default=False)


class Shard(NamedTuple):
    """The rows that are here, among those of all ranks one after the other."""

    start: int
    n_here: int
    n_rows: int  # of all ranks

    @property
    def part(self) -> "BatchPart":
        """Which of the rows of all ranks are here."""
        return BatchPart(self.n_rows, slice(self.start, self.start + self.n_here))


class BatchPart(NamedTuple):
    """Which rows of a batch are here, where rows that are the same may count as one."""

    n_rows: int  # rows of the batch on all ranks, without copies
    # Of those that are here, within the batch.
    places: Tensor | np.ndarray | slice = slice(None)


class Group:
    """One process that has all rows: nothing is sent, and it gets back what it gives.

    `Ranks` does the same with several processes, each of which has some of the rows.
    """

    n_ranks = 1
    rank = 0

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes files and shows progress."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, in their order."""
        return [value]

    def from_first(self, value: T) -> T:
        """The value of the first rank."""
        return value

    def sum(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Sums of the tensors of all ranks, sent together.

        They get the dtype of the first one, and are the same bit for bit on all ranks.
        """
        return tensors

    @contextmanager
    def together(self) -> Iterator[None]:
        """Local work that sends nothing, and fails on all ranks if it does on one.

        Raises
        ------
        ValueError
            On the ranks where it did not fail: with the message of one where it did.
        """
        yield

    def check_same(self, values: Mapping[str, Any]) -> None:
        """Refuse values that ranks differ in, each with its name and a proper repr."""

    def locate_rows(self, n_here: int) -> Shard:
        """Where the rows of this rank are among those of all."""
        counts = self.gather(n_here)
        return Shard(sum(counts[: self.rank]), n_here, sum(counts))


ALONE = Group()


class Ranks(Group):
    """The processes of the default group of `torch.distributed`, called ranks."""

    def __init__(self) -> None:
        self.n_ranks = dist.get_world_size()
        self.rank = dist.get_rank()

    def gather(self, value: T) -> list[T]:
        values: list[Any] = [None] * self.n_ranks
        with self._contact():
            dist.all_gather_object(values, value)
        return values

    def from_first(self, value: T) -> T:
        values: list[Any] = [value]
        with self._contact():
            dist.broadcast_object_list(values)
        return values[0]

    def sum(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        first = tensors[0]
        sums = torch.cat([tensor.reshape(-1).to(first.dtype) for tensor in tensors])
        on_gpu = dist.get_backend() == "nccl"
        with self._contact():
            sums = sums.cuda() if on_gpu else sums
            dist.all_reduce(sums)
        parts = sums.to(first.device).split([tensor.numel() for tensor in tensors])
        return tuple(part.view(tensor.shape) for part, tensor in zip(parts, tensors))

    @contextmanager
    def together(self) -> Iterator[None]:
        error = None
        try:
            yield
        except Exception as raised:
            error = raised
        messages = self.gather(
            None if error is None else f"{type(error).__name__}: {error}"
        )
        if error is not None:
            raise error
        for rank, message in enumerate(messages):
            if message is not None:
                raise ValueError(
                    f"fit failed on rank {rank} of {self.n_ranks}, and so on all of "
                    f"them: {message}"
                )

    def check_same(self, values: Mapping[str, Any]) -> None:
        first, *others = self.gather({name: show(v) for name, v in values.items()})
        for rank, other in enumerate(others, start=1):
            for name, value in first.items():
                if other[name] != value:
                    raise ValueError(
                        f"All ranks should have the same for {name}, got {value} on "
                        f"rank 0 and {other[name]} on rank {rank}. Pass the same "
                        "everywhere."
                    )

    @contextmanager
    def _contact(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise ConnectionError(
                f"Rank {self.rank} of {self.n_ranks} lost contact with the others: one "
                "has died, or is at other work. Start all of them again, with the same "
                "calls in the same order; with checkpoint=, fit goes on where it was. "
                f"({str(error).splitlines()[0]})"
            ) from error


def current_group() -> Group:
    """The group that a fit which starts now belongs to."""
    if _fits_alone.get() or not dist.is_available() or not dist.is_initialized():
        return ALONE
    return Ranks() if dist.get_world_size() > 1 else ALONE


@contextmanager
def alone() -> Iterator[None]:
    """Make fits that start inside take part in no group.

    What measures representations trains some on the way. It may be called on one rank,
    or on all of them with tasks of their own, and would wait for the others forever.
    """
    token = _fits_alone.set(True)
    try:
        yield
    finally:
        _fits_alone.reset(token)


def show(value: Any) -> str:
    """As ``repr``, where numpy's numbers and Python's look alike."""
    return repr(value.item() if isinstance(value, np.generic) else value)
