"""The public contract of LinearProbe."""

import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from mtrl_sklearn import ConvMultiTaskClassifier, MultiTaskReLURepresentation
from mtrl_sklearn.datasets import (
    make_corrupted_digits,
    make_patch_tasks,
)
from mtrl_sklearn.probing import LinearProbe, ProbeSettings

BLOCKS = ("hidden", "probabilities", "inputs")


@parametrize_with_checks([LinearProbe()])
def test_estimator_passes_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def rows(sources):
    """Rows and labels of one new task."""
    X, Y = sources.problem.new_tasks(1, random_state=1).sample(200, random_state=2)
    return X, Y[:, 0].astype(int)


def fit_quietly(estimator, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(*arguments)


@pytest.fixture(scope="module")
def images():
    """Images of digits under several corruptions, and a network for all of them."""
    X, y, tasks = make_corrupted_digits(40, random_state=0)
    network = ConvMultiTaskClassifier(
        8, max_iter=10, head="per_task", random_state=0, solver="adam"
    )
    return X, y, fit_quietly(network, X, y, tasks)


@pytest.fixture(scope="module")
def patches():
    drawn = make_patch_tasks(40, n_tasks=3, random_state=0)
    network = ConvMultiTaskClassifier(8, max_iter=10, random_state=0)
    return drawn.X, drawn.y, fit_quietly(network, drawn.X, drawn.y, drawn.tasks)


def by_hand(representation, X, weights):
    """Scaled blocks of features, by name, and the factor of each."""
    blocks = {"inputs": X.reshape(len(X), -1)}
    if representation is not None:
        blocks["hidden"] = representation.transform(X)
        blocks["probabilities"] = representation.source_probabilities(X)
    factors = {}
    for name, block in blocks.items():
        squared_norm = np.sum((block - block.mean(axis=0)) ** 2, axis=1).mean()
        factors[name] = np.sqrt(weights.get(name, 0) / squared_norm)
    return blocks, factors


def assert_solves_logistic_regression(probe, representation, X, y, X_test):
    """Scores are those of scikit-learn on blocks that were scaled here."""
    blocks, factors = by_hand(representation, X, probe.weights_)
    test, _ = by_hand(representation, X_test, probe.weights_)
    names = list(blocks)
    means = {name: blocks[name].mean(axis=0) for name in names}
    Z, Z_test = (
        np.hstack([factors[name] * (b[name] - means[name]) for name in names])
        for b in (blocks, test)
    )
    expected = LogisticRegression(C=probe.C_, tol=1e-10, max_iter=100_000).fit(Z, y)
    np.testing.assert_array_equal(probe.classes_, expected.classes_)
    scores = expected.decision_function(Z_test)
    # the probe's solver stops at a gradient of 1e-6, over a curvature of 1 / (C n)
    np.testing.assert_allclose(
        probe.decision_function(X_test), scores, rtol=1e-3, atol=1e-3
    )
    np.testing.assert_allclose(
        probe.predict_proba(X_test), expected.predict_proba(Z_test), atol=1e-3
    )
    return Z


@pytest.mark.parametrize("C", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("n_rows", [12, 200])
def test_solution_is_logistic_regression_on_scaled_blocks(relu, rows, n_rows, C):
    X, y = rows
    probe = LinearProbe(relu, C=C, prior=None).fit(X[:n_rows], y[:n_rows])
    Z = assert_solves_logistic_regression(probe, relu, X[:n_rows], y[:n_rows], X)
    assert (n_rows < Z.shape[1]) == (n_rows == 12)
    np.testing.assert_array_equal(
        probe.predict(X), probe.classes_[(probe.decision_function(X) > 0).astype(int)]
    )


@pytest.mark.parametrize("n_rows", [15, 200])
def test_several_classes_of_strings(relu, rows, n_rows):
    X = rows[0]
    y = np.array(["cold", "hot", "mild"])[np.digitize(X[:, 0], [-0.5, 0.5])]
    probe = LinearProbe(relu).fit(X[:n_rows], y[:n_rows])
    assert_solves_logistic_regression(probe, relu, X[:n_rows], y[:n_rows], X)
    assert probe.classes_.tolist() == ["cold", "hot", "mild"]
    assert probe.decision_function(X).shape == (200, 3)
    chosen = probe.decision_function(X).argmax(axis=1)
    np.testing.assert_array_equal(probe.predict(X), probe.classes_[chosen])
    for coef in probe.coef_.values():
        assert coef.shape[0] == 3


@pytest.mark.parametrize("n_rows", [12, 200])
def test_without_a_representation_it_is_a_probe_of_the_inputs(rows, n_rows):
    X, y = rows
    words = np.where(y == 1, "yes", "no")
    probe = LinearProbe().fit(X[:n_rows], words[:n_rows])
    assert probe.weights_ == {"inputs": 1}
    assert_solves_logistic_regression(probe, None, X[:n_rows], words[:n_rows], X)
    assert set(probe.predict(X)) == {"yes", "no"}


def test_coefficients_are_for_raw_values_of_the_blocks(relu, rows):
    X, y = rows
    probe = LinearProbe(relu).fit(X[:40], y[:40])
    blocks, _ = by_hand(relu, X, probe.weights_)
    scores = sum(blocks[name] @ probe.coef_[name].T for name in BLOCKS)
    np.testing.assert_allclose(
        probe.decision_function(X), (scores + probe.intercept_)[:, 0]
    )
    assert {name: coef.shape for name, coef in probe.coef_.items()} == {
        "hidden": (1, 16),
        "probabilities": (1, 8),
        "inputs": (1, 12),
    }
    assert probe.first_layer_ == {}
    assert probe.n_features_in_ == 12


def test_default_weights_and_a_choice_of_blocks(relu, rows):
    X, y = rows
    probe = LinearProbe(relu).fit(X, y)
    assert probe.weights_.keys() == set(BLOCKS)
    assert min(probe.weights_.values()) > 0
    assert sum(probe.weights_.values()) == pytest.approx(1)
    probe = LinearProbe(relu, weights={"hidden": 3, "inputs": 1}, prior=None).fit(X, y)
    assert probe.weights_ == {"hidden": 0.75, "probabilities": 0, "inputs": 0.25}
    assert probe.coef_.keys() == {"hidden", "inputs"}
    plain = PCA(3).fit(X)  # it has no source tasks
    probe = LinearProbe(plain).fit(X, y)
    assert probe.weights_.keys() == {"hidden", "inputs"}
    assert sum(probe.weights_.values()) == pytest.approx(1)


@pytest.mark.parametrize("n_labels", [8, 16, 100])
def test_settings_are_those_of_the_number_of_labels(relu, rows, n_labels):
    X, y = rows
    settings = ProbeSettings((16, 64), ((0.5, 0.5, 0), (0, 0.5, 0.5)), (0.1, 10))
    probe = LinearProbe(relu, settings=settings, prior=None).fit(
        X[:n_labels], y[:n_labels]
    )
    assert (probe.weights_, probe.C_) == settings.at(n_labels)
    probe.set_params(C=3, weights={"inputs": 1}).fit(X[:n_labels], y[:n_labels])
    assert probe.C_ == 3
    assert probe.coef_.keys() == {"inputs"}


class Affine(TransformerMixin, BaseEstimator):
    """What another representation returns, in other units and from another origin."""

    def __init__(self, inner, scale, shift):
        self.inner = inner
        self.scale = scale
        self.shift = shift

    def fit(self, X, y=None):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def transform(self, X):
        return self.scale * self.inner.transform(X) + self.shift


@pytest.mark.parametrize("n_rows", [12, 100])
@pytest.mark.parametrize(
    ("scale", "shift"), [(1e-3, 0), (1e4, 0), (1, 50), (1e3, -2e3)]
)
def test_units_and_origin_of_a_block_do_not_matter(relu, rows, n_rows, scale, shift):
    X, y = rows
    few = X[:n_rows], y[:n_rows]
    base = LinearProbe(Affine(relu, 1, 0)).fit(*few)
    moved = LinearProbe(Affine(relu, scale, shift)).fit(*few)
    expected = base.decision_function(X)
    np.testing.assert_allclose(moved.decision_function(X), expected, atol=2e-3)
    base = LinearProbe().fit(*few)
    moved = LinearProbe().fit(scale * few[0] + shift, few[1])
    np.testing.assert_allclose(
        moved.decision_function(scale * X + shift), base.decision_function(X), atol=2e-3
    )


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e18, 1e20, 1e30])
def test_extreme_units_in_single_precision(rows, scale):
    X, y = rows
    expected = LinearProbe().fit(X, y).score(X, y)
    X = (X * scale).astype(np.float32)
    assert LinearProbe().fit(X, y).score(X, y) == pytest.approx(expected, abs=0.01)


