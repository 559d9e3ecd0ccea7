"""The loss of classes: value, gradient, the head of a row's task."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from mtrl_sklearn._training.losses import ClassLoss, softmax_loss


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(0)
    scores = 3 * torch.randn(30, 4, generator=generator, dtype=torch.float64)
    codes = torch.randint(4, (30,), generator=generator)
    weights = torch.rand(30, generator=generator, dtype=torch.float64)
    return scores, codes, weights


def test_value_and_gradient_are_those_of_cross_entropy(rows):
    scores, codes, weights = rows
    variable = scores.clone().requires_grad_()
    expected = weights @ cross_entropy(variable, codes, reduction="none")
    (gradient,) = torch.autograd.grad(expected, variable)
    loss = softmax_loss(scores, codes, weights)
    torch.testing.assert_close(loss.value, expected.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(loss.gradient, gradient, rtol=0, atol=1e-12)


def test_a_single_score_is_that_of_the_second_class(rows):
    scores, codes, weights = (tensor.numpy() for tensor in rows)
    f, y = scores[:, 0], np.where(codes % 2, 1, -1)
    value = weights @ np.log1p(np.exp(-y * f))
    gradient = -weights * y / (1 + np.exp(y * f))
    loss = softmax_loss(rows[0][:, :1], rows[1] % 2, rows[2])
    assert loss.value.item() == pytest.approx(value, abs=1e-12)
    np.testing.assert_allclose(loss.gradient[:, 0], gradient, rtol=0, atol=1e-12)


def test_inputs_are_left_as_they_were(rows):
    before = [tensor.clone() for tensor in rows]
    softmax_loss(*rows)
    assert all(torch.equal(a, b) for a, b in zip(before, rows))


@pytest.mark.parametrize("n_columns", [1, 3])
def test_extreme_scores_have_a_finite_loss(n_columns):
    scores = torch.zeros(2, n_columns)
    scores[:, -1] = 1e4
    codes = torch.tensor([max(n_columns - 1, 1), 0])
    loss = softmax_loss(scores, codes, torch.ones(2))
    assert loss.value.item() == pytest.approx(1e4)
    assert loss.gradient[0].abs().max() == 0
    assert loss.gradient[1, -1] == 1


def test_rows_without_weight_have_no_influence(rows):
    scores, codes, weights = rows
    weights[::3] = 0
    expected = softmax_loss(scores, codes, weights)
    changed = scores.clone()
    changed[::3] = 1e6
    loss = softmax_loss(changed, codes, weights)
    assert loss.value == expected.value
    assert torch.equal(loss.gradient, expected.gradient)


@pytest.mark.parametrize("n_columns", [1, 3])
def test_each_row_is_scored_by_the_head_of_its_task(n_columns):
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(20, 4 * n_columns, generator=generator, dtype=torch.float64)
    codes = torch.randint(max(n_columns, 2), (20,), generator=generator)
    tasks = torch.randint(4, (20,), generator=generator)
    weights = torch.rand(20, generator=generator, dtype=torch.float64)
    loss = ClassLoss(4).with_gradient(scores, codes, tasks, weights)
    value, gradient = 0.0, torch.zeros_like(scores)
    for k in range(4):
        mine, columns = tasks == k, slice(k * n_columns, (k + 1) * n_columns)
        of_task = softmax_loss(scores[mine, columns], codes[mine], weights[mine] / 20)
        value += of_task.value
        gradient[mine, columns] = of_task.gradient
    torch.testing.assert_close(loss.value, value)
    torch.testing.assert_close(loss.gradient, gradient)


def test_a_single_head_scores_the_rows_of_all_tasks(rows):
    scores, codes, weights = rows
    loss = ClassLoss(1).with_gradient(scores, codes, codes % 3, weights)
    expected = softmax_loss(scores, codes, weights / 30)
    assert loss.value == expected.value
    assert torch.equal(loss.gradient, expected.gradient)
