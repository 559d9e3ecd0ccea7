"""Linear discriminants of all tasks on shared hidden features, in closed form."""

from typing import NamedTuple

import torch
from torch import Tensor

from mtrl_sklearn._arrays.products import (
    add_transposed_,
    column_sums,
    entries,
    row_sums,
    with_values,
)

# Share of the identity in the covariance of the hidden features.
SHRINKAGE = 0.05

# Features whose products are computed together: of a symmetric matrix the rest follows.
AT_ONCE = 128


class ClassMoments(NamedTuple):
    """Sums over labels from which the heads of every task follow."""

    second: Tensor  # (n_hidden, n_hidden), products of features over all labels
    positive: Tensor  # (n_tasks, n_hidden), features over labels of the positive class
    negative: Tensor  # (n_tasks, n_hidden)
    n_positive: Tensor  # (n_tasks,)
    n_negative: Tensor  # (n_tasks,)


def no_moments(n_tasks: int, n_hidden: int, device: torch.device | str) -> ClassMoments:
    """Moments of no label: in float64, since heads are differences of large sums."""
    of_class, counts = (n_tasks, n_hidden), (n_tasks,)
    shapes = ((n_hidden, n_hidden), of_class, of_class, counts, counts)
    nothing = torch.zeros(0, dtype=torch.float64, device=device)
    return ClassMoments(*(nothing.new_zeros(shape) for shape in shapes))


def add_labels(
    moments: ClassMoments, hidden: Tensor, signs: Tensor, with_second: bool = True
) -> None:
    """Add labels to moments, in place.

    Products are computed in the dtype of the features, sums in that of the moments.

    Parameters
    ----------
    moments : ClassMoments
    hidden : Tensor of shape (n, n_hidden)
    signs : Tensor of shape (n, n_tasks)
        Dense or CSR, times the weights of labels if these have any.
    with_second : bool, default=True
        Whether products of features are added, too.
    """
    exact = moments.second.dtype
    for sign, total, count in (
        (1, moments.positive, moments.n_positive),
        (-1, moments.negative, moments.n_negative),
    ):
        weights = (sign * entries(signs)).clamp(min=0)
        of_class = with_values(signs, weights.to(hidden.dtype))
        add_transposed_(total, of_class, hidden)
        count += column_sums(with_values(signs, weights.to(exact)))
    if not with_second:
        return
    n_labels = row_sums(with_values(signs, entries(signs).abs().to(exact)))
    weighted = hidden * n_labels.to(hidden.dtype)[:, None]
    for start in range(0, hidden.shape[1], AT_ONCE):
        stop = start + AT_ONCE
        rows = moments.second[start:stop]
        rows[:, start:] += hidden[:, start:stop].T @ weighted[:, start:]
        moments.second[stop:, start:stop] = rows[:, stop:].T


def centre_of_all(moments: ClassMoments) -> Tensor:
    """Mean feature over all labels, of shape (n_hidden,)."""
    total = moments.positive.sum(0) + moments.negative.sum(0)
    return total / _divisor(moments.n_positive.sum() + moments.n_negative.sum())


def complete_moments(
    moments: ClassMoments, sample: ClassMoments, origin: Tensor
) -> ClassMoments:
    """Moments of all labels with second ones, of which a sample of labels tells.

    The sample says how features scatter around the centres of their classes, which are
    those of all labels. Of all labels as the sample the result is exact.

    Parameters
    ----------
    moments : ClassMoments
        Of all labels, without second ones.
    sample : ClassMoments
        Of the features of some of the labels less the origin.
    origin : Tensor of shape (n_hidden,)
    """
    scatter, between = sample.second, torch.zeros_like(sample.second)
    for total, count, part, n_part in (
        (moments.positive, moments.n_positive, sample.positive, sample.n_positive),
        (moments.negative, moments.n_negative, sample.negative, sample.n_negative),
    ):
        centre = total / _divisor(count)[:, None]
        between += centre.T @ total
        centre -= origin
        cross = centre.T @ (part - centre * (n_part / 2)[:, None])
        scatter = scatter - cross - cross.T
    n_labels = (moments.n_positive + moments.n_negative).sum()
    n_drawn = (sample.n_positive + sample.n_negative).sum()
    return moments._replace(second=between + scatter * (n_labels / _divisor(n_drawn)))


def discriminant_heads(
    moments: ClassMoments, log_odds: Tensor
) -> tuple[Tensor, Tensor]:
    """Discriminant ``A_t = C^-1 (mu_t+ - mu_t-)`` of every task.

    C is the covariance of the hidden features within classes, pooled over all tasks and
    shrunk towards a multiple of the identity. The intercept puts the threshold half-way
    between the classes and adds the log-odds of the labels. A task that lacks a class
    gets coefficients of 0.

    Parameters
    ----------
    moments : ClassMoments
    log_odds : Tensor of shape (n_tasks,)
        Of the dtype that hidden features were computed in, and heads get.

    Returns
    -------
    task_coef : Tensor of shape (n_tasks, n_hidden)
    task_intercept : Tensor of shape (n_tasks,)
    """
    n_positive, n_negative = moments.n_positive, moments.n_negative
    centre_positive = moments.positive / _divisor(n_positive)[:, None]
    centre_negative = moments.negative / _divisor(n_negative)[:, None]
    between = centre_positive.T @ moments.positive
    between += centre_negative.T @ moments.negative
    n_labels = _divisor(n_positive.sum() + n_negative.sum())
    covariance = (moments.second - between) / n_labels
    floor = torch.finfo(log_odds.dtype).eps * (1 + moments.second.abs().max())
    ridge = SHRINKAGE * covariance.diagonal().mean().clamp(min=0) + floor / n_labels
    covariance *= 1 - SHRINKAGE
    covariance.diagonal().add_(ridge)

    usable = (n_positive > 0) & (n_negative > 0)
    gap = torch.where(usable[:, None], centre_positive - centre_negative, 0)
    task_coef = torch.linalg.solve(covariance, gap.T).T.contiguous()
    midpoint = (centre_positive + centre_negative) / 2
    intercept = log_odds - (midpoint * task_coef).sum(1)
    return task_coef.to(log_odds.dtype), intercept.to(log_odds.dtype)


def _divisor(totals: Tensor) -> Tensor:
    """Totals of weights, 1 where there are none."""
    return torch.where(totals > 0, totals, 1)
