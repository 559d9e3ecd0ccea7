"""Descent of the convolutional network: "gd" on all rows, "adam" on mini-batches."""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from mtrl_sklearn._arrays.rows import to_numpy, to_tensor
from mtrl_sklearn._conv.augmentation import augment_images
from mtrl_sklearn._conv.class_data import ClassData
from mtrl_sklearn._conv.gradients import filter_gradients, pool_responses
from mtrl_sklearn._conv.input_scale import conv_scale
from mtrl_sklearn._conv.network import ConvNetwork, TwoLayerConv
from mtrl_sklearn._conv.options import ConvOptions
from mtrl_sklearn._conv.patches import PatchGrid
from mtrl_sklearn._group import ALONE, BatchPart, Group
from mtrl_sklearn._training.adamw import LazyAdamW
from mtrl_sklearn._training.callbacks import CosineSchedule, resume
from mtrl_sklearn._training.gradients import head_gradients
from mtrl_sklearn._training.job import FitJob
from mtrl_sklearn._training.losses import ClassLoss
from mtrl_sklearn._training.net import Batch, DescentNet, train
from mtrl_sklearn._training.state import State, cast_state
from mtrl_sklearn._training.step_rule import AdaptiveGradientDescent


class ConvSolution(NamedTuple):
    """What descent found, and what it needs to go on from there."""

    network: ConvNetwork
    state: State
    loss_curve: np.ndarray  # (n_iter,)
    validation_scores: np.ndarray  # (n_iter,), or empty
    converged: bool
    interrupted: bool


PARAMETERS = ("filters", "biases", "head_coef", "head_intercept")


class Evaluation(NamedTuple):
    """Loss of a batch, and its gradient in all parameters that are trained."""

    loss: Tensor
    scores: Tensor
    gradients: dict[str, Tensor]


def evaluate(
    module: TwoLayerConv,
    criterion: ClassLoss,
    patches: Tensor,
    labels: tuple[Tensor, Tensor, Tensor],
    dtype: torch.dtype | None = None,
    part: BatchPart | None = None,
    group: Group = ALONE,
    images: Tensor | None = None,
) -> Evaluation:
    """Loss and closed-form gradients, summed over the rows of all ranks.

    Parameters
    ----------
    module : TwoLayerConv
    criterion : ClassLoss
    patches : Tensor of shape (n_images, n_positions, patch_dim)
    labels : tuple of Tensors of shape (n_samples,)
        Codes, tasks and weights of mean 1.
    dtype : torch.dtype, default=None
        What products are computed in; None is that of the parameters.
    part : BatchPart, default=None
        Which rows of the batch these are; None is all.
    images : int64 Tensor of shape (n_samples,), default=None
        The image that each label belongs to; None is one label for each.
    """
    dtype = dtype or module.filters.dtype
    patches, pool = patches.to(dtype), module.pool.to(dtype)
    filters, biases, head_coef, head_intercept = (
        getattr(module, name).to(dtype) for name in PARAMETERS
    )
    responses, pooled = pool_responses(patches, filters, biases, pool, module.power)
    features = pooled if images is None else pooled.index_select(0, images)
    scores = torch.addmm(head_intercept, features, head_coef.T)
    n_rows = None if part is None else part.n_rows
    loss = criterion.with_gradient(scores.to(module.filters.dtype), *labels, n_rows)
    gradient = loss.gradient.to(dtype)
    of_features = gradient @ head_coef
    if images is not None:
        of_features = torch.zeros_like(pooled).index_add_(0, images, of_features)
    gradients: dict[str, Tensor] = filter_gradients(
        patches, responses, of_features, pool, module.power
    )._asdict()
    if module.head_coef.requires_grad or module.head_intercept.requires_grad:
        coef, intercept = head_gradients(features, gradient)
        gradients |= {"head_coef": coef, "head_intercept": intercept}
    trained = {k: g for k, g in gradients.items() if getattr(module, k).requires_grad}
    value, *summed = group.sum(loss.value, *trained.values())
    return Evaluation(value, scores, dict(zip(trained, summed)))


