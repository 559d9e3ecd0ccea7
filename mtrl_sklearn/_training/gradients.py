"""Gradients of linear heads, which both networks have."""

from typing import NamedTuple

from torch import Tensor

from mtrl_sklearn._arrays.products import column_sums, multiply_transposed


class HeadGradients(NamedTuple):
    """Gradient of the loss in the heads."""

    task_coef: Tensor  # (n_tasks, n_hidden)
    task_intercept: Tensor  # (n_tasks,)


def head_gradients(hidden: Tensor, scores_gradient: Tensor) -> HeadGradients:
    """Gradient in the heads, given that in the scores (n_samples, n_tasks)."""
    return HeadGradients(
        multiply_transposed(scores_gradient, hidden), column_sums(scores_gradient)
    )
