"""The first layer is cut only where source tasks lose nothing by it."""

import numpy as np
import pytest
import torch

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn._relu.rank_choice import choose_rank
from mtrl_sklearn._relu.solution import Heads, Trained
from mtrl_sklearn._relu.spectral import candidate_ranks
from mtrl_sklearn._relu.task_data import count_labels, set_aside

N_FEATURES, N_HIDDEN = 12, 256
RNG = np.random.default_rng(0)
X = RNG.standard_normal((400, N_FEATURES))
BASIS = np.linalg.qr(RNG.standard_normal((N_FEATURES, N_FEATURES)))[0]
FIRST = BASIS[:, 0]  # the direction above the edge


def network(heads=None):
    """A first layer that looks at all directions, but ten times as much at one."""
    rng = np.random.default_rng(1)
    left = np.linalg.qr(rng.standard_normal((N_HIDDEN, N_FEATURES)))[0]
    values = np.r_[10.0, np.linspace(1, 0.9, N_FEATURES - 1)]
    weights = torch.from_numpy((left * values) @ BASIS.T)
    biases = 0.1 * torch.from_numpy(rng.standard_normal(N_HIDDEN))
    mean, scale = torch.zeros(N_FEATURES).double(), torch.ones(()).double()
    return Trained(weights, biases, mean, scale, heads)


def labelled(signs, **parts):
    return count_labels(X, signs.astype(np.int8), "observed", **parts)


ON_FIRST = np.sign(X @ FIRST)[:, None] * np.array([1, -1])
ON_ALL = np.sign(X @ RNG.standard_normal((N_FEATURES, 3)))
TRAIN = np.arange(300)


def rank_of(found):
    return len(found.first_layer.components)


def test_an_edge_is_a_candidate():
    values = np.linalg.svd(network().weights.numpy())[1]
    assert candidate_ranks(values) == [1]


@pytest.mark.parametrize(("signs", "rank"), [(ON_FIRST, 1), (ON_ALL, N_FEATURES)])
def test_training_rows_decide_where_there_are_no_others(signs, rank):
    assert rank_of(choose_rank(network(), labelled(signs), "auto")) == rank


def test_few_labels_that_heads_of_a_cut_know_by_heart_do_not_decide():
    """Six factors make an edge; with noise on inputs all directions are needed."""
    rng, n_train = np.random.default_rng(0), 300
    factors = rng.normal(size=(1300, 6))
    inputs = factors @ rng.normal(size=(6, 40)) + 0.5 * rng.normal(size=(1300, 40))
    scores = factors @ rng.normal(size=(6, 12)) + 0.5 * rng.normal(size=(1300, 12))
    Y = (scores > 0).astype(float)
    known = np.where(rng.random(Y.shape) < 0.3, np.nan, Y)[:n_train]
    found = {}
    for n_components in ("auto", None, 6):
        network = MultiTaskReLURepresentation(
            128, n_components=n_components, random_state=0
        ).fit(inputs[:n_train], known)
        found[n_components] = network.score(inputs[n_train:], Y[n_train:])
    assert found["auto"] > found[None] - 0.005
    assert found[6] < found[None] - 0.01  # what a cut costs


@pytest.mark.parametrize("n_components", [1, 3, None])
def test_a_rank_that_is_asked_for_is_taken(n_components):
    found = choose_rank(network(), labelled(ON_ALL), n_components)
    assert rank_of(found) == (n_components or N_FEATURES)


def with_noise(signs, share):
    is_wrong = np.random.default_rng(2).random(signs.shape) < share
    return np.where(is_wrong, -signs, signs)


def knows_by_heart(signs, rows):
    """A network whose heads give these labels exactly, as those of a cut one cannot."""
    trained = network()
    hidden = torch.from_numpy(X[rows]) @ trained.weights.T + trained.biases
    coef = np.linalg.lstsq(hidden.relu().numpy(), signs[rows], rcond=None)[0].T
    return trained._replace(heads=Heads(coef, np.zeros(len(coef))))


@pytest.mark.parametrize(
    ("signs", "noise", "rank"), [(ON_FIRST, 0.2, 1), (ON_ALL, 0.0, N_FEATURES)]
)
def test_rows_held_out_decide_whatever_training_rows_say(signs, noise, rank):
    rows, others = np.arange(200), np.arange(200, 400)
    noisy = with_noise(signs, noise)
    noisy[others] = signs[others]
    trained = knows_by_heart(noisy, rows)
    data = labelled(noisy, rows=rows, held_out=others)
    found = choose_rank(trained, data, "auto", None, pytest.fail)  # none is trained
    assert rank_of(found) == rank


@pytest.mark.parametrize(
    ("signs", "noise", "rank"), [(ON_FIRST, 0.2, 1), (ON_ALL, 0.0, N_FEATURES)]
)
def test_another_network_decides_where_training_rows_speak_against_a_cut(
    signs, noise, rank
):
    noisy = with_noise(signs, noise)
    data = labelled(noisy, rows=np.arange(200))
    trained = knows_by_heart(noisy, data.rows)
    parts = []

    def retrain(part):
        parts.append(part)
        return network()

    found = choose_rank(trained, data, "auto", None, retrain)
    assert rank_of(found) == rank
    assert found.first_layer.hidden_weights.shape == trained.weights.shape
    (part,) = parts
    assert np.intersect1d(part.rows, part.held_out).size == 0
    # none is trained where there are no earlier rows, or Ctrl-C ends it
    assert rank_of(choose_rank(trained, data, "auto")) == N_FEATURES
    assert rank_of(choose_rank(trained, data, "auto", None, lambda _: None)) > 1


def test_rows_set_aside_are_not_trained_on():
    data = labelled(ON_FIRST, rows=TRAIN)
    part = set_aside(data, 0.25, seed=3)
    assert len(part.held_out) == 75
    assert part.n_inputs == 225
    np.testing.assert_array_equal(np.union1d(part.rows, part.held_out), TRAIN)
    again, other = (set_aside(data, 0.25, seed).held_out for seed in (3, 4))
    np.testing.assert_array_equal(part.held_out, again)
    assert not np.array_equal(part.held_out, other)
    assert len(set_aside(data, 0.001, seed=3).held_out) == 1
