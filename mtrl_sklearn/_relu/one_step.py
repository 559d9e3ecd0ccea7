"""The one-step algorithm: heads first, then the representation, in closed form.

From Gaussian first-layer weights ``W0`` without biases and heads at 0, one gradient
step of the heads and one of the representation at these heads are sums over rows::

    A  = sum_i r_i relu(W0 z_i)'                               (n_tasks, n_hidden)
    dW = sum_i (A' r_i * 1[W0 z_i > 0]) z_i'                   (n_hidden, n_features)

where ``r_it = w_t (y_it - mean y_t)`` is the centred and weighted label of task t, 0
where it was not observed. dW is the negative gradient at W0 of the pseudo-contrastive
loss

    L(W) = -1/2 sum_ij <r_i, r_j> <relu(W z_i), relu(W z_j)>

which pulls together points that share labels. The decay of the weights cancels the
start, so W is dW with rows scaled to norm 1 and no learning rate matters.

Reconstructed from the abstract of Collins et al. (2024); centring the labels and
repeating the step are additions of this package.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mtrl_sklearn._arrays.products import (
    Factor,
    add_transposed_,
    by_feature,
    entries,
    is_sparse,
    multiply,
    with_values,
)
from mtrl_sklearn._arrays.rows import (
    RowDataset,
    block_slices,
    to_numpy,
    to_tensor,
)
from mtrl_sklearn._group import ALONE, Group
from mtrl_sklearn._relu.gradients import gate, hidden_layer, pull_back
from mtrl_sklearn._relu.input_scale import relu_scale
from mtrl_sklearn._relu.network import find_full_columns, normalize_rows
from mtrl_sklearn._relu.rank_choice import choose_rank
from mtrl_sklearn._relu.solution import Finished, Solution, TaskData, Trained
from mtrl_sklearn._training.callbacks import StepCallbacks
from mtrl_sklearn._training.checkpoint import Checkpoint
from mtrl_sklearn._training.state import State


class StepSums(NamedTuple):
    """Where a step started, and its two sums over the rows seen so far."""

    start: Tensor  # W0, (n_hidden, n_features)
    task_coef: Tensor  # A, (n_tasks, n_hidden)
    step: Tensor  # dW, (n_hidden, n_features)


def start_step(start: Tensor, n_tasks: int) -> StepSums:
    """A step of which no row was seen yet; sums are taken in float64."""
    task_coef = start.new_zeros(n_tasks, len(start), dtype=torch.float64)
    return StepSums(start, task_coef, torch.zeros_like(start, dtype=torch.float64))


def next_step(sums: StepSums) -> StepSums:
    """The step after this one: it starts from where this one led."""
    start = normalize(sums.step, dim=1).to(sums.start.dtype)
    return start_step(start, len(sums.task_coef))


def centred_labels(signs: Tensor, mean: Tensor, weights: Tensor) -> Tensor:
    """``weights (signs - mean)`` where observed, else 0; (n_samples, n_tasks)."""
    values = entries(signs).to(weights.dtype)
    if is_sparse(signs):
        tasks = signs.col_indices()
        mean, weights = mean[tasks], weights[tasks]
    return with_values(signs, (values - mean * values.abs()).mul_(weights))


def representation_step(
    inputs: Factor, hidden: Tensor, residuals: Tensor, task_coef: Tensor
) -> Tensor:
    """Step of the first layer at given heads, of shape (n_hidden, n_features)."""
    return pull_back(gate(multiply(residuals, task_coef), hidden), inputs)


def add_rows(
    sums: StepSums,
    rows: RowDataset,
    label_mean: Tensor,
    weights: Tensor,
    transform: Callable[[Tensor], Factor],
    group: Group = ALONE,
) -> StepSums:
    """Sums with more rows, of all ranks: a pass for the heads, one for the first layer.

    Which units are active is computed in both: to remember it takes as long.

    Parameters
    ----------
    sums : StepSums
    rows : RowDataset
        Inputs (n_samples, n_features), and signs (n_samples, n_tasks).
    label_mean, weights : Tensor of shape (n_tasks,)
        Mean sign of each task over its observed labels, and the weight of one label.
    group : Group
    transform : callable
        Applied to each block of inputs: centring and scaling.
    """
    start, task_coef = sums.start, torch.zeros_like(sums.task_coef)
    step = torch.zeros_like(sums.step)
    no_biases = start.new_zeros(len(start))
    if is_sparse(rows.columns[0].matrix):  # products read and write whole features
        start, step = by_feature(start), by_feature(step)
    width = sum(column.width for column in rows.columns) + len(start)
    blocks = list(block_slices(len(rows), width))
    for block in blocks:
        X, signs = rows.take(block)
        hidden = hidden_layer(transform(X), start, no_biases)
        add_transposed_(task_coef, centred_labels(signs, label_mean, weights), hidden)
    task_coef = sums.task_coef + group.sum(task_coef)[0]
    heads = task_coef.to(start.dtype)
    for block in blocks:
        X, signs = rows.take(block)
        inputs = transform(X)
        hidden = hidden_layer(inputs, start, no_biases)
        residuals = centred_labels(signs, label_mean, weights)
        step += representation_step(inputs, hidden, residuals, heads)
    step = sums.step + group.sum(step)[0]
    return StepSums(sums.start, task_coef, step)


def pseudo_contrastive_loss(sums: StepSums) -> float:
    """L(W0): it is homogeneous of degree 2, so by Euler's identity -<W0, dW> / 2."""
    return -(sums.start * sums.step).sum().item() / 2


