"""The strength of heads that `fit` learns, and what it leaves alone."""

import joblib
import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.special import expit

from mtrl_sklearn import MultiTaskReLURepresentation, load, save
from mtrl_sklearn._files.arrays import Refusal
from mtrl_sklearn._labels.signs import pack_signs
from mtrl_sklearn._relu import estimator as _estimator
from mtrl_sklearn._relu import head_strength as _head_strength
from mtrl_sklearn._relu import second_network as _second_network
from mtrl_sklearn._relu.fitted_form import check_relu
from mtrl_sklearn._relu.head_strength import (
    ScoreMoments,
    _choose_scale,
    _take_moments,
    find_shift,
    learn_head_strength,
)
from mtrl_sklearn._relu.network import ReLUNetwork
from mtrl_sklearn._relu.second_network import Judge, train_second
from mtrl_sklearn._relu.task_data import count_labels, set_aside
from mtrl_sklearn.datasets import make_subspace_tasks
from tests.relu_cases import ALGORITHMS

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"  # few epochs are enough here
)
LINEAR = np.array([[3.0], [-3.0]])  # relu(3 x) - relu(-3 x) = 3 x


def make(**parameters):
    return MultiTaskReLURepresentation(
        32, n_components=None, random_state=0, **({"max_iter": "auto"} | parameters)
    )


@pytest.fixture(scope="module")
def noisy():
    """Rows of which heads learn by heart what is noise in their labels."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 40))
    Y = (X[:, :8] + 2 * rng.logistic(size=(600, 8)) > 1).astype(float)
    Y[rng.random(Y.shape) < 0.3] = np.nan
    return X, Y


def log_loss(model, X, Y):
    seen = ~np.isnan(Y)
    return np.logaddexp(0, (1 - 2 * Y[seen]) * model.transform(X)[seen]).mean()


def linear_tasks(strength, n_rows=4000):
    """Scores of 3 x, of rows of which half are held out, and labels of other odds."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, 1))
    positive = rng.random((n_rows, 4)) < expit(strength * 3 * X)
    signs = np.where(positive, 1, -1).astype(np.int8)
    signs[rng.random(signs.shape) < 0.3] = 0
    network = ReLUNetwork(
        LINEAR, np.zeros(2), np.tile([1.0, -1.0], (4, 1)), np.zeros(4)
    )
    return network, X, signs


def halves(X, signs):
    middle = len(X) // 2
    rows = np.arange(middle), np.arange(middle, len(X))
    return count_labels(X, signs, "observed", rows=rows[0], held_out=rows[1])


@pytest.mark.parametrize("strength", [0.25, 0.5, 2.0])
def test_the_scale_is_that_of_the_odds_of_rows_held_out(strength):
    network, X, signs = linear_tasks(strength)
    assert _choose_scale(network, halves(X, signs), 0) == strength
    assert _choose_scale(network, halves(X, pack_signs(signs)), 0) == strength


def test_heads_that_are_right_stay_as_they_are():
    network, X, signs = linear_tasks(1.0)
    assert _choose_scale(network, halves(X, signs), 0) is None


def test_few_rows_tell_nothing():
    network, X, signs = linear_tasks(0.25, n_rows=58)
    judge = Judge(network, halves(X, signs))
    assert learn_head_strength(*judge, judge, 0) is None
    Y = np.where(signs == 0, np.nan, signs > 0)
    assert not hasattr(make().fit(X, Y), "head_scale_")


@pytest.mark.parametrize("sparse", [False, True])
def test_moments_are_those_of_the_scores_of_labels(sparse, monkeypatch):
    network, X, signs = linear_tasks(1.0, n_rows=50)
    signs[:, 3] = 0
    network = network._replace(task_intercept=np.array([0.0, 1.0, -2.0, 7.0]))
    data = halves(X, csr_array(signs) if sparse else signs)
    monkeypatch.setattr(_head_strength, "AT_ONCE", 24)
    moments = _take_moments(network, data)
    for task in range(3):
        part = signs[:25, task] != 0
        scores = 3 * X[:25, 0][part] + network.task_intercept[task]
        np.testing.assert_allclose(moments.mean[task], scores.mean())
        np.testing.assert_allclose(moments.variance[task], scores.var())
    assert moments.mean[3] == 7.0
    assert moments.variance[3] == 0.0