class ConvNet(DescentNet):
    """A way to train a `TwoLayerConv`, and what scorers among callbacks see of it."""

    is_full_batch = False
    min_fall = 0.0  # share of its first value that the loss falls by before it settles
    default_learning_rate = 3e-3
    default_weight_decay = 1.0
    augment: tuple[str, ...] = ()  # names of changes of images
    images: np.ndarray | None = None  # (n_samples,), the image of each label

    def show_scores(self, batch: Batch, scores: Tensor) -> Tensor:
        """Scores of each row's own head, (n_samples, n_columns)."""
        X, _, tasks, _ = batch
        n_heads = self.criterion_.n_heads
        if n_heads > 1:
            own = torch.arange(len(scores), device=scores.device), tasks
            scores = scores.unflatten(1, (n_heads, -1))[own]
        return scores.to(X.dtype)

    def decision_function(self, X: Any) -> np.ndarray:
        """A column for each class; one number for the second of two."""
        scores = super().decision_function(X)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict(self, X: Any) -> np.ndarray:
        """Positions of the classes that the scores stand for."""
        scores = self.decision_function(X)
        return scores.argmax(1) if scores.ndim == 2 else (scores > 0).astype(int)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of classes, (n_samples, n_classes)."""
        scores = self.decision_function(X)
        if scores.ndim == 1:
            scores = np.column_stack([np.zeros_like(scores), scores])
        return softmax(scores, axis=1)


class AdamConvNet(ConvNet):
    """Trains a `TwoLayerConv` with AdamW on mini-batches."""

    def initialize_optimizer(self, triggered_directly: Any = None) -> "AdamConvNet":
        """AdamW that decays matrices only.

        Adam moves every weight by about the learning rate. Patches have unit norm, so
        their entries shrink with their number: filters move faster to make up for it.
        """
        module = self.module_
        speed = math.sqrt(module.grid.patch_dim)
        groups = [
            ([module.filters], speed, self.weight_decay / speed),
            ([module.head_coef], 1.0, self.weight_decay),
            ([module.biases, module.head_intercept], 1.0, 0.0),
        ]
        self.optimizer_ = LazyAdamW(
            [
                {"params": p, "lr": s * self.learning_rate, "weight_decay": decay}
                for p, s, decay in groups
            ]
        )
        return self

    @torch.no_grad()
    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Tensor]:
        """Update all that is trained at once."""
        X, *labels = batch
        module = self.module_
        if self.augment:
            drawn = self.augment, module.grid.input_shape, self.generator
            X = augment_images(X, *drawn, *batch.part)
        found = evaluate(
            module,
            self.criterion_,
            module.patches(X),
            tuple(labels),
            self.product_dtype,
            batch.part,
            self.group,
        )
        parameters = [getattr(module, name) for name in found.gradients]
        self.update(batch, tuple(parameters), tuple(found.gradients.values()))
        return {"loss": found.loss, "y_pred": found.scores}


class FullBatchConvNet(ConvNet):
    """The same on all rows, with a penalty ``weight_decay / 2 * ||W||^2``."""

    is_full_batch = True
    min_fall = 0.01  # small weights start on a plateau
    default_learning_rate = 10.0
    default_weight_decay = 1e-4

    def initialize_optimizer(
        self, triggered_directly: Any = None
    ) -> "FullBatchConvNet":
        """Steps that find their size; patches are extracted once."""
        trained = [p for p in self.module_.parameters() if p.requires_grad]
        self.optimizer_ = AdaptiveGradientDescent(trained, self.learning_rate)
        self.patches_: Tensor | None = None
        self.places_: Tensor | None = None
        self.scores_ = torch.empty(0)
        return self

    def _extract(self, X: Tensor) -> tuple[Tensor, Tensor | None]:
        """Patches of each image once, and the image of each label; None is its own."""
        if self.images is None:
            return self.module_.patches(X), None
        _, first, places = np.unique(
            self.images, return_index=True, return_inverse=True
        )
        if len(first) == len(places):
            return self.module_.patches(X), None
        chosen, of_label = (to_tensor(array, X.device) for array in (first, places))
        return self.module_.patches(X.index_select(0, chosen)), of_label

    @torch.no_grad()
    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Tensor]:
        """One step; the loss that it returns has the penalty in it."""
        X, *labels = batch
        module = self.module_
        if self.patches_ is None:
            self.patches_, self.places_ = self._extract(X)
        patches, places = self.patches_, self.places_
        seen: list[tuple[float, Tensor]] = []

        def closure() -> float:
            loss, scores, gradients = evaluate(
                module,
                self.criterion_,
                patches,
                tuple(labels),
                None,
                batch.part,
                self.group,
                places,
            )
            for name, gradient in gradients.items():
                parameter = getattr(module, name)
                if parameter.ndim == 2:
                    gradient += self.weight_decay * parameter  # it may be infinite
                    loss = loss + self.weight_decay / 2 * parameter.square().sum()
                parameter.grad = gradient
            self.show_gradients(batch)
            seen.append((loss.item(), scores))
            return loss.item()

        loss = self.optimizer_.step(closure)
        for value, scores in seen:
            if value == loss:  # not where a step was taken back
                self.scores_ = scores
        return {"loss": torch.tensor(loss, dtype=torch.float64), "y_pred": self.scores_}


SOLVERS: dict[str, type[ConvNet]] = {"adam": AdamConvNet, "gd": FullBatchConvNet}


def descend_conv(job: FitJob, grid: PatchGrid, options: ConvOptions) -> ConvSolution:
    """Train filters, and heads unless they are fixed.

    Parameters
    ----------
    job : FitJob
        Its data are `ClassData`. A callback whose ``converged_`` is true says that the
        loss had settled.
    grid : PatchGrid
    options : ConvOptions
    """
    data: ClassData = job.data
    state = cast_state(job.state, options.precision.parameters)
    module = make_module(data, grid, options).to(job.device)
    generator = torch.Generator(job.device).manual_seed(job.seed)
    module.reset_parameters(generator, options.init_scale)
    train_some(module, options)
    solver = SOLVERS[options.solver]
    schedule = [] if solver.is_full_batch else [CosineSchedule()]
    n_penalties = _count_tasks(data) if solver.is_full_batch else 1
    net = solver(
        module,
        ClassLoss(data.n_tasks if options.head == "per_task" else 1),
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay / n_penalties,
        batch_size=data.n_rows if solver.is_full_batch else options.batch_size,
        max_epochs=options.max_epochs,
        generator=generator,
        callbacks=[*schedule, *job.callbacks],
        device=job.device,
        group=data.group,
        product_dtype=options.precision.products,
    ).initialize()
    net.augment, net.images = options.augment, data.rows
    if state is not None:
        net.restore(state)
    centre = module.biases.requires_grad  # they take up what is subtracted
    mean, scale, waiting, is_heavy = conv_scale(
        state, data.X, data.weights, grid, centre, data.rows, data.group
    )
    module.input_mean.fill_(float(mean))
    module.input_scale.fill_(scale)
    module.leave_out(is_heavy)
    if job.progress is not None:
        resume(net, job.progress)
    rows = data.on_device(job.device, options.precision.parameters)
    operations = 4 * net.batch_size * grid.n_positions * options.n_filters
    operations *= grid.patch_dim + grid.n_cells
    log = train(net, rows, operations, options.precision.allow_tf32)
    settled = any(getattr(callback, "converged_", False) for callback in job.callbacks)
    is_done = len(log.loss_curve) == options.max_epochs
    return ConvSolution(
        data.group.from_first(finish_conv(module)),
        net.export() | waiting,
        log.loss_curve,
        log.validation_scores,
        settled or (is_done and not solver.is_full_batch),
        log.interrupted,
    )


def make_module(data: ClassData, grid: PatchGrid, options: ConvOptions) -> TwoLayerConv:
    """A network for these classes and tasks, without a start."""
    n_heads = data.n_tasks if options.head == "per_task" else 1
    n_columns = 1 if data.n_classes == 2 else data.n_classes
    dtype = options.precision.parameters
    return TwoLayerConv(
        grid, options.n_filters, n_heads, n_columns, options.power, dtype
    )


def train_some(module: TwoLayerConv, options: ConvOptions) -> None:
    """Leave what the settings fix as it is at the start."""
    trained = set(PARAMETERS)
    if options.power > 1:  # as in the theory
        trained -= {"biases", "head_intercept"}
    if options.head == "fixed":
        module.assign_filters()
        trained = {"filters"}
    module.train_only(trained)


def _count_tasks(data: ClassData) -> int:
    """Tasks with rows of any weight, on all ranks; others count for nothing."""
    totals = np.bincount(data.tasks, data.weights, minlength=data.n_tasks)
    return max(int(np.count_nonzero(sum(data.group.gather(totals)))), 1)


@torch.no_grad()
def finish_conv(module: TwoLayerConv) -> ConvNetwork:
    """The network as arrays, with the mean of inputs folded into the biases."""
    mean, scale = module.input_mean, module.input_scale
    biases = module.biases - module.filters.sum(1) * (mean / scale)
    network = ConvNetwork(
        to_numpy(module.filters),
        to_numpy(biases),
        to_numpy(module.head_coef),
        to_numpy(module.head_intercept),
        float(scale),
    )
    if not all(np.isfinite(array).all() for array in network):
        raise ValueError(
            "The trained weights are not finite. Look for extreme values in X, or "
            "lower learning_rate. Nothing of this fit is kept."
        )
    return network
