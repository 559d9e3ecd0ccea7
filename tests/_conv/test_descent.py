"""Gradients of the network, one update of each solver, weights, state, start."""

import math
import pickle
from itertools import product

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch.nn.functional import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    cross_entropy,
    logsigmoid,
    unfold,
)

from mtrl_sklearn._arrays.precision import resolve_precision
from mtrl_sklearn._arrays.rows import RowDataset, Rows
from mtrl_sklearn._conv import descent as _conv_descent
from mtrl_sklearn._conv import patches as _patches
from mtrl_sklearn._conv.class_data import ClassData, weigh_rows
from mtrl_sklearn._conv.descent import (
    AdamConvNet,
    ConvOptions,
    descend_conv,
    evaluate,
    finish_conv,
)
from mtrl_sklearn._conv.input_scale import patch_statistics
from mtrl_sklearn._conv.network import TwoLayerConv
from mtrl_sklearn._conv.patches import make_patch_grid
from mtrl_sklearn._conv.pooling import pool_rows
from mtrl_sklearn._group import ALONE
from mtrl_sklearn._training.job import FitJob
from mtrl_sklearn._training.losses import ClassLoss
from mtrl_sklearn._training.net import BatchIterator, train

N_FILTERS, N_TASKS = 6, 3
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 0.7
GRIDS = {
    "sum over patches": make_patch_grid((3, 4), 1, None, "sum"),
    "mean over a signal": make_patch_grid((12,), 4, 3, "mean"),
    "cells of a signal": make_patch_grid((12,), 3, 1, 4),
    "cells of an image": make_patch_grid((2, 6, 5), (3, 2), 1, (3, 2)),
    "mean over an image": make_patch_grid((1, 4, 4), 3, 1, "mean"),
}
PATCHES = GRIDS["sum over patches"]
NAMES = ("filters", "biases", "head_coef", "head_intercept")


@pytest.fixture(params=GRIDS.values(), ids=GRIDS.keys())
def grid(request):
    return request.param


def make_data(grid, n_columns=1, n_samples=12, dtype=np.float64):
    rng = np.random.default_rng(0)
    weights = rng.random(n_samples)
    return ClassData(
        rng.standard_normal((n_samples, math.prod(grid.input_shape))).astype(dtype),
        rng.permutation(np.arange(n_samples) % max(n_columns, 2)),
        rng.permutation(np.arange(n_samples) % N_TASKS),
        weights / weights.sum(),
        max(n_columns, 2),
        N_TASKS,
        ALONE.locate_rows(n_samples),
        ALONE,
    )


def tensors(data):
    """Rows and labels as batches hold them: weights have a mean of 1."""
    weights = data.weights * data.n_rows
    return tuple(map(torch.from_numpy, (data.X, data.codes, data.tasks, weights)))


def dataset(data):
    return RowDataset(*map(Rows, tensors(data)))


def make_module(grid, head="shared", n_columns=1, power=3.0):
    n_heads = N_TASKS if head == "per_task" else 1
    module = TwoLayerConv(grid, N_FILTERS, n_heads, n_columns, power, torch.float64)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.7, generator=generator)
        module.input_mean.fill_(0.1)
        module.input_scale.fill_(2.0)
    module.train_only(set(NAMES))
    if head == "fixed":
        module.assign_filters()
        module.train_only({"filters"})
    return module


def reference_scores(module, X):
    """Scores by torch's own functions."""
    grid, n_samples = module.grid, len(X)
    Z = (X - module.input_mean) / module.input_scale
    if len(grid.input_shape) == 3:
        images = Z.view(n_samples, *grid.input_shape)
        patches = unfold(images, grid.kernel_size, stride=grid.stride).mT
    elif len(grid.input_shape) == 2:
        patches = Z.view(n_samples, *grid.input_shape)
    else:
        patches = Z.unfold(1, grid.kernel_size[0], grid.stride[0])
    responses = (patches @ module.filters.T + module.biases).relu() ** module.power
    if isinstance(grid.pooling, str):
        pooled = getattr(responses, grid.pooling)(dim=1)
    else:
        pool = {1: adaptive_avg_pool1d, 2: adaptive_avg_pool2d}[len(grid.pooling)]
        planes = responses.mT.reshape(n_samples, -1, *grid.positions)
        pooled = pool(planes, grid.pooling).flatten(2).mT.flatten(1)
    return pooled @ module.head_coef.T + module.head_intercept