def test_features_that_do_not_vary_have_no_influence():
    """Rounding of their mean must not be taken for a spread."""
    y = [0, 1, 0, 1, 0, 1, 1]
    probe = LinearProbe().fit(np.full((7, 3), 0.1), y)
    other = probe.decision_function(np.full((1, 3), 0.2))
    assert other == pytest.approx(np.log(4 / 3), abs=1e-3)


@pytest.mark.parametrize("value", [0, 0.1, 1e10 + 0.1, -1e-300])
@pytest.mark.parametrize("kind", ["raw", "network", "tuned", "pipeline"])
def test_equal_rows_tell_nothing_but_how_often_labels_occur(sources, value, kind):
    """Rounding errors of products are no features, nor are constants."""
    representation = None
    if kind != "raw":
        representation = network(sources.X, sources.Y)
    if kind == "pipeline":
        representation = make_pipeline(PCA(8), network()).fit(sources.X, sources.Y)
    probe = LinearProbe(representation, prior=None, fine_tune=kind == "tuned")
    X = np.full((300, sources.X.shape[1]), value)
    others = np.concatenate([X[:2], X[:2] + 1, sources.X[:3]])
    for n_rows, n_classes in ((300, 2), (300, 3), (2, 2), (3, 3)):
        y = np.minimum(np.arange(n_rows) % 5, n_classes - 1)
        shares = np.bincount(y) / n_rows
        found = probe.fit(X[:n_rows], y).predict_proba(others)
        np.testing.assert_allclose(found, np.tile(shares, (7, 1)), atol=1e-5)
        assert not any(coef.any() for coef in probe.coef_.values())


