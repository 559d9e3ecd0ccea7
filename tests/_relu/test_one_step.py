"""The closed-form step is the gradient it claims to be."""

import numpy as np
import pytest
import torch

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn._arrays.rows import RowDataset, Rows
from mtrl_sklearn._relu.one_step import (
    add_rows,
    centred_labels,
    gaussian_directions,
    pseudo_contrastive_loss,
    start_step,
)
from mtrl_sklearn.datasets import make_subspace_tasks


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(30, 6, generator=generator, dtype=torch.float64)
    signs = torch.randint(-1, 2, (30, 4), generator=generator, dtype=torch.int8)
    start = gaussian_directions(9, 6, torch.float64, 1)
    weights = torch.rand(4, generator=generator, dtype=torch.float64)
    return X, signs, start, weights


def contrastive_loss(W, X, residuals):
    hidden = torch.relu(X @ W.T)
    return -((residuals @ residuals.T) * (hidden @ hidden.T)).sum() / 2


def identity(block):
    return block


def dataset(X, signs):
    return RowDataset(Rows(X), Rows(signs))


@pytest.mark.parametrize("centred", [False, True])
def test_step_is_the_negative_gradient_of_the_pseudo_contrastive_loss(rows, centred):
    X, signs, start, weights = rows
    counts = signs.abs().sum(0)
    mean = signs.sum(0) / counts if centred else torch.zeros(4, dtype=torch.float64)
    sums = add_rows(start_step(start, 4), dataset(X, signs), mean, weights, identity)
    W = start.clone().requires_grad_()
    loss = contrastive_loss(W, X, centred_labels(signs, mean, weights))
    loss.backward()
    torch.testing.assert_close(sums.step, -W.grad, rtol=0, atol=1e-12)
    assert pseudo_contrastive_loss(sums) == pytest.approx(loss.item())


def test_step_is_heads_first_gradient_descent_of_the_logistic_loss(rows):
    X, signs, start, weights = rows
    zero = torch.zeros(4, dtype=torch.float64)
    sums = add_rows(start_step(start, 4), dataset(X, signs), zero, weights, identity)

    W = start.clone().requires_grad_()
    A = torch.zeros(4, 9, dtype=torch.float64, requires_grad=True)

    def linear_part(A, W):
        """Gradient at score 0 of 2 log(1 + exp(-y f)), summed over observed labels."""
        scores = torch.relu(X @ W.T) @ A.T
        return -(signs * weights * scores).sum()

    (head_gradient,) = torch.autograd.grad(linear_part(A, W), A)
    torch.testing.assert_close(sums.task_coef, -head_gradient)
    updated = -head_gradient.detach()
    (layer_gradient,) = torch.autograd.grad(linear_part(updated, W), W)
    torch.testing.assert_close(sums.step, -layer_gradient)


def test_points_that_share_labels_are_pulled_together(rows):
    X, signs, start, weights = rows
    zero = torch.zeros(4, dtype=torch.float64)
    sums = add_rows(start_step(start, 4), dataset(X, signs), zero, weights, identity)
    residuals = centred_labels(signs, zero, weights)
    before = contrastive_loss(start, X, residuals)
    after = contrastive_loss(start + 1e-4 * sums.step, X, residuals)
    assert after < before


def test_blocks_of_rows_add_up(rows, monkeypatch):
    X, signs, start, weights = rows
    zero = torch.zeros(4, dtype=torch.float64)
    whole = add_rows(start_step(start, 4), dataset(X, signs), zero, weights, identity)
    monkeypatch.setattr("mtrl_sklearn._arrays.rows.BLOCK_ROWS", 7)
    blocks = add_rows(start_step(start, 4), dataset(X, signs), zero, weights, identity)
    for a, b in zip(whole, blocks):
        torch.testing.assert_close(a, b)


def test_repetition_starts_from_where_the_step_led():
    X, Y, _, _ = make_subspace_tasks(300, 10, n_tasks=8, random_state=0)
    settings = {"algorithm": "one_step", "random_state": 0, "n_components": None}
    twice = MultiTaskReLURepresentation(16, max_iter=2, **settings).fit(X, Y)
    warm = MultiTaskReLURepresentation(16, max_iter=1, warm_start=True, **settings)
    warm.fit(X, Y).fit(X, Y)
    np.testing.assert_allclose(warm.hidden_weights_, twice.hidden_weights_)
    assert warm.n_iter_ == twice.n_iter_ == 2
    np.testing.assert_allclose(warm.loss_curve_, twice.loss_curve_)


def test_partial_fit_on_all_rows_is_fit():
    X, Y, _, _ = make_subspace_tasks(300, 10, n_tasks=8, random_state=0)
    settings = {"algorithm": "one_step", "random_state": 0, "n_components": None}
    whole = MultiTaskReLURepresentation(16, **settings).fit(X, Y)
    part = MultiTaskReLURepresentation(16, **settings).partial_fit(X, Y)
    np.testing.assert_allclose(part.hidden_weights_, whole.hidden_weights_)
    np.testing.assert_allclose(part.task_coef_, whole.task_coef_)


def test_partial_fit_over_blocks_recovers_what_fit_does():
    X, Y, _, problem = make_subspace_tasks(8000, 30, n_components=3, random_state=0)
    model = MultiTaskReLURepresentation(64, algorithm="one_step", random_state=0)
    for block in np.split(np.arange(8000), 8):
        model.partial_fit(X[block], Y[block])
    whole = MultiTaskReLURepresentation(64, algorithm="one_step", random_state=0)
    whole.fit(X, Y)
    X_test, Y_test = problem.sample(1000, random_state=1)
    assert model.score(X_test, Y_test) > whole.score(X_test, Y_test) - 0.02
    assert whole.score(X_test, Y_test) > 0.8