def test_of_many_labels_of_each_task_some_tell_their_moments(monkeypatch):
    network, X, signs = linear_tasks(1.0)
    data = halves(X, signs)
    whole = _take_moments(network, data)
    n_labels = np.abs(signs[data.rows]).sum(axis=0)
    monkeypatch.setattr(_head_strength, "ENOUGH_LABELS", 400)
    assert (_take_moments(network, data).mean != whole.mean).all()
    error = np.sqrt(whole.variance / 400)
    away = np.abs(_take_moments(network, data).mean - whole.mean)
    assert (away < 4 * error).all()
    # a task with few labels, and weights, leave all in place
    monkeypatch.setattr(_head_strength, "ENOUGH_LABELS", n_labels.min())
    for given in (signs, 0.5 * signs):
        found = _take_moments(network, halves(X, given))
        np.testing.assert_allclose(found.mean, whole.mean)
    few = signs.copy()
    few[500:, 0] = 0
    monkeypatch.setattr(_head_strength, "ENOUGH_LABELS", 500)
    found = _take_moments(network, halves(X, few))
    np.testing.assert_allclose(found.mean[1:], whole.mean[1:])


def test_probabilities_have_the_mean_of_the_labels():
    rng = np.random.default_rng(0)
    scores = 2.0 + 3.0 * rng.standard_normal(100_000)
    for n_positive in (10_000, 50_000, 97_000):
        signs = np.full((100_000, 1), -1, dtype=np.int8)
        signs[:n_positive] = 1
        data = count_labels(np.zeros((100_000, 1)), signs, "observed")
        moments = ScoreMoments(np.array([2.0]), np.array([9.0]))
        for scale in (0.25, 1.0):
            shift = find_shift(scale, moments, data)
            mean = expit(scale * scores + shift).mean()
            assert abs(mean - n_positive / 100_000) < 0.02


def test_without_spread_a_task_has_its_log_odds():
    signs = np.array([[1], [-1], [-1], [0]], dtype=np.int8)
    data = count_labels(np.zeros((4, 1)), signs, "observed")
    shift = find_shift(0.5, ScoreMoments(np.array([3.0]), np.zeros(1)), data)
    np.testing.assert_allclose(0.5 * 3.0 + shift, np.log(1.5 / 2.5))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_new_rows_get_likelier_probabilities_and_all_else_stays(
    noisy, algorithm, monkeypatch
):
    X, Y = noisy
    parameters = {"algorithm": algorithm, "output": "scores", "dropout": 0.0}
    ours = make(**parameters).fit(X[:300], Y[:300])
    monkeypatch.setattr(_estimator, "learn_head_strength", lambda *arguments: None)
    plain = make(**parameters).fit(X[:300], Y[:300])
    assert ours.head_scale_ < 0.9
    new = X[300:], Y[300:]
    assert log_loss(ours, *new) < log_loss(plain, *new) - 0.01
    scores = ours.head_scale_ * plain.transform(X) + ours.head_shift_
    np.testing.assert_allclose(ours.transform(X), scores, rtol=1e-10, atol=1e-10)
    found = {k: v for k, v in vars(plain).items() if not k.startswith("task_")}
    assert joblib.hash(found) == joblib.hash({k: vars(ours)[k] for k in found})
    expected = plain.source_probabilities(X)
    np.testing.assert_allclose(ours.source_probabilities(X), expected, rtol=1e-9)
    assert np.ptp(ours.predict_proba(X)) < np.ptp(plain.predict_proba(X))


def test_discriminants_may_be_too_weak():
    X, Y, *_ = make_subspace_tasks(900, 20, n_components=2, n_tasks=16, random_state=0)
    model = MultiTaskReLURepresentation(64, n_components=2, random_state=0)
    assert model.fit(X[:600], Y[:600]).head_scale_ > 1.0


def test_rows_held_out_need_no_second_network(noisy, monkeypatch):
    monkeypatch.setattr(_estimator, "train_second", None)
    parameters = {"early_stopping": True, "validation_fraction": 0.4, "dropout": 0.0}
    make(**parameters, max_iter=40).fit(*noisy)
    with pytest.raises(TypeError):
        make().fit(*noisy)


@pytest.mark.parametrize(
    ("weight_decay", "tried"),
    [(1.0, [0.04, 0.01]), (20.0, [0.01])],  # not one whose steps take away .8
)
def test_a_second_training_that_fails_leaves_heads_alone(
    noisy, weight_decay, tried, monkeypatch
):
    rates = []

    def fail(job, options):
        rates.append(options.learning_rate)
        raise ValueError("The loss is infinite")

    monkeypatch.setattr(_second_network, "train_whole", fail)
    model = make(max_iter=2, learning_rate=0.01, weight_decay=weight_decay).fit(*noisy)
    assert not hasattr(model, "head_scale_")
    assert not hasattr(model, "probe_prior_")
    assert model.head_decay_ == 1.0
    assert rates == tried * 2  # before training, and once more after it


def test_the_hinge_loss_has_no_odds(noisy):
    assert not hasattr(make(loss="hinge", dropout=0.0).fit(*noisy), "head_scale_")