def test_a_constant_column_changes_nothing(rows):
    X, y = rows
    expected = LinearProbe().fit(X, y)
    for value in (0.1, 1e12, 1e17):
        more = np.c_[X, np.full(len(X), value)]
        probe = LinearProbe().fit(more, y)
        assert probe.coef_["inputs"][0, -1] == 0
        np.testing.assert_allclose(
            probe.decision_function(more), expected.decision_function(X), atol=1e-4
        )


def test_probabilities_sum_to_one(relu, rows, images):
    X, y = rows
    probe = LinearProbe(relu, C=100).fit(X, y)
    probabilities = probe.predict_proba(X * 1e6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    digits, labels, network = images
    probabilities = LinearProbe(network).fit(digits, labels).predict_proba(digits)
    assert probabilities.shape == (200, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_fits_repeat_bit_for_bit(relu, rows):
    X, y = rows
    for fine_tune in (False, True):
        first, second = (
            LinearProbe(relu, fine_tune=fine_tune).fit(X[:30], y[:30]) for _ in range(2)
        )
        assert joblib.hash(vars(first)) == joblib.hash(vars(second))


def test_clones_share_the_representation(relu, rows):
    X, y = rows
    settings = ProbeSettings((16,), ((0.5, 0.5, 0),), (1,))
    before = joblib.hash(relu)
    probe = LinearProbe(relu, settings=settings, C=2).fit(X, y)
    copy = clone(probe)
    assert copy.representation is relu
    assert not hasattr(copy, "coef_")
    assert copy.get_params(deep=False) == probe.get_params(deep=False)
    copy.fit(X[:20], y[:20])
    assert joblib.hash(relu) == before


class Moving(TransformerMixin, BaseEstimator):
    """Changes its fitted arrays in place."""

    def fit(self, X, y=None):
        self.shift_ = np.mean(X, axis=0)
        return self

    def partial_fit(self, X, y=None):
        self.shift_ += np.mean(X, axis=0)
        return self

    def transform(self, X):
        return X - self.shift_


def network(*given):
    """One that is fitted to what is given, if anything is."""
    made = MultiTaskReLURepresentation(8, algorithm="one_step", random_state=0)
    return made.fit(*given) if given else made


def scaled(X, Y):
    return make_pipeline(StandardScaler(), network()).fit(X, Y)


# A representation of rows X and labels Y of other tasks, and what may happen to it.
CHANGES = {
    "output": (network, lambda r, X, Y: r.set_params(output="scores")),
    "fit": (network, lambda r, X, Y: r.fit(X, Y[:, ::-1])),
    "partial_fit": (network, lambda r, X, Y: r.partial_fit(2 * X, Y)),
    "frozen": (
        lambda X, Y: FrozenEstimator(network(X, Y)),
        lambda r, X, Y: r.estimator.set_params(output="projection"),
    ),
    "pipeline": (
        scaled,
        lambda r, X, Y: r.set_params(multitaskrelurepresentation__output="scores"),
    ),
    "pipeline of frozen": (
        lambda X, Y: make_pipeline(StandardScaler(), FrozenEstimator(network(X, Y))),
        lambda r, X, Y: r[-1].estimator.fit(X, Y[:, :2]),
    ),
    "a step": (scaled, lambda r, X, Y: r[0].fit(10 * X + 3)),
    "other steps": (
        scaled,
        lambda r, X, Y: r.steps.__setitem__(0, ("new", "passthrough")),
    ),
    "in place": (
        lambda X, Y: Moving(),
        lambda r, X, Y: r.partial_fit(X + 1),
    ),
    "a step in place": (
        lambda X, Y: make_pipeline(Moving(), network()),
        lambda r, X, Y: r[0].partial_fit(X + 1),
    ),
    "union": (
        lambda X, Y: make_union(network(), PCA(2)),
        lambda r, X, Y: r.set_params(multitaskrelurepresentation__output="scores"),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_answers_stay_when_the_representation_changes(sources, rows, change):
    make, alter = CHANGES[change]
    (X, y), given = rows, (sources.X, sources.Y)
    ours = change not in ("in place", "union")  # only these can be tuned
    for fine_tune in (False, True)[: 1 + ours]:
        held = make(*given).fit(*given)
        probe = LinearProbe(held, fine_tune=fine_tune).fit(X[:40], y[:40])
        expected = probe.predict_proba(X)
        alter(held, *given)
        np.testing.assert_array_equal(probe.predict_proba(X), expected)
        again = pickle.loads(pickle.dumps(probe))
        np.testing.assert_array_equal(again.predict_proba(X), expected)
        assert probe.representation is held
        anew = clone(probe).set_params(fine_tune=False).fit(X[:40], y[:40])
        assert not np.array_equal(anew.predict_proba(X), expected)


def test_probes_share_the_arrays_of_a_network(relu, rows):
    probe = LinearProbe(make_pipeline(relu)).fit(*rows)
    assert probe.representation_[0].hidden_weights_ is relu.hidden_weights_


def test_representations_that_cannot_be_copied_are_refused(rows):
    class Session(Moving):
        def __deepcopy__(self, memo):
            raise TypeError("cannot pickle a session")

    X, y = rows
    with pytest.raises(TypeError, match=r"Session cannot be copied .*__deepcopy__"):
        LinearProbe(Session().fit(X)).fit(X, y)


def test_model_selection(relu, rows):
    X, y = rows
    before = joblib.hash(relu)
    search = GridSearchCV(
        LinearProbe(relu, prior=None), {"C": [1e-4, 1.0], "fine_tune": [False]}, cv=3
    ).fit(X, y)
    assert search.best_estimator_.representation is relu
    assert search.best_score_ > 0.9
    scores = cross_val_score(
        LinearProbe(relu, prior=None), X, y, cv=3, scoring="roc_auc"
    )
    assert scores.mean() > 0.9
    assert joblib.hash(relu) == before


def test_frozen_estimators_and_pipelines_are_looked_into(sources, relu, rows):
    X, y = rows
    expected = LinearProbe(relu).fit(X, y).decision_function(X)
    frozen = LinearProbe(FrozenEstimator(relu)).fit(X, y)
    np.testing.assert_array_equal(frozen.decision_function(X), expected)
    alone = LinearProbe(make_pipeline(FrozenEstimator(relu))).fit(X, y)
    np.testing.assert_array_equal(alone.decision_function(X), expected)
    pipeline = make_pipeline(
        StandardScaler(), MultiTaskReLURepresentation(16, random_state=0)
    ).fit(3 * sources.X + 1, sources.Y)
    probe = LinearProbe(pipeline).fit(X, y)
    scaled = pipeline[0].transform(X)
    inner = LinearProbe(pipeline[1]).fit(scaled, y)
    np.testing.assert_allclose(
        probe.decision_function(X), inner.decision_function(scaled)
    )


def test_frames_keep_their_names(sources, rows):
    X, y = rows
    names = [f"f{k}" for k in range(12)]
    model = MultiTaskReLURepresentation(16, random_state=0)
    model.fit(pd.DataFrame(sources.X, columns=names), sources.Y)
    frame = pd.DataFrame(X, columns=names)
    for few in (frame, pl.DataFrame(X, schema=names)):
        probe = LinearProbe(model).fit(few, y)
        assert probe.feature_names_in_.tolist() == names
    with pytest.raises(ValueError, match="feature names"):
        probe.predict(frame[names[::-1]])
    tuned = LinearProbe(model, fine_tune=True).fit(frame, y)
    assert tuned.score(frame, y) > 0.9


@pytest.mark.parametrize("container", ["pandas", "polars"])
@pytest.mark.parametrize("fine_tune", [False, True])
def test_representations_that_return_frames(sources, rows, fine_tune, container):
    X, y = rows
    model = MultiTaskReLURepresentation(16, random_state=0).fit(sources.X, sources.Y)
    probe = LinearProbe(model, fine_tune=fine_tune).fit(X[:40], y[:40])
    expected = probe.decision_function(X)
    model.set_output(transform=container)
    probe = LinearProbe(model, fine_tune=fine_tune).fit(X[:40], y[:40])
    scores = probe.decision_function(X)
    np.testing.assert_allclose(scores, expected, 0, 1e-7 * np.abs(expected).max())
    np.testing.assert_array_equal(probe.predict(X), expected > 0)


@pytest.mark.parametrize("kind", ["list", "read-only", "float16", "int"])
@pytest.mark.parametrize("fine_tune", [False, True])
def test_kinds_of_inputs(relu, rows, kind, fine_tune):
    X, y = rows
    X = {"list": X.tolist(), "read-only": X.copy()}.get(kind, X)
    if kind == "read-only":
        X.flags.writeable = False
    elif kind != "list":
        X = (X * 10).astype(kind)
    probe = LinearProbe(relu, fine_tune=fine_tune).fit(X, y)
    assert probe.score(X, y) > 0.85


@pytest.mark.parametrize("output", ["projection", "scores"])
def test_other_outputs_of_the_representation(sources, rows, output):
    X, y = rows
    model = MultiTaskReLURepresentation(16, output=output, random_state=0)
    model.fit(sources.X, sources.Y)
    probe = LinearProbe(model).fit(X, y)
    assert probe.coef_["hidden"].shape == (1, model.transform(X).shape[1])
    assert probe.score(X, y) > 0.8
    with pytest.raises(ValueError, match=f"output='{output}'.*Set output='hidden'"):
        LinearProbe(model, fine_tune=True).fit(X, y)


def test_convolutional_networks(images, patches):
    X, y, network = images
    probe = LinearProbe(network).fit(X[::2], y[::2])
    assert probe.score(X[1::2], y[1::2]) > 0.5
    assert probe.coef_["hidden"].shape == (10, network.transform(X).shape[1])
    assert probe.coef_["probabilities"].shape == (10, 5 * 10)  # a head for each source
    assert probe.coef_["inputs"].shape == (10, 64)
    X, y, network = patches
    probe = LinearProbe(network).fit(X, y)
    assert probe.coef_["probabilities"].shape == (1, 1)
    assert probe.coef_["inputs"].shape == (1, X[0].size)
    assert probe.score(X, y) > 0.7


def test_probes_of_images_take_rows_and_tell_of_shapes(images):
    X, y, network = images
    X = X.reshape(len(X), *network.input_shape_)
    flat = X.reshape(len(X), -1)
    for first, second in ((X, flat), (flat, X)):
        probe = LinearProbe(network).fit(first, y)
        expected = probe.predict_proba(first)
        np.testing.assert_array_equal(probe.predict_proba(second), expected)
        assert probe.n_features_in_ == flat.shape[1]
        with pytest.raises(ValueError, match=r"inputs of shape \(2, 9, 9\)"):
            probe.predict(np.zeros((3, 2, 9, 9)))
    with pytest.raises(ValueError, match=r"images .*X\.reshape\(len\(X\), -1\)"):
        LinearProbe().fit(X, y)
    raw = LinearProbe().fit(flat, y)
    with pytest.raises(ValueError, match=r"images .*X\.reshape\(len\(X\), -1\)"):
        raw.predict(X)


def penalised_loss(probe, representation, X, y):
    """What fine-tuning lowers, but for the penalty on moving, which is 0 at first."""
    _, factors = by_hand(representation, X, probe.weights_)
    ridge = sum(np.sum((c / factors[n]) ** 2) for n, c in probe.coef_.items())
    losses = log_loss(y, probe.predict_proba(X), normalize=False)
    return probe.C_ * losses + ridge / 2


def test_fine_tuning_trains_a_copy(relu, rows):
    X, y = rows[0][:40], rows[1][:40]
    before = joblib.hash(relu)
    frozen = LinearProbe(relu, C=5).fit(X, y)
    tuned = LinearProbe(relu, C=5, fine_tune=True).fit(X, y)
    assert joblib.hash(relu) == before
    loss = penalised_loss(tuned, relu, X, y)
    assert loss < 0.98 * penalised_loss(frozen, relu, X, y)
    assert tuned.first_layer_.keys() == {"hidden_weights_", "hidden_biases_"}
    for name, array in tuned.first_layer_.items():
        original = getattr(relu, name)
        assert array.shape == original.shape
        assert array.dtype == original.dtype
        assert not np.array_equal(array, original)
        assert not np.shares_memory(array, original)


def test_fine_tuned_scores_are_what_the_attributes_say(relu, rows):
    X, y = rows
    probe = LinearProbe(relu, C=5, fine_tune=True).fit(X[:40], y[:40])
    layer = probe.first_layer_
    hidden = np.maximum(X @ layer["hidden_weights_"].T + layer["hidden_biases_"], 0)
    probabilities = relu.source_probabilities(X)
    blocks = {"hidden": hidden, "probabilities": probabilities, "inputs": X}
    scores = sum(blocks[name] @ coef.T for name, coef in probe.coef_.items())
    np.testing.assert_allclose(
        probe.decision_function(X), (scores + probe.intercept_)[:, 0]
    )


@pytest.mark.parametrize("kind", ["images", "patches"])
def test_fine_tuning_of_convolutional_networks(kind, request):
    X, y, network = request.getfixturevalue(kind)
    X, y = X[::5], y[::5]
    before = joblib.hash(vars(network))
    losses = {}
    for fine_tune in (False, True):
        probe = LinearProbe(network, weights={"hidden": 1}, C=5, fine_tune=fine_tune)
        probe.fit(X, y)
        spread = np.var(network.transform(X), axis=0, dtype=float).sum()
        ridge = np.sum(probe.coef_["hidden"] ** 2) * spread / 2
        loss = log_loss(y, probe.predict_proba(X), normalize=False)
        losses[fine_tune] = 5 * loss + ridge
    assert losses[True] < losses[False]
    assert joblib.hash(vars(network)) == before
    assert "filters_" in probe.first_layer_
    assert np.mean(probe.predict(X) == y) == probe.score(X, y)


@pytest.mark.parametrize(("scale", "shift"), [(1e3, 0), (1e-3, 0), (1, 100)])
def test_units_and_origin_of_inputs_do_not_matter_to_fine_tuning(
    sources, relu, rows, scale, shift
):
    X, y = rows
    tuned = LinearProbe(relu, fine_tune=True).fit(X[:40], y[:40])
    other = MultiTaskReLURepresentation(16, random_state=0)
    other.fit(scale * sources.X + shift, sources.Y)
    moved = scale * X + shift
    probe = LinearProbe(other, fine_tune=True).fit(moved[:40], y[:40])
    # no rounding: far from their origin, inputs let L-BFGS stop earlier (by .012)
    np.testing.assert_allclose(
        probe.decision_function(moved), tuned.decision_function(X), atol=0.1
    )


def test_fine_tuning_of_a_pipeline(sources, rows):
    X, y = rows
    pipeline = make_pipeline(
        StandardScaler(), FrozenEstimator(MultiTaskReLURepresentation(8).fit(*rows))
    ).fit(sources.X)
    before = joblib.hash(pipeline)
    probe = LinearProbe(pipeline, fine_tune=True).fit(X[:40], y[:40])
    assert probe.first_layer_
    assert probe.score(X, y) > 0.5
    assert joblib.hash(pipeline) == before


def test_fine_tuning_needs_a_network_of_this_package(rows):
    X, y = rows
    with pytest.raises(TypeError, match=r"got PCA\. Set fine_tune=False"):
        LinearProbe(PCA(3).fit(X), fine_tune=True).fit(X, y)
    with pytest.raises(
        (TypeError, ValueError), match=r"fine_tune=True.*representation"
    ):
        LinearProbe(fine_tune=True).fit(X, y)


@pytest.mark.parametrize("fine_tune", [False, True])
def test_unfitted_representations_are_refused(rows, fine_tune):
    unfitted = MultiTaskReLURepresentation()
    for representation in (
        unfitted,
        FrozenEstimator(unfitted),
        make_pipeline(unfitted),
        make_pipeline(StandardScaler(), unfitted),
    ):
        with pytest.raises(NotFittedError):
            LinearProbe(representation, fine_tune=fine_tune).fit(*rows)
    with pytest.raises(NotFittedError):
        LinearProbe().predict(rows[0])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"C": 0}, "'C' parameter.*Got 0"),
        ({"C": "strong"}, "'C' parameter.*Got 'strong'"),
        ({"C": np.inf}, "'C' parameter.*Got inf"),
        ({"settings": {"C": 1}}, "'settings' parameter.*ProbeSettings.*Got"),
        ({"weights": "equal"}, "'weights' parameter.*'auto'.*Got 'equal'"),
        ({"weights": {"pixels": 1}}, r"weights=.*'pixels'.*'inputs'"),
        ({"weights": {"hidden": -1}}, r"weights=.*-1.*numbers of at least 0"),
        ({"weights": {"hidden": np.nan}}, r"weights=.*nan.*numbers of at least 0"),
        ({"weights": {"hidden": "much"}}, r"weights=.*'much'.*numbers of at least 0"),
        ({"weights": {"hidden": [1, 2]}}, r"weights=.*numbers of at least 0"),
        ({"weights": {}}, r"weights={}.*positive weight"),
        ({"weights": {"inputs": 0}}, r"weights=.*positive weight"),
        ({"representation": "network"}, "'representation' parameter.*transform"),
        ({"fine_tune": 2}, "'fine_tune' parameter.*Got 2"),
    ],
)
def test_bad_parameters_are_named(relu, rows, parameters, message):
    with pytest.raises(ValueError, match=message):
        LinearProbe(**{"representation": relu} | parameters).fit(*rows)


