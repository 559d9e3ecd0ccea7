"""Heads of a batch: rows of the parameters, or all of them."""

import numpy as np
import pytest
import torch

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn._arrays.products import csr_tensor, is_sparse
from mtrl_sklearn._labels import signs as _signs
from mtrl_sklearn._relu import heads as _heads
from mtrl_sklearn._relu.heads import select_heads
from mtrl_sklearn._relu.network import TwoLayerReLU
from mtrl_sklearn._training import adamw as _lazy_adamw
from mtrl_sklearn._training.adamw import LazyAdamW
from mtrl_sklearn._training.gradients import HeadGradients

N_TASKS, N_HIDDEN = 20, 3


@pytest.fixture(autouse=True, params=[0, 10**9])
def _large_or_small_parameters(monkeypatch, request):
    monkeypatch.setattr(_lazy_adamw, "MIN_SIZE", request.param)


@pytest.fixture
def module():
    module = TwoLayerReLU(2, N_HIDDEN, N_TASKS, torch.float64)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(generator=generator)
    return module


def labels(tasks):
    """CSR signs of rows with one label each."""
    n_rows, columns = len(tasks), torch.tensor(tasks, dtype=torch.int32)
    starts = torch.arange(n_rows + 1, dtype=torch.int32)
    values = torch.arange(1.0, n_rows + 1, dtype=torch.float64)
    return csr_tensor(starts, columns, values, (n_rows, N_TASKS))


def optimizer_of(module):
    return LazyAdamW([module.task_coef, module.task_intercept], lr=0.1)


def test_dense_signs_ask_for_all_heads(module):
    signs = labels([3, 5]).to_dense()
    heads = select_heads(module, optimizer_of(module), signs)
    assert heads.tasks is None
    assert heads.signs is signs
    assert heads.current() == (module.task_coef, module.task_intercept)


@pytest.mark.parametrize(("n_labels", "are_rows"), [(5, True), (6, False)])
def test_few_labels_ask_for_their_heads(module, n_labels, are_rows):
    tasks = [7, 3, 7, 11, 0, 9][:n_labels]
    signs = labels(tasks)
    heads = select_heads(module, optimizer_of(module), signs)
    assert is_sparse(heads.signs)
    coef, intercept = heads.current()
    if are_rows:
        assert heads.tasks.tolist() == sorted(set(tasks))
        assert torch.equal(heads.signs.to_dense(), signs.to_dense()[:, heads.tasks])
        assert torch.equal(coef, module.task_coef[heads.tasks])
        assert torch.equal(intercept, module.task_intercept[heads.tasks])
    else:
        assert heads.tasks is None
        assert torch.equal(heads.signs.to_dense(), signs.to_dense())
        assert coef is module.task_coef


def test_heads_are_those_of_adamw_on_all(module):
    """Batches of few labels, of overlapping tasks, and now and then of many."""
    parameters = module.task_coef, module.task_intercept
    optimizer = optimizer_of(module)
    copies = [torch.nn.Parameter(p.detach().clone()) for p in parameters]
    reference = torch.optim.AdamW(copies, lr=0.1)
    generator = torch.Generator().manual_seed(0)
    for k in range(60):
        size = 9 if k % 20 == 19 else 4
        tasks = torch.randint(0, N_TASKS, (size,), generator=generator).tolist()
        heads = select_heads(module, optimizer, labels(tasks))
        rows = slice(None) if heads.tasks is None else heads.tasks
        for _ in range(2):
            for ours, theirs in zip(heads.current(), copies):
                assert torch.allclose(ours, theirs[rows], rtol=1e-9)
            gradients = [
                torch.randn(p[rows].shape, generator=generator, dtype=torch.float64)
                for p in copies
            ]
            for parameter, g in zip(
                parameters, heads.expand(HeadGradients(*gradients))
            ):
                parameter.grad = g
            for copy, g in zip(copies, gradients):
                copy.grad = torch.zeros_like(copy)
                copy.grad[rows] = g
            optimizer.step()
            reference.step()
    for ours, theirs in zip(parameters, copies):
        optimizer.refresh(ours)
        assert torch.allclose(ours, theirs, rtol=1e-9)


@pytest.mark.filterwarnings("ignore:Training ended at max_iter")
@pytest.mark.parametrize("algorithm", ["alternating", "joint"])
def test_sparse_labels_train_what_dense_ones_do(monkeypatch, algorithm):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 4))
    Y = np.full((400, 100), np.nan)
    rows = rng.permutation(400)  # two labels of each class for each task
    Y[rows, np.arange(400) % 100] = np.arange(400) // 200
    fits = []
    for share, density in ((0, 0), (0, 1), (0.25, 1)):
        monkeypatch.setattr(_heads, "MAX_SHARE", share)
        monkeypatch.setattr(_signs, "MAX_DENSITY", density)
        fits.append(
            MultiTaskReLURepresentation(
                8,
                algorithm=algorithm,
                batch_size=20,
                max_iter=3,
                tol=0,
                n_components=None,
                random_state=0,
            ).fit(X, Y)
        )
    for fit in fits[1:]:
        for name in ("hidden_weights_", "task_coef_", "task_intercept_"):
            expected = getattr(fits[0], name)
            # no rounding: a step made up for later is exact up to (eps / g)^2 of it
            np.testing.assert_allclose(getattr(fit, name), expected, 0, 1e-9)
