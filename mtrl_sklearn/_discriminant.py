"""Linear discriminants of all tasks on shared hidden features, in closed form."""

from typing import NamedTuple

import torch
from torch import Tensor

# Share of the identity in the covariance of the hidden features.
SHRINKAGE = 0.05


class ClassMoments(NamedTuple):
    """Sums over labels from which the heads of every task follow."""

    second: Tensor  # (n_hidden, n_hidden), products of features over all labels
    positive: Tensor  # (n_tasks, n_hidden), features over labels of the positive class
    negative: Tensor  # (n_tasks, n_hidden)
    n_positive: Tensor  # (n_tasks,)
    n_negative: Tensor  # (n_tasks,)


def class_moments(hidden: Tensor, signs: Tensor) -> ClassMoments:
    """Moments of hidden features (n, n_hidden) with signs (n, n_tasks)."""
    positive = (signs > 0).to(hidden.dtype)
    negative = (signs < 0).to(hidden.dtype)
    n_labels = positive.sum(1) + negative.sum(1)
    return ClassMoments(
        hidden.T @ (hidden * n_labels[:, None]),
        positive.T @ hidden,
        negative.T @ hidden,
        positive.sum(0),
        negative.sum(0),
    )


def add_moments(first: ClassMoments, second: ClassMoments) -> ClassMoments:
    """Moments of the labels of both."""
    return ClassMoments(*(a + b for a, b in zip(first, second)))


def discriminant_heads(
    moments: ClassMoments, log_odds: Tensor
) -> tuple[Tensor, Tensor]:
    """Discriminant ``A_t = C^-1 (mu_t+ - mu_t-)`` of every task.

    C is the covariance of the hidden features within classes, pooled over all tasks and
    shrunk towards a multiple of the identity. The intercept puts the threshold half-way
    between the classes and adds the log-odds of the labels. A task that lacks a class
    gets coefficients of 0.

    Returns
    -------
    task_coef : Tensor of shape (n_tasks, n_hidden)
    task_intercept : Tensor of shape (n_tasks,)
    """
    n_positive, n_negative = moments.n_positive, moments.n_negative
    centre_positive = moments.positive / n_positive.clamp(min=1)[:, None]
    centre_negative = moments.negative / n_negative.clamp(min=1)[:, None]
    between = centre_positive.T @ moments.positive
    between += centre_negative.T @ moments.negative
    n_labels = (n_positive.sum() + n_negative.sum()).clamp(min=1)
    covariance = (moments.second - between) / n_labels
    floor = torch.finfo(covariance.dtype).eps * (1 + moments.second.abs().max())
    ridge = SHRINKAGE * covariance.diagonal().mean().clamp(min=0) + floor / n_labels
    covariance *= 1 - SHRINKAGE
    covariance.diagonal().add_(ridge)

    usable = (n_positive > 0) & (n_negative > 0)
    gap = torch.where(usable[:, None], centre_positive - centre_negative, 0)
    task_coef = torch.linalg.solve(covariance, gap.T).T.contiguous()
    midpoint = (centre_positive + centre_negative) / 2
    return task_coef, log_odds - (midpoint * task_coef).sum(1)