def test_weights_need_a_block(rows):
    with pytest.raises(ValueError, match=r"there are \['inputs'\]"):
        LinearProbe(weights={"hidden": 1}).fit(*rows)


@pytest.mark.parametrize(
    ("make_y", "message"),
    [
        (lambda y: np.full(len(y), "a"), r"1 class .*does not follow.*classes="),
        (lambda y: y[:5], "inconsistent numbers of samples"),
        (lambda y: y + 0.5 * np.arange(len(y)), "[Cc]ontinuous"),
        (lambda y: np.where(np.arange(len(y)) == 3, np.nan, y), "NaN|missing"),
        (lambda y: np.array([None, *y[1:]], dtype=object), "None|NaN|missing"),
        (
            lambda y: np.array([None, *"ab" * 100][:-1], dtype=object),
            "None|NaN|missing",
        ),
    ],
)
def test_bad_labels_are_refused(relu, rows, make_y, message):
    X, y = rows
    with pytest.raises(ValueError, match=message):
        LinearProbe(relu).fit(X, make_y(y))


def test_a_failed_fit_leaves_the_last_good_state(rows):
    X, y = rows
    probe = LinearProbe().fit(X, y)
    before = joblib.hash(vars(probe))
    frame = pd.DataFrame(X[:, :5], columns=list("abcde"))
    with pytest.raises(ValueError, match="1 class"):
        probe.fit(frame, ["a"] * 200)
    assert joblib.hash(vars(probe)) == before
    assert probe.score(X, y) > 0.9