@torch.no_grad()
def solve_one_step(
    data: TaskData,
    state: State | None,
    *,
    n_hidden: int,
    n_components: int | str | None,
    n_iter: int,
    callbacks: StepCallbacks | None,
    accumulate: bool,
    checkpoint: Checkpoint,
    seed: int,
    device: str,
    dtype: torch.dtype,
) -> Solution:
    """Take the step, and repeat it from where it led.

    Parameters
    ----------
    data : TaskData
    state : dict of ndarrays or None
        Where an earlier call stopped; None starts from ``seed``.
    n_hidden : int
    n_components : int, "auto" or None
        See `_rank_choice.choose_rank`.
    n_iter : int
        Number of steps.
    callbacks : StepCallbacks or None
    accumulate : bool
        Take these rows as more rows of the step in ``state``, instead of starting the
        next step from where that one led.
    checkpoint : Checkpoint
    seed : int
    device : str
    dtype : torch.dtype
    """

    def take_steps(sums: StepSums, labels: LabelledRows, n_steps: int) -> StepSums:
        for k in range(n_steps):
            sums = add_rows(
                next_step(sums) if k else sums, *labels, centre.apply, data.group
            )
        return sums

    def retrain(part: TaskData) -> Trained:
        labels = read_labelled_rows(part, device, dtype)
        return centre.take_network(take_steps(first_sums(), labels, len(losses)))

    def first_sums() -> StepSums:
        start = gaussian_directions(n_hidden, data.X.shape[1], dtype, seed)
        return start_step(start.to(device), data.signs.shape[1])

    labels = read_labelled_rows(data, device, dtype)
    mean, scale, waiting, _ = relu_scale(state, data)
    if state is None:
        sums = first_sums()
    else:
        sums = import_sums(state, device, dtype)
        if not accumulate:
            sums, state = next_step(sums), None
    centre = Centring(
        torch.as_tensor(mean, dtype=dtype, device=device),
        torch.as_tensor(scale, dtype=dtype, device=device),
        find_full_columns(data.X, device),
    )

    def finish() -> Finished:
        """The network so far; only at the end is another one trained to check it."""
        is_last = is_over and not (accumulate or interrupted)
        return choose_rank(
            centre.take_network(sums),
            data,
            n_components,
            state,
            retrain if is_last else None,
        )

    def export() -> State:
        kept = sums._asdict()
        kept |= {"input_mean": centre.mean, "input_scale": centre.scale}
        return {name: to_numpy(tensor) for name, tensor in kept.items()}

    losses: list[float] = []
    is_over = interrupted = False
    if checkpoint.progress is not None:
        found, loss_curve, _, is_over = checkpoint.progress
        sums, losses = import_sums(found, device, dtype), loss_curve.tolist()
    checkpoint.reserve(sum(array.nbytes for array in export().values()))
    if callbacks is not None:
        callbacks.on_train_begin(len(losses))
    while not is_over:
        if callbacks is not None:
            callbacks.on_step_begin()
        try:
            sums = add_rows(
                next_step(sums) if losses else sums, *labels, centre.apply, data.group
            )
        except KeyboardInterrupt:
            if not losses or data.group.n_ranks > 1:
                raise
            interrupted = True
            break
        n_labels = max((data.n_positive + data.n_negative).sum(), 1)
        losses.append(pseudo_contrastive_loss(sums) / n_labels**2)
        stop = callbacks is not None and callbacks.on_step_end(losses[-1], finish)
        is_over = len(losses) == n_iter or any(data.group.gather(stop))
        checkpoint.save(export, np.array(losses), np.empty(0), is_over)

    if callbacks is not None:
        callbacks.on_train_end()
    first_layer, heads, moments = finish()
    return Solution(
        first_layer,
        heads,
        export() | moments | waiting,
        np.array(losses),
        np.empty(0),
        converged=True,
        interrupted=interrupted,
    )


class Centring(NamedTuple):
    """How raw inputs are centred and scaled before they meet the first layer."""

    mean: Tensor  # (n_features,)
    scale: Tensor  # scalar
    full_columns: Tensor | None  # of sparse rows, see `find_full_columns`

    def apply(self, X: Tensor) -> Factor:
        """Centred and scaled inputs, (n_samples, n_features)."""
        return normalize_rows(X, *self)

    def take_network(self, sums: StepSums) -> Trained:
        """The first layer to which the steps have led, without biases or heads."""
        directions = normalize(sums.step, dim=1).to(self.mean.dtype)
        no_biases = directions.new_zeros(len(directions))
        return Trained(directions, no_biases, self.mean, self.scale, None)


class LabelledRows(NamedTuple):
    """Rows as `add_rows` takes them."""

    rows: RowDataset
    label_mean: Tensor  # (n_tasks,), mean sign over observed labels
    weights: Tensor  # (n_tasks,), of one label


def read_labelled_rows(data: TaskData, device: str, dtype: torch.dtype) -> LabelledRows:
    """Rows on a device, with the mean and the weight of labels of each task."""
    n_observed = data.n_positive + data.n_negative
    mean_sign = (data.n_positive - data.n_negative) / np.maximum(n_observed, 1)
    arrays = (mean_sign, data.weights * data.n_observed)
    of_tasks = (torch.as_tensor(a, dtype=dtype, device=device) for a in arrays)
    return LabelledRows(data.on_device(device, dtype), *of_tasks)


def import_sums(
    state: Mapping[str, np.ndarray], device: str, dtype: torch.dtype
) -> StepSums:
    """Sums of a state: where the step started in a dtype, the sums in float64."""
    start, *sums = (to_tensor(state[name], device) for name in StepSums._fields)
    return StepSums(start.to(dtype), *(total.double() for total in sums))


def gaussian_directions(
    n_hidden: int, n_features: int, dtype: torch.dtype, seed: int
) -> Tensor:
    """Random directions: Gaussian rows scaled to norm 1."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(n_hidden, n_features, generator=generator, dtype=dtype)
    return normalize(weights, dim=1)