def reference_loss(module, X, codes, tasks, weights):
    """Mean of weighted losses of rows by the head of their task."""
    scores = reference_scores(module, X)
    n_heads = len(module.head_coef) // module.n_columns
    scores = scores.view(len(X), n_heads, module.n_columns)
    own = scores[torch.arange(len(X)), tasks if n_heads > 1 else 0]
    if module.n_columns == 1:
        losses = -logsigmoid((2 * codes - 1) * own[:, 0])
    else:
        losses = cross_entropy(own, codes, reduction="none")
    return (weights * losses).mean()


def make_unsure_module(grid, head, n_columns, power):
    """Its probabilities are far from 0 and 1, which Adam's gradients are divided by."""
    module = make_module(grid, head, n_columns, power)
    with torch.no_grad():
        module.filters *= 0.3
        if head != "fixed":
            module.head_coef *= 0.3
    return module


def state_of(module):
    """The state of a network before its first update."""
    arrays = {k: v.detach().numpy().copy() for k, v in module.state_dict().items()}
    return arrays | {"generator": np.zeros(3, dtype=np.uint8)}


def options(dtype, **settings):
    defaults = {
        "precision": resolve_precision("auto", dtype, "cpu"),
        "n_filters": N_FILTERS,
        "power": 3.0,
        "head": "shared",
        "solver": "gd",
        "learning_rate": LEARNING_RATE,
        "weight_decay": WEIGHT_DECAY,
        "init_scale": 0.5,
        "max_epochs": 1,
        "batch_size": 5,
    }
    return ConvOptions(**{**defaults, **settings})


def descend(data, grid, state=None, *, callbacks=(), seed=0, **settings):
    job = FitJob(data, state, seed, "cpu", list(callbacks))
    return descend_conv(job, grid, options(data.X.dtype, **settings))


@pytest.mark.parametrize("power", [1.0, 2.0, 2.5, 3.0])
@pytest.mark.parametrize("n_columns", [1, 3])
@pytest.mark.parametrize("head", ["shared", "fixed", "per_task"])
def test_gradients_equal_autograd(grid, head, n_columns, power):
    X, *labels = tensors(make_data(grid, n_columns))
    module = make_module(grid, head, n_columns, power)
    expected = reference_loss(module, X, *labels)
    expected.backward()
    with torch.no_grad():
        criterion = ClassLoss(N_TASKS if head == "per_task" else 1)
        found = evaluate(module, criterion, module.patches(X), labels)
    torch.testing.assert_close(found.loss, expected, rtol=0, atol=1e-12)
    trained = NAMES[:1] if head == "fixed" else NAMES
    assert set(found.gradients) == set(trained)
    for name in trained:
        gradient = getattr(module, name).grad
        assert gradient.abs().max() > 1e-3
        torch.testing.assert_close(
            found.gradients[name], gradient, rtol=0, atol=1e-10, msg=name
        )


@pytest.mark.parametrize("n_columns", [1, 3])
@pytest.mark.parametrize("head", ["shared", "per_task"])
def test_scores_are_those_of_torch(grid, head, n_columns, monkeypatch):
    X = tensors(make_data(grid))[0]
    module = make_module(grid, head, n_columns)
    expected = reference_scores(module, X).detach()
    torch.testing.assert_close(module(X).detach(), expected, rtol=0, atol=1e-12)
    monkeypatch.setattr(_patches, "PATCH_ENTRIES", 1)
    assert grid.block_rows(N_FILTERS) == 1
    torch.testing.assert_close(module(X).detach(), expected, rtol=0, atol=1e-12)


