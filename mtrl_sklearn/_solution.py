"""What goes into a solver and what comes out of it.

A solver (`_relu_descent.descend`, `_onestep.solve_one_step`) takes a `TaskData`, the
state it left in an earlier call or None, and its own settings, and returns a
`Solution`. It knows nothing of estimators. This module holds the two ends that all
solvers share.
"""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeGuard

import numpy as np
import torch
from torch import Tensor

from mtrl_sklearn._discriminant import (
    ClassMoments,
    add_moments,
    class_moments,
    discriminant_heads,
)
from mtrl_sklearn._losses import log_odds, task_weights
from mtrl_sklearn._modules import BLOCK_ROWS
from mtrl_sklearn._spectral import truncate

State = dict[str, np.ndarray]

# Weight of an earlier batch of rows in the heads, per batch since.
FADING = 0.9


class TaskData(NamedTuple):
    """Training rows with their signs, and what was counted in them.

    Tasks that lack a class have a weight and signs of 0.
    """

    X: np.ndarray  # (n_samples, n_features)
    signs: np.ndarray  # (n_samples, n_tasks), int8: +1, -1, 0 = not observed
    n_positive: np.ndarray  # (n_tasks,), observed labels, earlier batches included
    n_negative: np.ndarray  # (n_tasks,)
    weights: np.ndarray  # (n_tasks,), weight of one label of these rows


def count_labels(
    X: np.ndarray,
    signs: np.ndarray,
    task_weight: str,
    earlier: tuple[np.ndarray, np.ndarray] | None = None,
) -> TaskData:
    """Count labels, on top of those of earlier batches, and weigh tasks."""
    n_positive, n_negative = (signs > 0).sum(axis=0), (signs < 0).sum(axis=0)
    if earlier is not None:
        n_positive, n_negative = n_positive + earlier[0], n_negative + earlier[1]
    usable = (n_positive > 0) & (n_negative > 0)
    if not usable.all():
        signs = signs * usable
    weights = task_weights(n_positive, n_negative, task_weight)
    # they sum to 1 over all labels so far: make it the labels of these rows
    n_so_far = (n_positive + n_negative)[usable].sum()
    weights = weights * n_so_far / max(np.count_nonzero(signs), 1)
    return TaskData(X, signs, n_positive, n_negative, weights)


class FirstLayer(NamedTuple):
    """A first layer that acts on raw inputs, cut to its rank."""

    hidden_weights: np.ndarray  # (n_hidden, n_features)
    hidden_biases: np.ndarray  # (n_hidden,)
    components: np.ndarray  # (n_components, n_features), orthonormal rows
    singular_values: np.ndarray  # all of them, descending, before the cut

    @property
    def is_truncated(self) -> bool:
        return len(self.components) < len(self.singular_values)


class Heads(NamedTuple):
    """Linear heads of all tasks on the hidden features."""

    task_coef: np.ndarray  # (n_tasks, n_hidden)
    task_intercept: np.ndarray  # (n_tasks,)


class Solution(NamedTuple):
    """What a solver found, and what it needs to go on from there."""

    first_layer: FirstLayer
    heads: Heads
    state: State
    loss_curve: np.ndarray  # (n_iter,)
    validation_scores: np.ndarray  # (n_iter,), or empty
    converged: bool
    interrupted: bool


def finish_first_layer(
    weights: Tensor,
    biases: Tensor,
    input_mean: Tensor,
    input_scale: Tensor,
    n_components: int | str | None,
) -> FirstLayer:
    """Cut trained weights to their rank and fold the scaling of inputs into them.

    Parameters
    ----------
    weights : Tensor of shape (n_hidden, n_features)
        They act on ``(x - input_mean) / input_scale``.
    biases : Tensor of shape (n_hidden,)
    input_mean : Tensor of shape (n_features,)
    input_scale : Tensor, scalar
    n_components : int, "auto" or None
        See `_spectral.truncate`.

    Raises
    ------
    ValueError
        If a weight is not finite.
    """
    if not (weights.isfinite().all() and biases.isfinite().all()):
        raise ValueError(
            "The trained weights are not finite. Look for extreme values in X, or "
            "lower learning_rate. Nothing of this fit is kept."
        )
    scale = to_numpy(input_scale)
    cut = truncate(to_numpy(weights), n_components)
    folded = cut.weights / scale
    return FirstLayer(
        folded,
        to_numpy(biases) - folded @ to_numpy(input_mean),
        cut.components,
        cut.singular_values / scale,
    )


def row_blocks(
    X: Tensor, signs: Tensor, transform: Callable[[Tensor], Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """``transform(X)`` and signs of consecutive blocks of rows."""
    for start in range(0, len(X), BLOCK_ROWS):
        stop = start + BLOCK_ROWS
        yield transform(X[start:stop]), signs[start:stop]


def update_moments(
    state: State | None, layer: FirstLayer, data: TaskData, device: torch.device | str
) -> ClassMoments:
    """Class moments of the hidden features of all labels.

    Those of an earlier batch of rows, if ``state`` has any, were taken with an earlier
    first layer: they fade by a factor with each batch.
    """
    weights, biases = (to_tensor(array, device) for array in layer[:2])
    X, signs = to_tensor(data.X, device), to_tensor(data.signs, device)
    blocks = row_blocks(
        X, signs, lambda rows: torch.addmm(biases, rows, weights.T).relu_()
    )
    moments = (class_moments(hidden, labels) for hidden, labels in blocks)
    total = functools.reduce(add_moments, moments)
    if not has_moments(state):
        return total
    fields = (to_tensor(state[f"moments.{k}"], device) for k in ClassMoments._fields)
    return add_moments(total, ClassMoments(*(FADING * field for field in fields)))


def has_moments(state: State | None) -> TypeGuard[State]:
    """Whether a state remembers earlier rows."""
    return state is not None and f"moments.{ClassMoments._fields[0]}" in state


def export_moments(moments: ClassMoments) -> State:
    """Moments as part of a state, for `update_moments`."""
    return {f"moments.{name}": to_numpy(t) for name, t in moments._asdict().items()}


def solve_heads(moments: ClassMoments, data: TaskData) -> Heads:
    """Discriminant heads as arrays."""
    odds = torch.as_tensor(log_odds(data.n_positive, data.n_negative))
    heads = discriminant_heads(moments, odds.to(moments.second))
    return Heads(*map(to_numpy, heads))


class _WriteableView:
    """A read-only array as numpy sees it when it believes it may write.

    torch warns of read-only arrays, which joblib hands to its workers as memory maps,
    and has no read-only tensors. Ours are never written to, so nothing is copied.
    """

    def __init__(self, array: np.ndarray):
        self.array = array  # keeps the memory alive
        interface = dict(array.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface


def to_tensor(array: np.ndarray, device: torch.device | str) -> Tensor:
    """A tensor that shares the array's memory on the CPU: do not write to it."""
    if not array.flags.writeable:
        array = np.asarray(_WriteableView(array))
    return torch.from_numpy(array).to(device)


def to_numpy(tensor: Tensor) -> np.ndarray:
    """An array of its own memory."""
    return tensor.detach().cpu().numpy().copy()
