"""Closed-form heads, and the layers they stand on."""

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from mtrl_sklearn._group import Group, Shard
from mtrl_sklearn._relu import solution as _solution
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
from mtrl_sklearn._relu.task_data import count_labels, draw_labelled_rows
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


def make_moments(n_rows, n_hidden=3, shift=0.0):
    """Hidden features in float64, signs with gaps, and the moments of their labels."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, 2))
    signs = rng.integers(-1, 2, (n_rows, 2)).astype(np.int8)
    signs[::5] = 0
    data = count_labels(X, signs, "observed")
    tensors = torch.from_numpy(rng.standard_normal((n_hidden, 2))), torch.ones(n_hidden)
    layer = finish_first_layer(*tensors, torch.zeros(2), torch.ones(()), None)
    layer = layer._replace(hidden_biases=layer.hidden_biases + shift)
    hidden = np.maximum(X @ layer.hidden_weights.T + layer.hidden_biases, 0)
    return hidden, data, update_moments(None, layer, data, "cpu")


@pytest.mark.parametrize("shift", [0.0, 1e5])
def test_moments_are_sums_over_labels(shift):
    hidden, data, moments = make_moments(200, shift=shift)
    labels = np.abs(data.signs).sum(axis=1)
    rtol = 1e-12
    for sign, total, count in (
        (1, moments.positive, moments.n_positive),
        (-1, moments.negative, moments.n_negative),
    ):
        of_class = data.signs == sign
        np.testing.assert_allclose(total, of_class.T @ hidden, rtol=rtol)
        np.testing.assert_array_equal(count, of_class.sum(axis=0))
    second = hidden.T @ (labels[:, None] * hidden)
    np.testing.assert_allclose(moments.second, second, rtol=rtol)


def test_of_many_rows_some_tell_the_scatter_within_classes(monkeypatch):
    monkeypatch.setattr(_solution, "ROWS_PER_UNIT", 10)
    monkeypatch.setattr(_solution, "LEAST_ROWS", 30)
    hidden, data, moments = make_moments(200)
    drawn = data.rows[draw_labelled_rows(data, 30)]
    within, n_drawn, between = 0.0, 0, 0.0
    for task, signs in enumerate(data.signs.T):
        for sign, total in ((1, moments.positive), (-1, moments.negative)):
            of_class = hidden[signs == sign]
            np.testing.assert_allclose(total[task], of_class.sum(axis=0))
            centre = of_class.mean(axis=0)
            away = hidden[drawn][signs[drawn] == sign] - centre
            within, n_drawn = within + away.T @ away, n_drawn + len(away)
            between = between + len(of_class) * np.outer(centre, centre)
    expected = between + np.abs(data.signs).sum() / n_drawn * within
    np.testing.assert_allclose(moments.second, expected)


def test_rows_are_drawn_of_those_with_labels_however_they_are_spread():
    class OneOfTwo(Group):
        def __init__(self, start, counts):
            self.shard = Shard(start, counts[bool(start)], sum(counts))

        def locate_rows(self, n_here):
            assert n_here == self.shard.n_here
            return self.shard

    _, data, _ = make_moments(200)
    data = data._replace(rows=None, shard=Shard(0, 200, 200))
    drawn = draw_labelled_rows(data, 40)
    assert len(set(drawn)) == 40
    assert (np.diff(drawn) > 0).all()
    assert data.signs[drawn].any(axis=1).all()
    halves = slice(0, 70), slice(70, 200)
    counts = [np.count_nonzero(data.signs[half].any(axis=1)) for half in halves]
    found = []
    for half, start in zip(halves, (0, counts[0])):
        part = data._replace(signs=data.signs[half], group=OneOfTwo(start, counts))
        found.append(draw_labelled_rows(part, 40) + half.start)
    np.testing.assert_array_equal(np.concatenate(found), drawn)
    # no others where few have labels
    some = draw_labelled_rows(data, 199)
    np.testing.assert_array_equal(some, np.flatnonzero(data.signs.any(axis=1)))
    assert draw_labelled_rows(data, 200) is None


def test_rows_are_drawn_of_those_to_train_on():
    _, data, _ = make_moments(200)
    rows = np.arange(100, 200)
    part = data._replace(rows=rows, shard=Shard(0, 100, 100))
    places = draw_labelled_rows(part, 50)
    assert places.max() < 100
    assert data.signs[rows[places]].any(axis=1).all()