def test_a_finished_network_acts_on_inputs_that_are_not_centred(grid, monkeypatch):
    data = make_data(grid)
    module = make_module(grid)
    network = finish_conv(module)
    for entries in (_patches.PATCH_ENTRIES, 1):
        monkeypatch.setattr(_patches, "PATCH_ENTRIES", entries)
        features = pool_rows(data.X, network, grid, module.power, "cpu")
        assert features.shape == (12, grid.n_cells * N_FILTERS)
        scores = features @ network.head_coef.T + network.head_intercept
        expected = module(tensors(data)[0]).detach()
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-12)


def formulas(W, A, biases, X, y, tasks, power):
    """The loss and its gradients, with a head for each task, written out."""
    n_samples, n_patches, _ = X.shape
    loss, of_filters, of_heads = 0.0, np.zeros_like(W), np.zeros_like(A)
    for i, h in product(range(n_samples), range(n_patches)):
        a = A[tasks[i]]
        inner = np.maximum(X[i] @ W.T + biases, 0)
        f = a @ (inner**power).sum(axis=0)
        g = -y[i] / (1 + np.exp(y[i] * f)) / n_samples
        loss += np.log1p(np.exp(-y[i] * f)) / n_samples / n_patches
        of_heads[tasks[i]] += g * inner[h] ** power
        for r in range(len(W)):
            slope = power * inner[h, r] ** (power - 1) * (inner[h, r] > 0)
            of_filters[r] += a[r] * g * slope * X[i, h]
    return loss, of_filters, of_heads


@pytest.mark.parametrize("power", [2.0, 2.5, 3.0])
@pytest.mark.parametrize("head", ["fixed", "shared", "per_task"])
def test_a_step_of_gd_follows_the_formulas(head, power):
    """Of the theory: rows of equal weight, no biases, a penalty over n_tasks."""
    data = make_data(PATCHES)._replace(weights=np.full(12, 1 / 12))
    module = make_module(PATCHES, head, power=power)
    with torch.no_grad():
        module.biases.zero_()
        module.head_intercept.zero_()
    state = state_of(module)
    solution = descend(data, PATCHES, state, head=head, power=power)

    W, A = state["filters"], state["head_coef"]
    heads = data.tasks if head == "per_task" else np.zeros(12, dtype=int)
    X, y = (data.X.reshape(12, 3, 4) - 0.1) / 2, 2 * data.codes - 1
    decay = WEIGHT_DECAY / N_TASKS
    _, of_filters, of_heads = formulas(W, A, 0, X, y, heads, power)
    moved = solution.network
    np.testing.assert_allclose(
        (W - moved.filters) / LEARNING_RATE, of_filters + decay * W, rtol=0, atol=1e-10
    )
    if head == "fixed":
        np.testing.assert_array_equal(moved.head_coef, A)
        assert sorted(A[0]) == [-1] * 3 + [1] * 3
    else:
        np.testing.assert_allclose(
            (A - moved.head_coef) / LEARNING_RATE,
            of_heads + decay * A,
            rtol=0,
            atol=1e-10,
        )
    loss, _, _ = formulas(moved.filters, moved.head_coef, 0, X, y, heads, power)
    penalty = decay / 2 * (moved.filters**2).sum()
    if head != "fixed":
        penalty += decay / 2 * (moved.head_coef**2).sum()
    np.testing.assert_allclose(solution.loss_curve, [loss + penalty], rtol=1e-12)


@pytest.mark.parametrize("n_columns", [1, 3])
@pytest.mark.parametrize("head", ["shared", "per_task"])
def test_a_step_of_gd_is_that_of_autograd(grid, head, n_columns):
    """With power 1 biases and intercepts are trained, and not decayed."""
    data = make_data(grid, n_columns)
    module = make_module(grid, head, n_columns, power=1.0)
    solution = descend(data, grid, state_of(module), head=head, power=1.0)
    loss = reference_loss(module, *tensors(data))
    for matrix in (module.filters, module.head_coef):
        loss = loss + WEIGHT_DECAY / (2 * N_TASKS) * matrix.square().sum()
    loss.backward()
    for name in NAMES:
        parameter = getattr(module, name)
        expected = (parameter - LEARNING_RATE * parameter.grad).detach().numpy()
        np.testing.assert_allclose(
            solution.state[name], expected, rtol=0, atol=1e-13, err_msg=name
        )


