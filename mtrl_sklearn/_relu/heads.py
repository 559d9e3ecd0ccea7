"""Heads of a batch: those of all tasks, or only of the tasks that have labels in it."""

from typing import NamedTuple

import torch
from torch import Tensor

from mtrl_sklearn._arrays.products import csr_tensor, is_sparse
from mtrl_sklearn._group import ALONE, Group
from mtrl_sklearn._relu.network import TwoLayerReLU
from mtrl_sklearn._training.adamw import LazyAdamW

# Heads are gathered for a batch, and its update kept to them, where at most this share
# of the tasks can have labels in it.
MAX_SHARE = 0.25


class BatchHeads(NamedTuple):
    """The heads that a batch trains, as rows of the two parameters that hold all."""

    whole: tuple[Tensor, Tensor]  # (n_tasks, n_hidden) and (n_tasks,), parameters
    signs: Tensor  # (n_samples, n_heads), dense or CSR
    tasks: Tensor | None  # (n_heads,), which ones; None is all
    optimizer: LazyAdamW

    def current(self) -> tuple[Tensor, Tensor]:
        """Coefficients and intercepts of these heads as they are now."""
        if self.tasks is None:
            return self.whole
        coef, intercept = (self.optimizer.check_out(p, self.tasks) for p in self.whole)
        return coef, intercept

    def expand(self, gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Gradients of the whole parameters, sparse where some heads have none."""
        if self.tasks is None:
            return gradients
        return tuple(
            torch.sparse_coo_tensor(
                self.tasks[None],
                gradient,
                parameter.shape,
                check_invariants=False,
                is_coalesced=True,
            )
            for gradient, parameter in zip(gradients, self.whole)
        )


def select_heads(
    module: TwoLayerReLU,
    optimizer: LazyAdamW,
    signs: Tensor,
    take_all: bool = False,
    group: Group = ALONE,
) -> BatchHeads:
    """Find the heads that signs (n_samples, n_tasks) ask for, or take all of them.

    Ranks take the same ones: those that the signs of any of them ask for.
    """
    whole = (module.task_coef, module.task_intercept)
    tasks = None
    if is_sparse(signs) and not take_all:
        columns, crow = signs.col_indices(), signs.crow_indices()
        n_tasks, n_labels = signs.shape[1], len(columns)
        if group.n_ranks > 1:
            (counts,) = group.sum(columns.bincount(minlength=n_tasks))
            n_labels = int(counts.sum())
        if n_labels <= MAX_SHARE * n_tasks:
            if group.n_ranks > 1:
                tasks = counts.nonzero()[:, 0]
                places = torch.searchsorted(tasks, columns)
            else:
                tasks, places = columns.unique(return_inverse=True)
            shape = (signs.shape[0], len(tasks))
            signs = csr_tensor(crow, places.to(crow.dtype), signs.values(), shape)
            tasks = tasks.long()
    if tasks is None:
        for parameter in whole:
            optimizer.refresh(parameter)
    return BatchHeads(whole, signs, tasks, optimizer)
