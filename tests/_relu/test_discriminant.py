"""Closed-form heads, and the layers they stand on."""

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from mtrl_sklearn._relu.discriminant import (
    SHRINKAGE,
    add_labels,
    discriminant_heads,
    no_moments,
)
from mtrl_sklearn._relu.solution import (
    FADING,
    export_moments,
    finish_first_layer,
    update_moments,
)
from mtrl_sklearn._relu.task_data import count_labels
from mtrl_sklearn._training.losses import log_odds


def class_moments(hidden, signs):
    moments = no_moments(signs.shape[1], hidden.shape[1], "cpu")
    add_labels(moments, hidden, signs)
    return moments


@pytest.fixture
def labelled():
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((300, 4)) @ rng.standard_normal((4, 4)) + 2
    y = hidden[:, 0] + rng.standard_normal(300) > 3
    return torch.from_numpy(hidden), y


def test_single_task_is_scikit_learns_discriminant(labelled):
    hidden, y = labelled
    signs = torch.from_numpy(np.where(y, 1, -1))[:, None]
    odds = torch.tensor([np.log(y.mean() / (1 - y.mean()))])
    coef, intercept = discriminant_heads(class_moments(hidden, signs), odds)

    within = np.cov(hidden[y].T, bias=True) * y.mean()
    within += np.cov(hidden[~y].T, bias=True) * (1 - y.mean())
    level = SHRINKAGE * np.trace(within) / 4
    shrunk = (1 - SHRINKAGE) * within + level * np.eye(4)
    gap = hidden[y].mean(0) - hidden[~y].mean(0)
    np.testing.assert_allclose(coef[0], np.linalg.solve(shrunk, gap), rtol=1e-6)

    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE)
    scores = model.fit(hidden.numpy(), y).decision_function(hidden.numpy())
    ours = (hidden @ coef.T + intercept)[:, 0].numpy()
    np.testing.assert_allclose(ours, scores, rtol=0.1, atol=0.1)


def test_score_half_way_between_the_classes_is_the_log_odds(labelled):
    hidden, y = labelled
    signs = torch.from_numpy(np.where(y, 1, -1))[:, None]
    odds = torch.tensor([-1.5], dtype=torch.float64)
    coef, intercept = discriminant_heads(class_moments(hidden, signs), odds)
    middle = (hidden[y].mean(0) + hidden[~y].mean(0)) / 2
    torch.testing.assert_close(middle @ coef[0] + intercept[0], odds[0])


def test_blocks_add_up_and_tasks_that_lack_a_class_score_their_log_odds(labelled):
    hidden, y = labelled
    signs = np.where(y, 1, -1)[:, None] * np.array([1, 0, 0])
    signs[:20, 1] = 1
    signs = torch.from_numpy(signs)
    whole = class_moments(hidden, signs)
    parts = class_moments(hidden[:70], signs[:70])
    add_labels(parts, hidden[70:], signs[70:])
    for a, b in zip(whole, parts):
        torch.testing.assert_close(a, b)
    odds = torch.tensor([0.0, 2.0, -1.0], dtype=torch.float64)
    coef, intercept = discriminant_heads(whole, odds)
    assert not coef[1:].any()
    torch.testing.assert_close(intercept[1:], odds[1:])


def test_features_that_never_fire_are_no_obstacle():
    hidden = torch.zeros(10, 3)
    signs = torch.tensor([[1], [-1]] * 5)
    coef, intercept = discriminant_heads(class_moments(hidden, signs), torch.zeros(1))
    assert not coef.any()
    assert not intercept.any()


@pytest.mark.parametrize("rank", [None, 2])
def test_first_layer_is_folded_at_its_rank(rank):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    weights, biases, mean = normal(6, 4), normal(6), 50 + normal(4)
    scale = torch.tensor(3.0, dtype=torch.float64)
    layer = finish_first_layer(weights, biases, mean, scale, rank)
    left, values, right = np.linalg.svd(weights.numpy(), full_matrices=False)
    kept = len(values) if rank is None else rank
    truncated = (left[:, :kept] * values[:kept]) @ right[:kept]
    X = 50 + normal(9, 4).numpy()
    expected = (X - mean.numpy()) / 3 @ truncated.T + biases.numpy()
    ours = X @ layer.hidden_weights.T + layer.hidden_biases
    np.testing.assert_allclose(ours, expected, atol=1e-10)
    np.testing.assert_allclose(layer.singular_values, values / 3)


def test_weights_that_are_not_finite_are_refused():
    weights = torch.tensor([[1.0, np.nan]])
    with pytest.raises(ValueError, match="not finite"):
        finish_first_layer(
            weights, torch.zeros(1), torch.zeros(2), torch.ones(()), None
        )


def test_earlier_moments_fade():
    rng = np.random.default_rng(0)
    X, signs = rng.standard_normal((30, 4)), rng.integers(-1, 2, (30, 2)).astype("i1")
    data = count_labels(X, signs, "observed")
    tensors = [torch.from_numpy(rng.standard_normal(s)) for s in ((5, 4), (5,))]
    layer = finish_first_layer(*tensors, torch.zeros(4), torch.ones(()), None)
    first = update_moments(None, layer, data, "cpu")
    second = update_moments(export_moments(first), layer, data, "cpu")
    for a, b in zip(first, second):
        torch.testing.assert_close(b, (1 + FADING) * a)
    assert 0.5 < FADING < 1


def test_weights_of_labels_sum_to_one_over_the_rows_at_hand():
    rng = np.random.default_rng(0)
    X, signs = np.zeros((50, 1)), rng.integers(-1, 2, (50, 3)).astype("i1")
    for task_weight in ("observed", "equal"):
        data = count_labels(X, signs, task_weight)
        per_task = np.abs(signs).sum(axis=0)
        assert data.weights @ per_task == pytest.approx(1)
        again = count_labels(X, signs, task_weight, (data.n_positive, data.n_negative))
        np.testing.assert_allclose(again.weights, data.weights)
        np.testing.assert_array_equal(again.n_positive, 2 * data.n_positive)


def test_log_odds_count_half_a_label_more():
    assert log_odds(np.array([3]), np.array([3])) == 0
    assert log_odds(np.array([0]), np.array([10])) < 0