@pytest.mark.parametrize("batch_size", [12, 5])
@pytest.mark.parametrize(
    ("head", "power", "n_columns"),
    [
        ("shared", 1.0, 3),
        ("shared", 3.0, 1),
        ("per_task", 1.0, 1),
        ("per_task", 2.0, 3),
        ("fixed", 3.0, 1),
    ],
)
def test_updates_of_adam_are_those_of_autograd_and_adamw(
    grid, head, power, n_columns, batch_size
):
    data = make_data(grid, n_columns)
    module = make_unsure_module(grid, head, n_columns, power)
    net = AdamConvNet(
        module,
        ClassLoss(N_TASKS if head == "per_task" else 1),
        weight_decay=WEIGHT_DECAY,
        learning_rate=0.01,
        batch_size=batch_size,
        max_epochs=3,
        generator=torch.Generator().manual_seed(2),
        callbacks=[],
        device="cpu",
    ).initialize()
    train(net, dataset(data), 0)

    expected = make_unsure_module(grid, head, n_columns, power)
    speed = grid.patch_dim**0.5
    parameters = {k: p for k, p in expected.named_parameters() if p.requires_grad}
    decays = {"filters": WEIGHT_DECAY / speed, "head_coef": WEIGHT_DECAY}
    optimizer = torch.optim.AdamW(
        [
            {
                "params": [parameter],
                "lr": 0.01 * (speed if name == "filters" else 1),
                "weight_decay": decays.get(name, 0.0),
            }
            for name, parameter in parameters.items()
        ]
    )
    generator = torch.Generator().manual_seed(2)
    batches = BatchIterator(dataset(data), batch_size, generator)
    for _ in range(3):
        for batch in batches:
            optimizer.zero_grad()
            reference_loss(expected, *batch).backward()
            optimizer.step()
    for name, parameter in expected.named_parameters():
        torch.testing.assert_close(
            getattr(module, name), parameter, rtol=0, atol=1e-11, msg=name
        )


@pytest.mark.parametrize(
    ("head", "power", "trained"),
    [
        ("shared", 1.0, set(NAMES)),
        ("per_task", 1.0, set(NAMES)),
        ("shared", 2.0, {"filters", "head_coef"}),
        ("per_task", 3.0, {"filters", "head_coef"}),
        ("fixed", 1.0, {"filters"}),
        ("fixed", 3.0, {"filters"}),
    ],
)
@pytest.mark.parametrize("solver", ["gd", "adam"])
def test_what_is_trained(solver, head, power, trained):
    settings = {"solver": solver, "head": head, "power": power}
    first = descend(make_data(PATCHES), PATCHES, **settings)
    later = descend(make_data(PATCHES), PATCHES, first.state, **settings)
    changed = {n for n in NAMES if (first.state[n] != later.state[n]).any()}
    assert changed == trained


@pytest.mark.parametrize("head", ["shared", "fixed", "per_task"])
@pytest.mark.parametrize("solver", ["gd", "adam"])
def test_descent_goes_on_from_its_state(grid, solver, head, monkeypatch):
    # a rate that does not know for how many epochs it is made
    monkeypatch.setattr(_conv_descent, "CosineSchedule", Callback)
    data = make_data(grid, 3)
    settings = {"solver": solver, "head": head, "learning_rate": 0.01}
    once = descend(data, grid, max_epochs=7, **settings)
    first = descend(data, grid, max_epochs=3, **settings)
    assert all(isinstance(array, np.ndarray) for array in first.state.values())
    state = pickle.loads(pickle.dumps(first.state))
    second = descend(data, grid, state, max_epochs=4, seed=9, **settings)
    np.testing.assert_array_equal(
        np.r_[first.loss_curve, second.loss_curve], once.loss_curve
    )
    assert once.state.keys() == second.state.keys()
    for name, array in once.state.items():
        np.testing.assert_array_equal(second.state[name], array, err_msg=name)


