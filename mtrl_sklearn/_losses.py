"""Task losses on observed labels: tensors in, value and gradient out.

Labels come as signs: +1, -1, and 0 where nothing was observed. A sign of 0 makes both
the loss and its gradient vanish, whatever the score, so hidden labels never change
anything.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid


class TaskLoss(NamedTuple):
    """Value of a loss and its gradient with respect to the scores."""

    value: Tensor  # scalar
    gradient: Tensor  # (n_samples, n_tasks)


def logistic_loss(scores: Tensor, signs: Tensor, weights: Tensor) -> TaskLoss:
    """Mean over rows of ``sum_t weights_t log(1 + exp(-signs_t scores_t))``.

    Parameters
    ----------
    scores, signs : Tensor of shape (n_samples, n_tasks)
    weights : Tensor of shape (n_tasks,)
    """
    weighted = signs * (weights / len(scores))
    log_probability = logsigmoid(signs * scores)
    value = -(log_probability * weighted * signs).sum()
    return TaskLoss(value, torch.expm1(log_probability).mul_(weighted))


def hinge_loss(scores: Tensor, signs: Tensor, weights: Tensor) -> TaskLoss:
    """Mean over rows of ``sum_t weights_t max(0, 1 - signs_t scores_t)``.

    Parameters and shapes as in `logistic_loss`.
    """
    weighted = signs * (weights / len(scores))
    shortfall = (1 - signs * scores).clamp_(min=0)
    value = (shortfall * weighted * signs).sum()
    return TaskLoss(value, -(shortfall > 0).to(scores.dtype).mul_(weighted))


LOSSES = {"logistic": logistic_loss, "hinge": hinge_loss}


class MultiTaskLoss(nn.Module):
    """A task loss and its task weights as a torch criterion.

    Parameters
    ----------
    loss : {"logistic", "hinge"}
    weights : Tensor of shape (n_tasks,)
    """

    weights: Tensor

    def __init__(self, loss: str, weights: Tensor):
        super().__init__()
        self.loss = loss
        self.register_buffer("weights", weights)

    def with_gradient(self, scores: Tensor, signs: Tensor) -> TaskLoss:
        return LOSSES[self.loss](scores, signs, self.weights)

    def forward(self, scores: Tensor, signs: Tensor) -> Tensor:
        return self.with_gradient(scores, signs.to(scores.dtype)).value


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
        Observed labels of each class.
    task_weight : {"observed", "equal"}

    Returns
    -------
    ndarray of shape (n_tasks,), float64
        ``omega_t / n_t``.
    """
    usable = (n_positive > 0) & (n_negative > 0)
    n_observed = np.where(usable, n_positive + n_negative, 0)
    if task_weight == "observed":
        return usable / max(n_observed.sum(), 1)
    return usable / (max(usable.sum(), 1) * np.maximum(n_observed, 1))


def log_odds(n_positive: np.ndarray, n_negative: np.ndarray) -> np.ndarray:
    """Log-odds of each task's observed labels, half a label added to each class."""
    return np.log(n_positive + 0.5) - np.log(n_negative + 0.5)
