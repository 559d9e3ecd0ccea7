"""Losses: tensors in, value and gradient out.

Labels of many binary tasks come as signs: +1, -1, and 0 where nothing was observed. A
sign of 0 makes both the loss and its gradient vanish, whatever the score, so hidden
labels never change anything.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, softplus

from mtrl_sklearn._arrays.products import as_dtype, entries, is_sparse, with_values


class TaskLoss(NamedTuple):
    """Value of a loss and its gradient with respect to the scores."""

    value: Tensor  # scalar
    gradient: Tensor  # (n_samples, n_tasks)


class BatchLabels(NamedTuple):
    """Labels of a batch as losses need them: a margin is ``-opposite * score``."""

    signs: Tensor  # (n_samples, n_tasks), dense or CSR
    opposite: Tensor  # minus the signs, or of CSR ones minus what they store
    weighted: Tensor  # the same times the weight of each label


def logistic_value(scores: Tensor, labels: BatchLabels) -> Tensor:
    """Sum over labels of ``weight log(1 + exp(-sign score))``."""
    losses = softplus(labels.opposite * scores, threshold=40)
    return losses.mul_(labels.opposite).mul_(labels.weighted).sum()


def logistic_gradient(scores: Tensor, labels: BatchLabels) -> Tensor:
    return torch.sigmoid(labels.opposite * scores).mul_(labels.weighted)


def hinge_value(scores: Tensor, labels: BatchLabels) -> Tensor:
    """Sum over labels of ``weight max(0, 1 - sign score)``."""
    losses = (1 + labels.opposite * scores).clamp_(min=0)
    return losses.mul_(labels.opposite).mul_(labels.weighted).sum()


def hinge_gradient(scores: Tensor, labels: BatchLabels) -> Tensor:
    return labels.weighted * (labels.opposite * scores > -1)


LOSSES = {
    "logistic": (logistic_value, logistic_gradient),
    "hinge": (hinge_value, hinge_gradient),
}


class MultiTaskLoss(nn.Module):
    """A task loss and its task weights as a torch criterion.

    Values are means over the rows of a batch, those on other ranks included, of the
    weighted losses of labels, summed over what is here. Where signs are CSR, scores are
    those of the labels, in their order, and gradients are CSR, too.

    Parameters
    ----------
    loss : {"logistic", "hinge"}
    weights : Tensor of shape (n_tasks,)
    has_label_weights : bool, default=False
        Whether signs come times the weights of labels.
    """

    weights: Tensor

    def __init__(self, loss: str, weights: Tensor, has_label_weights: bool = False):
        super().__init__()
        self.loss = loss
        self.has_label_weights = has_label_weights
        self.register_buffer("weights", weights)

    def read(
        self, signs: Tensor, tasks: Tensor | None = None, n_rows: int | None = None
    ) -> BatchLabels:
        """Labels of a batch, with their weights.

        Parameters
        ----------
        signs : Tensor of shape (n_samples, n_tasks)
        tasks : Tensor of shape (n_tasks,), default=None
            Which tasks these are, if not all.
        n_rows : int, default=None
            Rows of the batch on all ranks; None is those of signs.
        """
        weights = self.weights if tasks is None else self.weights[tasks]
        weights = weights / (n_rows or signs.shape[0])
        if is_sparse(signs):
            weights = weights[signs.col_indices()]
        opposite = -as_dtype(entries(signs), weights.dtype)
        weighted = opposite * weights
        if self.has_label_weights:
            opposite = opposite.sign_()
        return BatchLabels(signs, opposite, weighted)

    def value(self, scores: Tensor, labels: BatchLabels) -> Tensor:
        """Loss at scores (n_samples, n_tasks) or (n_labels,)."""
        return LOSSES[self.loss][0](as_dtype(scores, labels.weighted.dtype), labels)

    def gradient(self, scores: Tensor, labels: BatchLabels) -> Tensor:
        """Its gradient in the scores, (n_samples, n_tasks)."""
        scores = as_dtype(scores, labels.weighted.dtype)
        return with_values(labels.signs, LOSSES[self.loss][1](scores, labels))

    def forward(self, scores: Tensor, signs: Tensor) -> Tensor:
        return self.value(scores, self.read(signs))


def softmax_loss(scores: Tensor, codes: Tensor, weights: Tensor) -> TaskLoss:
    """Weighted sum of ``-log softmax(scores)[code]`` over rows.

    Parameters
    ----------
    scores : Tensor of shape (n_samples, n_classes), or (n_samples, 1) for two classes
        A single column is the score of class 1, where that of class 0 is 0: the loss
        is then ``log(1 + exp(-y score))`` with y = -1 and +1.
    codes : int64 Tensor of shape (n_samples,)
        Classes, from 0 on.
    weights : Tensor of shape (n_samples,)
    """
    n_columns = scores.shape[1]
    if n_columns == 1:
        scores = torch.cat([torch.zeros_like(scores), scores], dim=1)
    log_probability = log_softmax(scores, dim=1)
    of_label = log_probability.gather(1, codes[:, None])
    value = -(weights @ of_label[:, 0])
    gradient = log_probability.exp_().scatter_(1, codes[:, None], of_label.expm1())
    return TaskLoss(value, gradient.mul_(weights[:, None])[:, -n_columns:])


class ClassLoss(nn.Module):
    """`softmax_loss` of the head that belongs to each row's task.

    Parameters
    ----------
    n_heads : int
        1 where all tasks have the same head.
    """

    def __init__(self, n_heads: int):
        super().__init__()
        self.n_heads = n_heads

    def with_gradient(
        self,
        scores: Tensor,
        codes: Tensor,
        tasks: Tensor,
        weights: Tensor,
        n_rows: int | None = None,
    ) -> TaskLoss:
        """Loss of scores (n_samples, n_heads * n_columns), mean of weighted rows.

        Rows of the batch that are on other ranks count in ``n_rows`` alone.
        """
        weights = weights / (n_rows or len(scores))
        if self.n_heads == 1:
            return softmax_loss(scores, codes, weights)
        blocks = scores.unflatten(1, (self.n_heads, -1))
        own = (torch.arange(len(scores), device=scores.device), tasks)
        value, of_own = softmax_loss(blocks[own], codes, weights)
        gradient = torch.zeros_like(blocks)
        gradient[own] = of_own
        return TaskLoss(value, gradient.view_as(scores))


def task_weights(
    n_positive: np.ndarray, n_negative: np.ndarray, task_weight: str
) -> np.ndarray:
    """Weight of one observed label of each task.

    The objective is ``sum_t omega_t * (mean loss of task t over its observed labels)``
    with ``sum_t omega_t = 1``. ``omega_t`` is the task's share of all observed labels
    for ``task_weight="observed"`` (each label counts once) and the same for all usable
    tasks for ``"equal"``. A task that lacks one of the classes gets weight 0.

    Parameters
    ----------
    n_positive, n_negative : ndarray of shape (n_tasks,)
        Observed labels of each class, or the sums of their weights.
    task_weight : {"observed", "equal"}

    Returns
    -------
    ndarray of shape (n_tasks,), float64
        ``omega_t / n_t``.
    """
    usable = (n_positive > 0) & (n_negative > 0)
    n_observed = np.where(usable, n_positive + n_negative, 0)
    if task_weight == "observed":
        return usable / (n_observed.sum() or 1)
    return usable / (max(usable.sum(), 1) * np.where(usable, n_observed, 1))


def log_odds(n_positive: np.ndarray, n_negative: np.ndarray) -> np.ndarray:
    """Log-odds of each task's observed labels, half a label added to each class."""
    return np.log(n_positive + 0.5) - np.log(n_negative + 0.5)