class RecordRates(Callback):
    def initialize(self):
        self.rates = []
        return self

    def on_epoch_begin(self, net, **kwargs):
        self.rates.append([group["lr"] for group in net.optimizer_.param_groups])


def test_the_learning_rate_of_adam_falls_along_a_cosine():
    record = RecordRates()
    settings = {"solver": "adam", "max_epochs": 8}
    descend(make_data(PATCHES), PATCHES, callbacks=[record], **settings)
    fall = (1 + np.cos(np.pi * np.arange(8) / 8)) / 2
    expected = LEARNING_RATE * np.outer(fall, [2, 1, 1])  # filters have 4 weights
    np.testing.assert_allclose(record.rates, expected)


def test_gd_takes_all_rows_at_once():
    seen = []

    class RecordRows(Callback):
        def on_batch_end(self, net, batch, **kwargs):
            seen.append(len(batch[0]))

    descend(make_data(PATCHES), PATCHES, callbacks=[RecordRows()], batch_size=5)
    assert seen == [12]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gd_never_raises_its_loss(grid, dtype):
    data = make_data(grid, dtype=dtype)
    settings = {"learning_rate": 10.0, "weight_decay": 0.0, "max_epochs": 60}
    curve = descend(data, grid, **settings).loss_curve
    assert (np.diff(curve) <= 0).all()
    assert curve[-1] < curve[0]


def test_rows_of_weight_w_stand_for_w_rows(grid):
    data = make_data(grid)
    counts = np.random.default_rng(1).integers(0, 4, 12)
    weighted = data._replace(weights=counts / counts.sum())
    repeated = data._replace(weights=np.ones(12)).take(np.repeat(np.arange(12), counts))
    settings = {"head": "per_task", "power": 1.0, "max_epochs": 20}
    first, second = (descend(d, grid, **settings) for d in (weighted, repeated))
    np.testing.assert_allclose(first.loss_curve, second.loss_curve)
    for name in NAMES:
        np.testing.assert_allclose(
            first.state[name], second.state[name], rtol=1e-9, atol=1e-12
        )


def test_weights_of_rows_classes_and_tasks_multiply_and_sum_to_one():
    data = ClassData(
        np.zeros((5, 1)),
        np.array([0, 1, 1, 0, 1]),
        np.array([0, 0, 0, 0, 2]),
        np.array([1.0, 2.0, 0.0, 1.0, 4.0]),
        2,
        3,
        ALONE.locate_rows(5),
        ALONE,
    )
    by_row = weigh_rows(data, np.array([1.0, 3.0]), "observed").weights
    np.testing.assert_allclose(by_row, np.array([1, 6, 0, 1, 12]) / 20)
    by_task = weigh_rows(data, np.array([1.0, 3.0]), "equal").weights
    np.testing.assert_allclose(by_task, np.array([1, 6, 0, 1, 8]) / 16)
    np.testing.assert_allclose(np.bincount(data.tasks, by_task), [0.5, 0, 0.5])
    half = data.take(np.array([0, 3]))
    np.testing.assert_allclose(half.weights, [0.5, 0.5])


@pytest.mark.parametrize("task_weight", ["observed", "equal"])
def test_rows_without_any_weight_are_refused(task_weight):
    data = make_data(PATCHES)._replace(weights=np.zeros(12))
    with pytest.raises(ValueError, match=r"weight of 0.*Give some a positive weight"):
        weigh_rows(data, np.ones(2), task_weight)


@pytest.mark.parametrize("init_scale", [0.03, 0.6])
def test_filters_start_with_the_same_responses_whatever_their_size(init_scale):
    for shape, kernel in (((3, 400), 1), ((3, 9, 9), 9), ((50,), 50)):
        grid = make_patch_grid(shape, kernel, 1, "mean")
        module = TwoLayerConv(grid, 4000, 1, 1, 3.0, torch.float32)
        module.reset_parameters(torch.Generator().manual_seed(0), init_scale)
        patch = torch.ones(grid.patch_dim) / grid.patch_dim**0.5
        responses = (module.filters @ patch).detach()
        error = np.sqrt(1 / (2 * len(responses)))  # of the deviation of Gaussian draws
        assert responses.std().item() == pytest.approx(init_scale, rel=4 * error)
        assert not module.biases.any()
        assert not module.head_intercept.any()


