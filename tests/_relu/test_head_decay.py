"""The decay of heads that `fit` learns, and what it is learned from."""

import joblib
import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.base import clone
from skorch.callbacks import Callback

from mtrl_sklearn import MultiTaskReLURepresentation, load, save
from mtrl_sklearn._files.arrays import Refusal
from mtrl_sklearn._group import BatchPart
from mtrl_sklearn._labels.roc_auc import find_placements, pair_roc_auc
from mtrl_sklearn._relu import estimator as _estimator
from mtrl_sklearn._relu import head_decay as _head_decay
from mtrl_sklearn._relu import second_network as _second_network
from mtrl_sklearn._relu.fitted_form import check_relu
from mtrl_sklearn._relu.head_decay import Gain, Labels, find_gain
from mtrl_sklearn._relu.solvers import SOLVERS
from mtrl_sklearn._relu.task_data import count_labels
from mtrl_sklearn._training.job import FitJob
from mtrl_sklearn._training.net import Batch
from mtrl_sklearn.datasets import make_subspace_tasks
from tests.relu_cases import rare_bits

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"  # few epochs are enough here
)


def make(**parameters):
    return MultiTaskReLURepresentation(
        32, n_components=None, random_state=0, **({"dropout": 0.0} | parameters)
    )


@pytest.fixture(scope="module")
def noisy():
    return tuple(part[:600] for part in rare_bits(1600))


@pytest.fixture(scope="module")
def fitted(noisy):
    return make().fit(*noisy)


def test_heads_that_know_labels_by_heart_decay_faster_and_rank_new_rows_better(
    noisy, fitted, monkeypatch
):
    assert fitted.head_decay_ in (10.0, 30.0)
    monkeypatch.setattr(_head_decay, "FACTORS", ())
    plain = make().fit(*noisy)
    assert plain.head_decay_ == 1.0
    X, Y = (part[600:] for part in rare_bits(1600))
    assert fitted.score(X, Y) - plain.score(X, Y) > 0.02
    norms = (np.linalg.norm(m._state_["task_coef"]) for m in (fitted, plain))
    assert np.divide(*norms) < 0.7


def test_subspaces_want_no_more_decay():
    X, Y, *_ = make_subspace_tasks(600, 20, n_tasks=24, random_state=0)
    model = MultiTaskReLURepresentation(32, random_state=0).fit(X, Y)
    assert model.head_decay_ == 1.0


def test_only_the_heads_decay_faster(noisy):
    X, Y = noisy
    data = count_labels(X, np.where(Y > 0, 1, -1).astype(np.int8), "observed")
    model = make()
    model.head_decay_ = 10.0
    options = model._resolve_options(data, False)
    net = SOLVERS["alternating"].prepare(FitJob(data, None, 0, "cpu", []), options).net
    decays = {
        parameter: group["weight_decay"]
        for group in net.optimizer_.param_groups
        for parameter in group["params"]
    }
    found = {name: decays[p] for name, p in net.module_.named_parameters()}
    assert found == {
        "hidden_weights": 1.0,
        "hidden_biases": 0.0,
        "task_coef": 10.0,
        "task_intercept": 0.0,
    }