def test_a_failed_first_fit_leaves_an_unfitted_probe(relu, rows):
    X, _ = rows
    for representation in (None, relu):
        probe = LinearProbe(representation)
        with pytest.raises(ValueError, match="1 class"):
            probe.fit(X, ["a"] * 200)
        with pytest.raises(NotFittedError):
            probe.predict(X)


@pytest.mark.parametrize("fine_tune", [False, True])
def test_pickled_probes_predict_the_same(relu, rows, fine_tune):
    X, y = rows
    probe = LinearProbe(relu, fine_tune=fine_tune).fit(X[:40], y[:40])
    again = pickle.loads(pickle.dumps(probe))
    np.testing.assert_array_equal(
        again.decision_function(X), probe.decision_function(X)
    )


@pytest.mark.parametrize("n_rows", [16, 200])
def test_a_penalty_near_zero_still_converges(rows, n_rows):
    X, y = rows
    probe = LinearProbe(C=1e6).fit(X[:n_rows], y[:n_rows])
    assert probe.score(X[:n_rows], y[:n_rows]) > 0.95


def test_fine_tuning_takes_many_rows_of_several_classes(relu, rows):
    X = np.random.default_rng(0).standard_normal((200, rows[0].shape[1]))
    y = np.digitize(X[:, 0], [-0.5, 0.5])
    probe = LinearProbe(relu, fine_tune=True).fit(X, y)
    assert probe.score(X, y) > 0.6