@pytest.mark.parametrize("power", [1.0, 3.0])
def test_a_start_is_the_same_in_both_precisions(power):
    starts = []
    for dtype in (torch.float32, torch.float64):
        module = TwoLayerConv(PATCHES, 6, 2, 3, power, dtype)
        module.reset_parameters(torch.Generator().manual_seed(0), 0.5)
        starts.append([p.detach().double() for p in module.parameters()])
    for single, double in zip(*starts):
        torch.testing.assert_close(single, double, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("n_heads", [1, 4])
def test_heads_of_the_plain_relu_start_with_a_norm_of_one_third(n_heads):
    grid = GRIDS["cells of an image"]
    module = TwoLayerConv(grid, 500, n_heads, 3, 1.0, torch.float64)
    module.reset_parameters(torch.Generator().manual_seed(0), 0.5)
    heads = module.head_coef.detach()
    norms = heads.square().sum(dim=1)
    error = np.sqrt(2 / heads.shape[1])  # of a sum of squares of Gaussian draws
    torch.testing.assert_close(
        norms, torch.full_like(norms, 1 / 3), rtol=4 * error, atol=0
    )


@pytest.mark.parametrize("n_columns", [1, 3, 4])
@pytest.mark.parametrize("power", [1.0, 3.0])
def test_filters_are_shared_out_over_the_classes(grid, n_columns, power):
    module = TwoLayerConv(grid, 14, 2, n_columns, power, torch.float64)
    module.reset_parameters(torch.Generator().manual_seed(0), 0.5)
    if power == 1:
        module.assign_filters()
    # (n_heads, n_columns, n_cells, n_filters)
    heads = module.head_coef.detach().view(2, n_columns, grid.n_cells, 14).numpy()
    assert (heads == heads[:1, :, :1]).all()
    of_class = heads[0, :, 0]
    if n_columns == 1:
        assert sorted(of_class[0]) == [-1] * 7 + [1] * 7
    else:
        np.testing.assert_array_equal(of_class.sum(axis=0), np.ones(14))
        sizes = of_class.sum(axis=1)
        assert sizes.max() - sizes.min() <= 1
        assert set(of_class.ravel()) == {0, 1}


@pytest.mark.parametrize("centre", [True, False])
def test_the_scale_is_the_root_of_the_mean_squared_norm_of_a_patch(grid, centre):
    data = make_data(grid)
    X = 5 + 3 * data.X
    patches = X[:, grid.places()]
    mean, scale, _ = patch_statistics(X, data.weights, grid, centre)
    of_entries = np.average(patches.mean(axis=(1, 2)), weights=data.weights)
    assert mean == pytest.approx(of_entries if centre else 0)
    squared = ((patches - mean) ** 2).sum(axis=2).mean(axis=1)
    assert scale**2 == pytest.approx(np.average(squared, weights=data.weights))


@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize(
    ("dtype", "factor"), [(np.float64, 2.0**900), (np.float32, 2.0**100)]
)
def test_the_scale_neither_overflows_nor_vanishes(grid, centre, dtype, factor):
    data = make_data(grid, dtype=dtype)
    mean, scale, _ = patch_statistics(data.X, data.weights, grid, centre)
    for f in (factor, 1 / factor):
        scaled = patch_statistics(data.X * dtype(f), data.weights, grid, centre)
        assert scaled[:2] == (mean * f, scale * f)


@pytest.mark.parametrize("value", [0.0, 2.0, -0.5])
def test_inputs_that_do_not_vary_have_no_scale(value):
    grid = GRIDS["cells of an image"]
    X = np.full((12, 60), value)
    mean, scale, _ = patch_statistics(X, np.full(12, 1 / 12), grid, True)
    assert mean == pytest.approx(value)
    assert scale == 0
