"""Closed forms against autograd, in float64."""

import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

from mtrl_sklearn._relu.gradients import dropout_, representation_gradients
from mtrl_sklearn._relu.input_scale import input_statistics
from mtrl_sklearn._relu.network import TwoLayerReLU
from mtrl_sklearn._training.gradients import head_gradients
from mtrl_sklearn._training.losses import MultiTaskLoss, log_odds, task_weights


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    module = TwoLayerReLU(5, 7, 3, torch.float64)
    for parameter in module.parameters():
        parameter.data = normal(*parameter.shape)
    X = normal(20, 5)
    signs = torch.randint(-1, 2, (20, 3), generator=generator).double()
    weights = normal(3).abs()
    return module, X, signs, weights


@pytest.mark.parametrize("loss", ["logistic", "hinge"])
def test_gradients_equal_autograd(problem, loss):
    module, X, signs, weights = problem
    criterion = MultiTaskLoss(loss, weights)
    criterion(module(X), signs).backward()
    with torch.no_grad():
        hidden = module.hidden(X)
        of_scores = criterion.gradient(module(X), criterion.read(signs))
        heads = head_gradients(hidden, of_scores)
        layer = representation_gradients(X, hidden, of_scores, module.task_coef)
    closed = {**heads._asdict(), **layer._asdict()}
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(closed[name], parameter.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("loss", ["logistic", "hinge"])
def test_gradients_equal_autograd_under_dropout(problem, loss):
    module, X, signs, weights = problem
    criterion = MultiTaskLoss(loss, weights)
    rate = 0.3
    kept = torch.rand(20, 7, generator=torch.Generator().manual_seed(1)) > rate
    hidden = module.hidden(X) * kept / (1 - rate)
    scores = hidden @ module.task_coef.T + module.task_intercept
    criterion(scores, signs).backward()
    with torch.no_grad():
        of_scores = criterion.gradient(scores, criterion.read(signs))
        heads = head_gradients(hidden, of_scores)
        layer = representation_gradients(
            X, hidden, of_scores, module.task_coef, 1 - rate
        )
    closed = {**heads._asdict(), **layer._asdict()}
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(closed[name], parameter.grad, rtol=0, atol=1e-12)


def test_losses_equal_their_definition(problem):
    _, _, signs, weights = problem
    scores = torch.randn(20, 3, dtype=torch.float64) * 3
    observed = signs != 0
    margins = signs * scores
    definitions = {
        "logistic": softplus(-margins),
        "hinge": (1 - margins).clamp(min=0),
    }
    for loss, of_label in definitions.items():
        expected = (of_label * observed * weights).sum() / len(scores)
        value = MultiTaskLoss(loss, weights)(scores, signs)
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("loss", ["logistic", "hinge"])
def test_scores_of_hidden_labels_have_no_influence(problem, loss):
    _, _, signs, weights = problem
    criterion = MultiTaskLoss(loss, weights)
    scores = torch.randn(20, 3, dtype=torch.float64)
    changed = torch.where(signs == 0, 1e6, scores)
    labels = criterion.read(signs)
    assert criterion.value(scores, labels) == criterion.value(changed, labels)
    before, after = (criterion.gradient(f, labels) for f in (scores, changed))
    assert torch.equal(before, after)


def test_logistic_loss_is_finite_at_extreme_scores():
    signs = torch.tensor([[1.0], [-1.0]])
    scores = torch.tensor([[-1e4], [-1e4]])
    criterion = MultiTaskLoss("logistic", torch.ones(1))
    labels = criterion.read(signs)
    assert criterion.value(scores, labels) == pytest.approx(5e3)
    gradient = criterion.gradient(scores, labels)
    torch.testing.assert_close(gradient, torch.tensor([[-0.5], [0.0]]))


def test_task_weights_state_the_objective():
    n_positive, n_negative = np.array([30, 2, 0]), np.array([10, 8, 5])
    n_observed = n_positive + n_negative
    by_label = task_weights(n_positive, n_negative, "observed")
    assert by_label[0] == by_label[1]
    by_task = task_weights(n_positive, n_negative, "equal")
    assert by_task[0] * 40 == pytest.approx(by_task[1] * 10)
    for weights in (by_label, by_task):
        assert weights[2] == 0
        assert weights @ n_observed == pytest.approx(1)


def test_log_odds_of_base_rates():
    odds = log_odds(np.array([30, 10, 0]), np.array([10, 10, 0]))
    np.testing.assert_allclose(odds, [np.log(30.5 / 10.5), 0, 0])


def test_dropout_keeps_the_mean_and_meets_its_rate():
    """Shares of zeros are off by at most four standard errors of independent draws."""
    n_rows, n_columns, rate = 1000, 401, 0.3
    ones = torch.ones(n_rows, n_columns)
    dropped = dropout_(ones, rate, torch.Generator().manual_seed(0))
    zeros = (dropped == 0).double()
    variance = rate * (1 - rate)
    error = np.sqrt(variance / zeros.numel())
    assert zeros.mean() == pytest.approx(rate, abs=4 * error)
    torch.testing.assert_close(
        dropped[dropped > 0].unique(), torch.tensor([1 / 0.7]), rtol=1e-6, atol=0
    )
    # over k nearly Gaussian means their deviation is known to a share of sqrt(1 / 2k)
    for dim, n_means in ((0, n_columns), (1, n_rows)):
        spread, n_draws = zeros.mean(dim).std(), zeros.shape[dim]
        error = np.sqrt(1 / (2 * n_means))
        assert spread == pytest.approx(np.sqrt(variance / n_draws), rel=4 * error)


def test_dropout_repeats_with_its_generator():
    hidden = torch.rand(50, 13)
    first = dropout_(hidden.clone(), 0.5, torch.Generator().manual_seed(3))
    again = dropout_(hidden.clone(), 0.5, torch.Generator().manual_seed(3))
    other = dropout_(hidden.clone(), 0.5, torch.Generator().manual_seed(4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert dropout_(hidden, 0.0, torch.Generator()) is hidden


def test_inputs_are_centred_and_scaled_over_labels():
    rng = np.random.default_rng(0)
    X, signs = rng.normal(3, 5, (50, 4)), rng.integers(-1, 2, (50, 3))
    mean, scale, _ = input_statistics(X, signs)
    one_row_per_label = X[np.nonzero(signs)[0]]
    normalised = (one_row_per_label - mean) / scale
    np.testing.assert_allclose(normalised.mean(axis=0), 0, atol=1e-12)
    assert (normalised**2).sum(axis=1).mean() == pytest.approx(32)


def test_inputs_that_do_not_vary_have_no_scale():
    mean, scale, is_constant = input_statistics(np.full((5, 2), 7.0), np.ones((5, 1)))
    np.testing.assert_array_equal(mean, [7, 7])
    assert scale == 0
    assert is_constant.all()
