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

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from skorch.callbacks import Callback, EpochTimer
from torch import Tensor, nn
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
from mtrl_sklearn._relu.gradients import gate, pull_back
from mtrl_sklearn._relu.input_scale import relu_scale
from mtrl_sklearn._relu.network import find_full_columns, normalize_rows
from mtrl_sklearn._relu.options import ReLUOptions
from mtrl_sklearn._relu.solution import Prepared, SolverNet, Trained
from mtrl_sklearn._relu.task_data import TaskData
from mtrl_sklearn._training.job import FitJob
from mtrl_sklearn._training.net import loss_curve
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
    """``weights (signs - mean)`` where observed, else 0; (n_samples, n_tasks).

    Times the weights of labels, where signs come times these.
    """
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
    step = by_feature(torch.zeros_like(sums.step))  # as products write it
    if is_sparse(rows.columns[0].matrix):  # these read whole features
        start = by_feature(start)
    width = sum(column.width for column in rows.columns) + len(start)
    blocks = list(block_slices(len(rows), width))
    for block in blocks:
        X, signs = rows.take(block)
        hidden = multiply(transform(X), start.T).relu_()
        add_transposed_(task_coef, centred_labels(signs, label_mean, weights), hidden)
    task_coef = sums.task_coef + group.sum(task_coef)[0]
    heads = task_coef.to(start.dtype)
    for block in blocks:
        X, signs = rows.take(block)
        inputs = transform(X)
        hidden = multiply(inputs, start.T).relu_()
        residuals = centred_labels(signs, label_mean, weights)
        step += representation_step(inputs, hidden, residuals, heads)
    step = sums.step + group.sum(step)[0]
    return StepSums(sums.start, task_coef, step)


def pseudo_contrastive_loss(sums: StepSums) -> float:
    """L(W0): it is homogeneous of degree 2, so by Euler's identity -<W0, dW> / 2."""
    return -(sums.start * sums.step).sum().item() / 2


class StepNet(SolverNet):
    """Takes one step of the algorithm in each epoch, on all rows at once.

    Parameters
    ----------
    sums : StepSums
        Of the step to begin with.
    centre : Centring
    labels : LabelledRows
    n_labels : float
        Of all tasks so far, by whose square the loss is divided.
    max_epochs : int
    callbacks : list of skorch callbacks
    device : str
    group : Group
    """

    unit = "step"
    n_moments = 0

    def __init__(
        self,
        sums: StepSums,
        centre: "Centring",
        labels: "LabelledRows",
        *,
        n_labels: float,
        max_epochs: int,
        callbacks: list[Callback],
        device: str,
        group: Group,
    ):
        self.sums, self.centre, self.labels = sums, centre, labels
        self.n_labels = n_labels
        super().__init__(
            nn.Module(),
            nn.Module(),
            learning_rate=1.0,  # no learning rate matters
            weight_decay=0.0,
            batch_size=len(labels.rows),
            max_epochs=max_epochs,
            generator=torch.Generator(device),
            callbacks=callbacks,
            device=device,
            group=group,
        )

    def get_default_callbacks(self) -> list[tuple[str, Callback]]:
        return [("epoch_timer", EpochTimer())]

    def initialize_optimizer(self, triggered_directly: Any = None) -> "StepNet":
        """There is none."""
        return self

    @torch.no_grad()
    def run_single_epoch(
        self,
        iterator: Any,
        training: bool,
        prefix: str,
        step_fn: Any,
        **fit_params: Any,
    ) -> None:
        """Take a step: the first one of a fit goes on with the sums it was given."""
        if not training:
            return
        start = next_step(self.sums) if loss_curve(self).size else self.sums
        sums = add_rows(start, *self.labels, self.centre.apply, self.group)
        self.sums = sums
        loss = pseudo_contrastive_loss(sums) / self.n_labels**2
        earlier = loss_curve(self)
        self.history.record("train_loss", loss)
        self.history.record("train_loss_best", not (earlier <= loss).any())

    def can_stop(self) -> bool:
        """Not before the first step has come to its end."""
        return loss_curve(self).size > 0

    def export(self) -> dict[str, np.ndarray]:
        """The sums of the last step, and what inputs are centred by."""
        kept = self.sums._asdict()
        kept |= {"input_mean": self.centre.mean, "input_scale": self.centre.scale}
        return {name: to_numpy(tensor) for name, tensor in kept.items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.sums = import_sums(arrays, self.device, self.centre.mean.dtype)

    def take_network(self, data: TaskData) -> Trained:
        """The first layer to which the steps have led, without biases or heads."""
        return self.centre.take_network(self.sums)


class OneStep:
    """The solver behind "one_step"."""

    is_descent = False
    auto_epochs = 1

    def can_resume(self, state: State) -> bool:
        """Whether a state has the sums of a step."""
        return "start" in state

    @torch.no_grad()
    def prepare(self, job: FitJob, options: ReLUOptions) -> Prepared:
        """A net at the first step, the next one, or with more rows of the same."""
        data, device, dtype = job.data, job.device, options.precision.parameters
        labels = read_labelled_rows(data, device, dtype)
        mean, scale, waiting, _ = relu_scale(job.state, data)
        if job.state is None:
            start = gaussian_directions(
                options.n_hidden, data.X.shape[1], dtype, job.seed
            )
            sums = start_step(start.to(device), data.signs.shape[1])
        else:
            sums = import_sums(job.state, device, dtype)
            sums = sums if job.is_partial else next_step(sums)
        net = StepNet(
            sums,
            Centring(
                torch.as_tensor(mean, dtype=dtype, device=device),
                torch.as_tensor(scale, dtype=dtype, device=device),
                find_full_columns(data.X, device),
            ),
            labels,
            n_labels=(data.n_positive + data.n_negative).sum() or 1,
            max_epochs=options.max_epochs,
            callbacks=job.callbacks,
            device=device,
            group=data.group,
        ).initialize()
        return Prepared(net, labels.rows, math.inf, waiting)


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
    divisor = np.where(n_observed > 0, n_observed, 1)
    mean_sign = (data.n_positive - data.n_negative) / divisor
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