def test_partial_fit_goes_on_with_heads_as_they_were_trained(noisy):
    model = make(dropout=0.0).fit(*noisy)
    again = make(dropout=0.0, warm_start=True).fit(*noisy)
    state = model._state_
    np.testing.assert_allclose(
        model.task_coef_, model.head_scale_ * state["task_coef"], rtol=1e-12
    )
    model.partial_fit(*noisy)
    assert not hasattr(model, "head_scale_")
    assert not hasattr(model, "head_shift_")
    np.testing.assert_array_equal(model.task_coef_, model._state_["task_coef"])
    assert again.fit(*noisy).head_scale_ < 1.0


@pytest.mark.parametrize("algorithm", ["alternating", "one_step"])
def test_it_is_saved_and_checked(noisy, algorithm, tmp_path):
    model = make(algorithm=algorithm, dropout=0.0).fit(*noisy)
    save(model, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert again.head_scale_ == model.head_scale_
    np.testing.assert_array_equal(again.head_shift_, model.head_shift_)
    fitted = {k: v for k, v in vars(model).items() if k[-1] == "_"}
    check_relu(fitted)
    without = {k: v for k, v in fitted.items() if k != "head_shift_"}
    for broken in (
        fitted | {"head_scale_": model.head_scale_ / 2},
        fitted | {"head_scale_": -1.0},
        fitted | {"head_scale_": np.inf},
        fitted | {"head_scale_": "half"},
        fitted | {"head_shift_": model.head_shift_ + 1},
        fitted | {"head_shift_": model.head_shift_[1:]},
        without,
    ):
        with pytest.raises(Refusal):
            check_relu(broken)


def test_forms_of_inputs_agree(noisy):
    X, Y = noisy
    dense = make(algorithm="one_step").fit(X, Y)
    sparse = make(algorithm="one_step").fit(csr_array(X), Y)
    assert sparse.head_scale_ == dense.head_scale_
    np.testing.assert_allclose(sparse.head_shift_, dense.head_shift_, rtol=1e-6)


def test_forms_of_labels_agree(noisy):
    """Sparse labels, and integer weights in place of repeated rows."""
    X, Y = noisy
    positive = np.nan_to_num(Y)
    dense = make(algorithm="one_step").fit(X, positive)
    sparse = make(algorithm="one_step").fit(X, csr_array(positive))
    assert sparse.head_scale_ == dense.head_scale_
    np.testing.assert_allclose(sparse.head_shift_, dense.head_shift_, rtol=1e-6)
    counts = np.repeat([1, 2], [60, 40])
    few, signs = X[:100], Y[:100] == 1
    weighted = make().fit(few, signs, sample_weight=counts)
    repeated = make().fit(few.repeat(counts, axis=0), signs.repeat(counts, axis=0))
    np.testing.assert_allclose(weighted.task_coef_, repeated.task_coef_, rtol=1e-5)


def test_without_usable_tasks_in_a_half_there_is_no_second_network():
    X = np.arange(80.0)[:, None]
    signs = np.full((80, 1), -1, dtype=np.int8)
    signs[3] = 1
    data = count_labels(X, signs, "observed")
    seed = next(s for s in range(20) if set_aside(data, 0.5, s).n_observed == 0)
    assert train_second(data, None, seed, "cpu") is None


@pytest.mark.parametrize("kind", [np.asarray, csr_array])
def test_rows_of_an_input_stay_together(kind):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 7)).astype(np.float32)
    inputs = rng.permutation(np.repeat(np.arange(40), 3))
    signs = np.tile(np.array([[1], [-1]], dtype=np.int8), (60, 1))
    found = set_aside(count_labels(kind(X[inputs]), signs, "observed"), 0.5, 0)
    train, held_out = inputs[found.rows], inputs[found.held_out]
    assert len(train) + len(held_out) == 120
    assert len(np.unique(train)) == len(np.unique(held_out)) == 20
    once = set_aside(count_labels(kind(X), signs[:40], "observed"), 0.5, 0)
    assert set(once.rows) == set(train)


def test_labels_of_an_input_are_held_out_together_in_the_long_form():
    """Otherwise its other labels would tell what the inputs do not."""
    rng = np.random.default_rng(0)
    X, hidden = rng.standard_normal((300, 40)), rng.standard_normal(300)
    Y = hidden[:, None] + 0.5 * rng.standard_normal((300, 10)) > 0
    rows, tasks = (part.ravel() for part in np.indices(Y.shape))
    scores = [
        make(early_stopping=True, max_iter=30).fit(*data).validation_scores_.max()
        for data in ((X, Y), (X[rows], Y.ravel(), tasks))
    ]
    assert max(scores) < 0.7