@pytest.mark.parametrize(
    ("weight_decay", "rate", "expected"),
    [
        (1.0, 0.001, 30.0),
        (1.0, 0.01, 30.0),
        (1.0, 0.1, 5.0),  # 30 would turn the sign of heads in each step
        (2.0, 0.1, 5.0),
        (8.0, 0.1, 8.0),  # heads decay like the first layer at least
        (1.0, 0.0, 30.0),
    ],
)
def test_a_step_takes_away_half_of_the_heads_at_most(
    noisy, weight_decay, rate, expected
):
    """For a learning rate that a scheduler sets, too."""
    X, Y = noisy
    data = count_labels(X, np.where(Y > 0, 1, -1).astype(np.int8), "observed")
    model = make(weight_decay=weight_decay)
    model.head_decay_ = 30.0
    options = model._resolve_options(data, False)
    net = SOLVERS["alternating"].prepare(FitJob(data, None, 0, "cpu", []), options).net
    heads = next(
        group
        for group in net.optimizer_.param_groups
        if any(p is net.module_.task_coef for p in group["params"])
    )
    heads["lr"] = rate
    module = net.module_
    coef = module.task_coef.detach().fill_(1.0)
    rows = torch.as_tensor(X[:4], dtype=coef.dtype)
    signs = torch.zeros(4, Y.shape[1], dtype=torch.int8)  # without a gradient
    net.notify("on_train_begin", X=None, y=None)
    net.train_step(Batch((rows, signs), BatchPart(4)))
    assert heads["weight_decay"] == pytest.approx(expected)
    left = 1 - rate * expected
    np.testing.assert_allclose(coef, left, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_higher_rate_later_on_does_not_make_the_heads_explode(noisy, method):
    X, Y = noisy
    model = make(max_iter=2, warm_start=True).partial_fit(X[:300], Y[:300])
    model.head_decay_ = 30.0
    model.set_params(learning_rate=0.1)  # a decay of 3 in a step
    for _ in range(5):
        getattr(model, method)(X[300:], Y[300:])
    assert np.abs(model._state_["task_coef"]).max() < 1
    assert model.loss_curve_[-1] < 10 * np.log(2)


def draw_labels(n_inputs=60, n_tasks=5):
    rng = np.random.default_rng(0)
    inputs, tasks = (part.ravel() for part in np.indices((n_inputs, n_tasks)))
    signs = rng.choice([-1, 1], len(inputs)).astype(np.int8)
    scores = rng.integers(0, 8, (2, len(inputs))) + [[0], [1]] * (signs > 0)
    return Labels(tasks, signs, inputs, n_tasks, n_inputs), *scores.astype(float)


def test_placements_are_shares_of_pairs():
    labels, scores, _ = draw_labels()
    tasks, signs = labels.tasks, labels.signs
    found, shares = find_placements(tasks, signs, scores, 5)
    for k in range(0, len(tasks), 7):
        others = (tasks == tasks[k]) & (signs == -signs[k])
        wins = signs[k] * (scores[k] - scores[others])
        assert np.isclose(found[k], np.mean((np.sign(wins) + 1) / 2))
        assert np.isclose(
            1 / shares[k], np.sum((tasks == tasks[k]) & (signs == signs[k]))
        )
    for sign in (1, -1):
        of_class = signs == sign
        means = np.bincount(tasks[of_class], (found * shares)[of_class])
        np.testing.assert_allclose(means, pair_roc_auc(tasks, signs, scores, 5))


def test_weights_in_placements_are_copies():
    labels, scores, _ = draw_labels()
    counts = np.random.default_rng(1).integers(1, 4, len(scores))
    weighted = find_placements(labels.tasks, labels.signs * (1.0 * counts), scores, 5)
    copies = find_placements(
        *(part.repeat(counts) for part in (labels.tasks, labels.signs, scores)), 5
    )
    first = np.cumsum(counts) - counts
    np.testing.assert_allclose(weighted.placements, copies.placements[first])
    np.testing.assert_allclose(weighted.shares, copies.shares[first] * counts)


def test_a_gain_is_the_mean_over_tasks_that_have_both_classes():
    labels, before, after = draw_labels()
    labels.signs[labels.tasks == 2] = 1
    gain = find_gain(labels, before, after)
    old, new = (
        pair_roc_auc(labels.tasks, labels.signs, scores, 5)
        for scores in (before, after)
    )
    assert np.isclose(gain.mean, np.nanmean(new - old))
    assert find_gain(labels, before, before) == Gain(0.0, 0.0)
    one_class = labels._replace(signs=np.ones_like(labels.signs))
    assert np.isnan(find_gain(one_class, before, after).mean)


def test_its_error_is_that_of_the_jackknife_over_inputs():
    """Which is another estimate of the same, nearly the same for 200 inputs."""
    labels, before, after = draw_labels(n_inputs=200)

    def without(k):
        kept = labels.inputs != k
        part = labels._replace(
            tasks=labels.tasks[kept],
            signs=labels.signs[kept],
            inputs=labels.inputs[kept],
        )
        return find_gain(part, before[kept], after[kept]).mean

    left_out = [without(k) for k in range(200)]
    expected = np.sqrt(199) * np.std(left_out)
    assert find_gain(labels, before, after).error == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(
    ("gains", "expected", "n_trained"),
    [
        ([(0.02, 0.004), (0.03, 0.004)], 30.0, 3),
        ([(0.02, 0.004), (0.01, 0.001)], 10.0, 3),
        ([(0.02, 0.013), (0.03, 0.019)], 1.0, 3),  # neither is clear
        ([(0.005, 0.004), (0.03, 0.004)], 30.0, 3),
        ([(0.02, 0.004), (0.03, 0.019)], 10.0, 3),  # the second is not
        ([(-0.01, 0.004)], 1.0, 2),
        ([(np.nan, np.nan)], 1.0, 2),
    ],
)
def test_decay_grows_as_long_as_it_gains(
    noisy, gains, expected, n_trained, monkeypatch
):
    given, trained = iter(gains), []
    monkeypatch.setattr(_head_decay, "find_gain", lambda *scores: Gain(*next(given)))
    train = _head_decay.train_second

    def count(data, options, *rest):
        trained.append(options.head_decay)
        return train(data, options, *rest)

    for module in (_head_decay, _estimator):
        monkeypatch.setattr(module, "train_second", count)
    model = make(max_iter=2, tol=1e-9).fit(*noisy)
    assert model.head_decay_ == expected
    assert trained == [1.0, 10.0, 30.0][:n_trained]  # which serve all that is learned
    assert next(given, None) is None


@pytest.mark.parametrize(
    "parameters",
    [
        {"algorithm": "one_step"},
        {"early_stopping": True},
        {"weight_decay": 0.0},
        {"weight_decay": 20.0},  # ten times of it would make small networks swing
    ],
)
def test_where_there_is_nothing_to_choose(noisy, parameters, monkeypatch):
    monkeypatch.setattr(_head_decay, "find_gain", None)
    assert make(max_iter=2, **parameters).fit(*noisy).head_decay_ == 1.0


@pytest.mark.parametrize(("n_components", "expected"), [("auto", 1.0), (None, 10.0)])
def test_where_an_edge_may_be_cut_heads_do_not_decay_faster(
    noisy, n_components, expected, monkeypatch
):
    """It would hide the edge, as of 4000 rows of a subspace of 1000 features."""
    gains = iter([Gain(0.02, 0.004), Gain(0.01, 0.004)])
    monkeypatch.setattr(_head_decay, "candidate_ranks", lambda values: iter([4]))
    monkeypatch.setattr(_head_decay, "find_gain", lambda *scores: next(gains))
    model = make(max_iter=2).set_params(n_components=n_components).fit(*noisy)
    assert model.head_decay_ == expected


def test_an_edge_that_only_all_inputs_show_is_not_hidden(monkeypatch):
    """On half of them faster decay gains, which hides the edge in the whole network."""
    X, Y, _, problem = make_subspace_tasks(
        600, 50, n_components=3, missing_fraction=0.8, random_state=0
    )
    model = MultiTaskReLURepresentation(64, random_state=0).fit(X, Y)
    assert (model.head_decay_, model.n_components_) == (1.0, 3)
    monkeypatch.setattr(_head_decay, "train_small", lambda *arguments: None)
    hidden = clone(model).fit(X, Y)
    assert hidden.head_decay_ > 1
    new = problem.sample(1000, random_state=1)
    assert model.score(*new) > hidden.score(*new) + 0.02


def test_few_inputs_tell_nothing(monkeypatch):
    monkeypatch.setattr(_head_decay, "find_gain", None)
    X, Y = rare_bits(58)  # 29 to judge on
    assert make(max_iter=2).fit(X, Y).head_decay_ == 1.0


def test_fits_that_go_on_keep_it(noisy, fitted, monkeypatch):
    X, Y = noisy
    assert fitted.head_decay_ > 1.0
    used = []
    solve = _estimator.solve

    def watch(job, options):
        used.append(options.head_decay)
        return solve(job, options)

    monkeypatch.setattr(_estimator, "solve", watch)
    monkeypatch.setattr(_estimator, "choose_head_decay", None)
    again = fitted.snapshot().set_params(warm_start=True, max_iter=1).fit(X, Y)
    again.partial_fit(X, Y)
    fresh = make().partial_fit(X, Y)
    assert used == [fitted.head_decay_] * 2 + [1.0]
    assert again.head_decay_ == fitted.head_decay_
    assert fresh.head_decay_ == 1.0  # a first batch chooses none


def test_a_fit_that_was_killed_goes_on_with_its_decay(noisy, tmp_path, monkeypatch):
    class Kill(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 3:
                raise MemoryError

    path = tmp_path / "fit.safetensors"
    monkeypatch.setattr(_head_decay, "find_gain", lambda *scores: Gain(0.1, 0.001))
    expected = make(max_iter=6).fit(*noisy)
    assert expected.head_decay_ == 10
    with pytest.raises(MemoryError):
        make(max_iter=6, checkpoint=path, callbacks=[Kill()]).fit(*noisy)
    monkeypatch.setattr(_estimator, "choose_head_decay", None)
    kill_no_more = type("Kill", (Callback,), {"__module__": Kill.__module__})
    kill_no_more.__qualname__ = Kill.__qualname__
    for _ in range(2):  # goes on, and gives what it ended with
        model = make(max_iter=6, checkpoint=path, callbacks=[kill_no_more()])
        model.fit(*noisy)
        assert model.head_decay_ == 10
        np.testing.assert_array_equal(model.task_coef_, expected.task_coef_)


def test_it_is_the_same_bit_for_bit(noisy, fitted):
    assert joblib.hash(vars(make().fit(*noisy))) == joblib.hash(vars(fitted))


def test_forms_of_inputs_and_labels_agree(noisy, fitted):
    X, Y = noisy
    rows, tasks = (part.ravel() for part in np.indices(Y.shape))
    relational = make().fit(X, Y.ravel(), tasks, rows)
    sparse = make().fit(csr_array(X), csr_array(Y))
    assert relational.head_decay_ == sparse.head_decay_ == fitted.head_decay_


def test_integer_weights_are_repeated_rows():
    X, Y = rare_bits(100)
    counts = np.repeat([1, 2], [60, 40])
    few = {"max_iter": 20}
    weighted = make(**few).fit(X, Y, sample_weight=counts)
    repeated = make(**few).fit(X.repeat(counts, axis=0), Y.repeat(counts, axis=0))
    assert weighted.head_decay_ == repeated.head_decay_
    np.testing.assert_allclose(
        weighted.hidden_weights_, repeated.hidden_weights_, rtol=1e-3, atol=1e-6
    )


@pytest.mark.parametrize("n_trained", [0, 1])
def test_ctrl_c_before_there_is_a_network_leaves_the_earlier_fit(
    noisy, fitted, n_trained, monkeypatch
):
    X, Y = noisy
    model = fitted.snapshot()
    before = dict(vars(model))
    train, calls = _second_network.train_whole, []

    def press(job, options):
        calls.append(options)
        if len(calls) > n_trained:
            raise KeyboardInterrupt
        return train(job, options)

    monkeypatch.setattr(_second_network, "train_whole", press)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X[:300], Y[:300])
    assert vars(model) == before


def test_it_is_saved_and_checked(fitted, tmp_path):
    save(fitted, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert again.head_decay_ == fitted.head_decay_
    values = {k: v for k, v in vars(fitted).items() if k[-1] == "_"}
    check_relu(values)
    check_relu({k: v for k, v in values.items() if k != "head_decay_"})  # older files
    for broken in (0.5, -1.0, np.inf, np.nan, 10, "ten"):
        with pytest.raises(Refusal):
            check_relu(values | {"head_decay_": broken})
