"""How ConvMultiTaskClassifier goes on with a fit, and when it ends one."""

import pickle
import warnings

import numpy as np
import pytest
from conv_cases import (
    FITTED_ARRAYS,
    HEADS,
    SOLVERS,
    assert_same_network,
    assert_untouched,
    fitted,
    images_of_bars,
    make,
    rows_of_patches,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from mtrl_sklearn import ConvMultiTaskClassifier
from mtrl_sklearn.datasets import make_patch_tasks

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def data():
    return rows_of_patches()


@pytest.fixture(scope="module")
def images():
    return images_of_bars()


# Continuing


def test_warm_start_of_gd_continues_where_the_fit_stopped(data):
    for head in HEADS:
        once = make(head=head, max_iter=9).fit(*data)
        parts = make(head=head, max_iter=4, warm_start=True).fit(*data)
        parts = pickle.loads(pickle.dumps(parts)).set_params(max_iter=5).fit(*data)
        for name in FITTED_ARRAYS:
            np.testing.assert_array_equal(getattr(parts, name), getattr(once, name))
        assert parts.n_iter_ == 9
        assert parts.scale_ == once.scale_


def test_warm_start_of_adam_continues_where_the_fit_stopped(images):
    model = make(warm_start=True, max_iter=10).fit(*images)
    first = model.loss_curve_
    model.fit(*images)
    assert model.n_iter_ == 20
    np.testing.assert_array_equal(model.loss_curve_[:10], first)
    assert model.loss_curve_[10:].max() < first[0] / 2
    assert model.loss_curve_[-1] < first[-1]


@pytest.mark.parametrize("head", HEADS)
def test_partial_fits_of_gd_are_the_steps_of_a_fit(data, head):
    steps = make(head=head, max_iter="auto")
    for _ in range(6):
        steps.partial_fit(*data)
    fit = make(head=head, max_iter=6).fit(*data)
    for name in FITTED_ARRAYS:
        np.testing.assert_array_equal(getattr(steps, name), getattr(fit, name))
    assert steps.n_iter_ == 6


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("head", HEADS)
def test_partial_fit_continues_after_pickling(data, head, solver):
    X, y, tasks = data
    order = np.random.default_rng(0).permutation(80)
    straight, pickled = (make(head=head, solver=solver) for _ in range(2))
    for rows in (order[:50], order[50:], order[20:70]):
        batch = X[rows], y[rows], tasks[rows]
        straight.partial_fit(*batch)
        pickled = pickle.loads(pickle.dumps(pickled.partial_fit(*batch)))
    for name in FITTED_ARRAYS:
        np.testing.assert_array_equal(getattr(straight, name), getattr(pickled, name))
    assert straight.n_iter_ == 3
    first = make(head=head, solver=solver).partial_fit(
        X[order[:50]], y[order[:50]], tasks[order[:50]]
    )
    assert straight.scale_ == first.scale_


def test_partial_fit_over_batches_learns_images(images):
    X, y, tasks = images
    model = make(max_iter="auto")
    for _ in range(15):
        for rows in np.split(np.arange(90), 3):
            model.partial_fit(X[rows], y[rows], tasks[rows])
    assert model.score(X, y) > 0.9
    assert model.n_iter_ == 45


def test_partial_fit_of_other_floats_keeps_the_precision(data):
    X, y, tasks = data
    model = make().partial_fit(X.astype(np.float32), y, tasks).partial_fit(X, y, tasks)
    assert model.filters_.dtype == np.float32


@pytest.mark.parametrize("head", ["shared", "fixed"])
def test_new_tasks_may_come_later(data, head):
    X, y, tasks = data
    model = make(head=head).partial_fit(X[:40], y[:40], tasks[:40])
    assert model.tasks_.tolist() == ["ape", "bat"]
    model.partial_fit(X[40:], y[40:], tasks[40:])
    assert model.tasks_.tolist() == ["ape", "bat", "cat", "dog"]
    warm = make(head=head, warm_start=True).fit(X[40:], y[40:], tasks[40:])
    assert warm.fit(X[:40], y[:40], tasks[:40]).tasks_.tolist() == model.tasks_.tolist()


def test_new_tasks_may_not_come_later_where_each_has_its_head(data):
    X, y, tasks = data
    model = make(head="per_task").partial_fit(X[:40], y[:40], tasks[:40])
    before = fitted(model)
    with pytest.raises(
        ValueError, match=r"2 \('cat', 'dog'\); fitted on 2 \('ape', 'bat'\)"
    ):
        model.partial_fit(X[40:], y[40:], tasks[40:])
    assert_untouched(model, before)
    model.partial_fit(X[:20], y[:20], tasks[:20])
    assert model.tasks_.tolist() == ["ape", "bat"]


def test_ids_stay_strings_or_numbers(data):
    X, y, tasks = data
    model = make().partial_fit(X, y, tasks)
    with pytest.raises(ValueError, match=r"ids such as 3,.*'ape'"):
        model.partial_fit(X, y, np.full(len(y), 3))
    assert model.tasks_.tolist() == ["ape", "bat", "cat", "dog"]
    assert model.n_iter_ == 1


def test_partial_fit_takes_classes_that_the_first_batch_lacks(data):
    X, y, _ = data
    first = y == 1
    with pytest.raises(ValueError, match=r"1 class \(\[1\]\).*at least 2"):
        make().partial_fit(X[first], y[first])
    model = make().partial_fit(X[first], y[first], classes=[1, -1])
    assert model.classes_.tolist() == [-1, 1]
    assert_same_network(
        model, make().partial_fit(X[first], y[first], classes=np.array([-1, 1]))
    )
    model.partial_fit(X, y)
    with pytest.raises(ValueError, match=r"label 5.*\[-1, 1\].*pass classes="):
        model.partial_fit(X, np.where(first, 5, -1))
    with pytest.raises(ValueError, match=r"label 'no', which is not"):
        model.partial_fit(X, np.where(first, "yes", "no"))
    assert model.n_iter_ == 2


def test_partial_fit_cannot_balance_classes(data):
    with pytest.raises(ValueError, match=r"class_weight='balanced'.*Pass a dict"):
        make(class_weight="balanced").partial_fit(*data)
    make(class_weight={1: 2}).partial_fit(*data)


CHANGES = [
    ({"kernel_size": 2}, r"kernel_size=\(2,\) differs.*has \(1,\)"),
    ({"stride": 2}, r"stride=\(2,\) differs"),
    ({"pooling": "mean"}, r"pooling='mean' differs.*has 'sum'"),
    ({"pooling": 3}, r"pooling=\(3,\) differs"),
    ({"power": 2}, r"power=2.0 differs.*has 3.0"),
    ({"head": "fixed"}, r"head='fixed' differs.*has 'shared'"),
    ({"solver": "adam"}, r"solver='adam' differs.*has 'gd'"),
    ({"n_filters": 13}, r"n_filters=13 differs.*has 12"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_continuing_another_network_is_refused(data, method, change, message):
    model = make(warm_start=True).fit(*data)
    before = fitted(model)
    model.set_params(**change)
    with pytest.raises(ValueError, match=rf"{message}.*clone"):
        getattr(model, method)(*data)
    assert_untouched(model, before)
    model.predict(data[0])
    model.set_params(warm_start=False).fit(*data)  # starts anew


def test_parameters_that_change_after_fit_do_not_change_predictions(data):
    X, _, tasks = data
    model = make(head="per_task").fit(*data)
    expected = model.decision_function(X, tasks)
    model.set_params(head="shared", power=1, kernel_size=2, pooling="mean", n_filters=3)
    np.testing.assert_array_equal(model.decision_function(X, tasks), expected)


def test_warm_start_of_an_automatic_solver_keeps_it(data):
    X, y, tasks = data
    model = make(warm_start=True, max_iter=2).fit(X, y, tasks)
    many = np.tile(X, (84, 1, 1))
    model.fit(many, np.tile(y, 84), np.tile(tasks, 84))
    assert model.solver_ == "gd"


# The end of training


@pytest.mark.parametrize("solver", SOLVERS)
def test_early_stopping_scores_are_those_of_the_returned_network(data, solver):
    """Rows held out are found again from the random state."""
    X, y, tasks = data
    for head in HEADS:
        model = make(head=head, solver=solver, early_stopping=True, max_iter=40)
        model.fit(X, y, tasks)
        assert len(model.validation_scores_) == model.n_iter_
        seed = np.random.RandomState(0).randint(2**31 - 1)
        _, rows = train_test_split(np.arange(80), test_size=0.1, random_state=seed)
        probabilities = model.predict_proba(X[rows], tasks[rows])
        of_labels = np.log(probabilities[np.arange(8), (y[rows] + 1) // 2])
        best = model.validation_scores_.max()
        assert of_labels.mean() == pytest.approx(best, abs=1e-9)


def test_early_stopping_weighs_held_out_rows(data):
    X, y, tasks = data
    weights = np.random.default_rng(0).random(80)
    model = make(solver="adam", early_stopping=True).fit(X, y, tasks, weights)
    seed = np.random.RandomState(0).randint(2**31 - 1)
    _, rows = train_test_split(np.arange(80), test_size=0.1, random_state=seed)
    of_labels = np.log(model.predict_proba(X[rows])[np.arange(8), (y[rows] + 1) // 2])
    expected = np.average(of_labels, weights=weights[rows])
    assert model.validation_scores_.max() == pytest.approx(expected, abs=1e-9)


def test_early_stopping_ends_before_the_budget():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((200, 30)), rng.integers(2, size=200)
    settings = {"n_filters": 64, "early_stopping": True, "max_iter": 300}
    model = make(**settings, validation_fraction=0.3).fit(X, y)
    assert model.n_iter_ < 100
    assert model.validation_scores_.argmax() < model.n_iter_ - 1


def test_early_stopping_goes_on_with_the_same_rows(data):
    model = make(early_stopping=True, warm_start=True, random_state=None).fit(*data)
    n_first, seed = model.n_iter_, model._seed_
    model.fit(*data)
    assert len(model.validation_scores_) == model.n_iter_ > n_first
    assert model._seed_ == seed
    model.set_params(early_stopping=False, warm_start=False).fit(*data)
    assert not hasattr(model, "validation_scores_")


@pytest.mark.parametrize("fraction", [0.02, 0.98])
def test_early_stopping_needs_two_classes_on_both_sides(data, fraction):
    X, y = data[0], np.arange(80) < 2
    model = make(early_stopping=True, validation_fraction=fraction)
    with pytest.raises(ValueError, match=r"validation_fraction=0.\d+ leaves.*1 class"):
        model.fit(X, y)


def test_gd_that_is_cut_short_says_what_to_raise(data):
    with pytest.warns(ConvergenceWarning, match=r"max_iter=15.*Raise max_iter") as seen:
        make(solver="gd").fit(*data)
    assert seen[0].filename == __file__


@pytest.mark.parametrize(
    "parameters",
    [
        {"solver": "adam"},
        {"max_iter": "auto", "n_filters": 4},
        {"max_iter": "auto", "solver": "adam", "n_filters": 4},
        {"tol": 0.5, "max_iter": 50},
    ],
)
def test_budgets_that_are_not_cut_short_are_silent(data, parameters, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(**parameters).fit(*data)
        make(**parameters).partial_fit(*data)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_gd_stops_when_its_loss_has_settled(data):
    model = make(tol=0.5, max_iter=50, n_iter_no_change=3).fit(*data)
    assert model.n_iter_ < 50
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(tol=0.5, max_iter=50, n_iter_no_change=3).fit(*data)


def test_gd_never_raises_its_loss(data):
    for head in HEADS:
        model = make(head=head, max_iter=100, learning_rate=1e6).fit(*data)
        assert (np.diff(model.loss_curve_) <= 0).all()
        assert model.loss_curve_[-1] < model.loss_curve_[0]


def test_gd_is_patient_where_it_starts():
    X, y, tasks, *_ = make_patch_tasks(random_state=0)
    model = ConvMultiTaskClassifier(head="fixed", init_scale=0.003, random_state=0)
    model.fit(X.astype(np.float32), y, tasks)
    assert model.n_iter_ > 100
    assert model.loss_curve_[-1] < 0.1


@pytest.mark.filterwarnings("error")
def test_gd_says_that_it_never_left_its_start(data):
    X, y, _ = data
    with pytest.warns(ConvergenceWarning, match="not left its start. Raise init_scale"):
        make(solver="gd", max_iter="auto", power=6).fit(X, y)


@pytest.mark.parametrize("solver", SOLVERS)
def test_verbose_shows_progress_on_stderr(data, solver, capsys):
    make(solver=solver, verbose=True).fit(*data)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "15/15" in captured.err
    assert "loss=" in captured.err
