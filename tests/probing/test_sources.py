"""Source tasks themselves: transfer among them, and how similar they are."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy import sparse
from sklearn.cluster import AgglomerativeClustering
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, StandardScaler

from mtrl_sklearn import ConvMultiTaskClassifier, MultiTaskReLURepresentation
from mtrl_sklearn._relu.representation import relu_covariance
from mtrl_sklearn.datasets import (
    make_corrupted_digits,
    make_patch_tasks,
    make_subspace_tasks,
)
from mtrl_sklearn.probing import (
    LinearProbe,
    calibrate,
    label_agreement,
    probe_new_tasks,
    source_task_transfer,
    task_affinity,
)


@pytest.fixture(scope="module")
def data():
    X, Y, *_ = make_subspace_tasks(200, 8, n_components=2, n_tasks=6, random_state=0)
    return X, Y


def quick(**parameters):
    """An estimator that trains for a moment."""
    defaults = {"n_hidden": 8, "algorithm": "one_step", "random_state": 0}
    return MultiTaskReLURepresentation(**{**defaults, **parameters})


def transfer(estimator, X, Y, groups_of_tasks=None, **parameters):
    defaults = {"shots": (8, 16), "n_draws": 2, "n_groups": 2, "random_state": 0}
    return source_task_transfer(
        estimator, X, Y, groups_of_tasks, **{**defaults, **parameters}
    )


class ReLUSpy(MultiTaskReLURepresentation):
    """Keeps what it was fitted on."""

    fits = []

    def fit(self, X, y, tasks=None):
        ReLUSpy.fits.append((np.asarray(X), np.asarray(y), tasks))
        return super().fit(X, y, tasks)


class ConvSpy(ConvMultiTaskClassifier):
    """Keeps what it was fitted on."""

    fits = []

    def fit(self, X, y, tasks=None):
        ConvSpy.fits.append((np.asarray(X), np.asarray(y), tasks))
        return super().fit(X, y, tasks)


def spy_on_relu():
    ReLUSpy.fits = []
    return ReLUSpy(8, algorithm="one_step", random_state=0)


class SpyScore:
    """Keeps the inputs that are scored."""

    def __init__(self):
        self.inputs = []

    def __call__(self, estimator, X, y):
        self.inputs.append(np.asarray(X))
        return 0.5


def rows_of(inputs, X):
    """Positions in X of some of its rows, each of which is there once."""
    place = {row.tobytes(): k for k, row in enumerate(X.reshape(len(X), -1))}
    assert len(place) == len(X)
    inputs = inputs.reshape(len(inputs), -1)
    return np.array([place[row.tobytes()] for row in inputs])


# --- source_task_transfer ---


@pytest.mark.parametrize("missing", [0, 0.3])
def test_neither_tasks_left_out_nor_test_rows_are_trained_on(data, missing):
    X, Y = data
    Y = np.where(np.random.default_rng(0).random(Y.shape) < missing, np.nan, Y)
    spy, score, groups = spy_on_relu(), SpyScore(), [[0], [1, 2], [3, 4, 5]]
    parameters = {"probe": LogisticRegression(), "baselines": ("raw",)}
    table = transfer(spy, X, Y, groups, scoring=score, **parameters)
    assert len(ReLUSpy.fits) == 3
    trained = rows_of(ReLUSpy.fits[0][0], X)
    assert len(trained) == 150
    for (inputs, labels, _), left_out in zip(ReLUSpy.fits, groups):
        np.testing.assert_array_equal(rows_of(inputs, X), trained)
        np.testing.assert_array_equal(labels, np.delete(Y[trained], left_out, axis=1))
    raw = table["features"].to_numpy() == "raw"
    assert raw.any()
    for inputs in (score.inputs[k] for k in np.flatnonzero(raw)):
        assert not np.isin(rows_of(inputs, X), trained).any()


def to_long(X, Y):
    rows, columns = np.nonzero(~np.isnan(Y))
    X = X[rows] + 1e-6 * np.arange(len(rows))[:, None]  # every row can be told
    return X, Y[rows, columns], np.array([f"task{k}" for k in columns])


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_long_form(data, in_pipeline):
    X, y, tasks = to_long(*data)
    spy, score = spy_on_relu(), SpyScore()
    estimator = make_pipeline("passthrough", spy) if in_pipeline else spy
    groups = [["task0"], ["task1", "task2"], ["task3", "task4", "task5"]]
    parameters = {"probe": LogisticRegression(), "baselines": ("raw",)}
    table = transfer(estimator, X, y, groups, tasks=tasks, scoring=score, **parameters)
    every = {f"task{k}" for k in range(6)}
    fitted = set()
    for (inputs, labels, ids), left_out in zip(ReLUSpy.fits, groups, strict=True):
        rows = rows_of(inputs, X)
        assert set(ids) == every - set(left_out)
        np.testing.assert_array_equal(tasks[rows], ids)
        np.testing.assert_array_equal(y[rows], labels)
        fitted |= set(rows.tolist())
    raw = np.flatnonzero(table["features"].to_numpy() == "raw")
    for inputs in (score.inputs[k] for k in raw):
        assert not fitted & set(rows_of(inputs, X).tolist())
    assert set(table["task"]) == every


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("head", ["shared", "per_task"])
def test_long_form_of_a_convolutional_network(head):
    X, y, tasks, *_ = make_patch_tasks(60, n_tasks=4, random_state=0)
    ConvSpy.fits, score = [], SpyScore()
    spy = ConvSpy(8, head=head, max_iter=5, random_state=0)
    parameters = {"probe": LogisticRegression(), "baselines": ("raw",)}
    groups = [[0, 1], [2, 3]]
    table = transfer(spy, X, y, groups, tasks=tasks, scoring=score, **parameters)
    raw = np.flatnonzero(table["features"].to_numpy() == "raw")
    tested = {row for k in raw for row in rows_of(score.inputs[k], X).tolist()}
    for (inputs, labels, ids), left_out in zip(ConvSpy.fits, groups, strict=True):
        rows = rows_of(inputs, X)
        assert not np.isin(ids, left_out).any()
        np.testing.assert_array_equal(y[rows], labels)
        np.testing.assert_array_equal(tasks[rows], ids)
        assert tested
        assert not tested & set(rows.tolist())
    whole = transfer(spy, X, y, groups, tasks=tasks)
    assert set(whole["features"]) == {"representation", "raw", "random", "no labels"}


def test_pipelines_with_routed_tasks(data):
    X, y, tasks = to_long(*data)
    expected = transfer(make_pipeline(StandardScaler(), quick()), X, y, tasks=tasks)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = make_pipeline(StandardScaler(), quick().set_fit_request(tasks=True))
        table = transfer(routed, X, y, tasks=tasks)
    np.testing.assert_array_equal(table["score"], expected["score"])


@pytest.mark.parametrize("wrap", [FrozenEstimator, make_pipeline])
def test_frozen_estimators_are_trained_anew(data, wrap):
    """A representation that knows the tasks left out would be flattered."""
    spy = spy_on_relu().fit(*data)
    ReLUSpy.fits = []
    transfer(wrap(FrozenEstimator(spy)), *data, [0, 0, 0, 1, 1, 1])
    assert [labels.shape[1] for _, labels, _ in ReLUSpy.fits] == [3, 3]


def test_whole_groups_of_rows_are_held_out(data):
    X, Y = data
    spy, score = spy_on_relu(), SpyScore()
    groups = [f"patient {k // 10}" for k in range(200)]
    parameters = {"probe": LogisticRegression(), "baselines": ("raw",)}
    table = transfer(spy, X, Y, groups=groups, scoring=score, **parameters)
    trained = {groups[row] for row in rows_of(ReLUSpy.fits[0][0], X)}
    raw = np.flatnonzero(table["features"].to_numpy() == "raw")
    tested = {groups[r] for k in raw for r in rows_of(score.inputs[k], X)}
    assert len(trained) == 15
    assert tested
    assert not trained & tested


def test_the_table_tells_of_every_task_and_its_group(data):
    X, Y = data
    frame = pd.DataFrame(Y, columns=list("abcdef"))
    table = transfer(quick(), X, frame, [[0, 1], ["c", "d"], [4, 5]])
    assert set(table["features"]) == {"representation", "raw", "random", "no labels"}
    group_of_task = table.groupby("task")["group"].unique().str[0].to_dict()
    assert group_of_task == {"a": 0, "b": 0, "c": 1, "d": 1, "e": 2, "f": 2}
    assert len(table) == 6 * 2 * 2 * 4
    assert len(table.summary()) == 2 * 4
    found = transfer(quick(), X, frame)  # groups are found
    assert sorted(found["task"].unique()) == list("abcdef")
    assert found["group"].nunique() == 2
    short = transfer(quick(), X, frame, shots=(8, 1000))
    assert set(short.skipped["task"]) == set("abcdef")


def without_both_classes(Y):
    """Columns a to f, among others that show a single class, or no label at all."""
    junk = np.c_[np.full(len(Y), np.nan), np.zeros(len(Y))][:, [0, 1, 0, 1, 1, 0]]
    columns = [*"qrstuv", *"abcdef", *"QRSTUV"]
    return pd.DataFrame(np.c_[junk, Y, junk], columns=columns)


def test_tasks_without_both_classes_are_skipped_and_change_nothing(data):
    X, Y = data
    Y, groups = without_both_classes(Y), np.arange(len(X)) // 10
    expected = transfer(quick(), X, Y[list("abcdef")], groups=groups)
    table = transfer(quick(), X, Y, groups=groups)
    pd.testing.assert_frame_equal(table, expected, check_exact=True)
    assert len(expected) > 0
    assert set(table.skipped["task"]) == set("qrstuvQRSTUV")
    assert table.skipped["reason"].str.contains("0 positive and .* both").all()


def test_tasks_without_both_classes_in_the_long_form(data):
    X, Y = data
    labels = without_both_classes(Y).melt(ignore_index=False)
    rows, tasks = labels.index.to_numpy(), labels["variable"].to_numpy()
    X, y, groups = X[rows], labels["value"].to_numpy(), rows // 10
    table = transfer(quick(), X, y, tasks=tasks, groups=groups)
    kept = np.isin(tasks, list("abcdef"))
    expected = transfer(
        quick(), X[kept], y[kept], tasks=tasks[kept], groups=groups[kept]
    )
    pd.testing.assert_frame_equal(table, expected, check_exact=True)
    assert len(expected) > 0
    assert set(table.skipped["task"]) == set("qrstuvQRSTUV")


def test_groups_keep_the_numbers_that_were_given():
    X, Y, *_ = make_subspace_tasks(200, 8, n_tasks=12, random_state=0)
    given = np.arange(12)
    table = transfer(quick(), X, Y, given, shots=(8,), n_draws=1, baselines=())
    found = table.drop_duplicates("task").set_index("task")["group"]
    assert [found[f"task{k}"] for k in given] == given.tolist()


def test_repeated_calls_and_processes_agree(data):
    parameters = {"shots": (8,), "baselines": ("random",)}
    one, two = (transfer(quick(), *data, **parameters, n_jobs=k) for k in (1, 2))
    pd.testing.assert_frame_equal(one, two, check_exact=True)


@pytest.mark.parametrize("n_tasks", [25, 40])
def test_tasks_that_share_no_rows_are_grouped(n_tasks):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60 * n_tasks, 4))
    tasks = np.repeat(np.arange(n_tasks), 60)
    y = X[:, 0] > 0
    table = transfer(quick(), X, y, tasks=tasks, shots=(8,), n_draws=1, n_groups=3)
    assert table["group"].nunique() == 3


def test_kinds_of_inputs(data):
    X, Y = data
    base = transfer(quick(), X, Y)
    for inputs, labels in ((X.tolist(), Y.tolist()), (X, np.where(Y, "p", "n"))):
        again = transfer(quick(), inputs, labels)
        np.testing.assert_array_equal(base["score"], again["score"])


def test_bad_arguments_are_named(data):
    X, Y = data
    with pytest.raises(ValueError, match=r"1 task.*at least 2"):
        transfer(quick(), X, Y[:, 0])
    with pytest.raises(ValueError, match="groups_of_tasks names 'nose'"):
        transfer(quick(), X, Y, [["task0"], ["nose"]])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        transfer(quick(), X[:-1], Y)
    with pytest.raises(ValueError, match="'n_groups' parameter"):
        transfer(quick(), X, Y, n_groups=1)


class Untouched(MultiTaskReLURepresentation):
    """Fails where something is trained."""

    def fit(self, X, y, tasks=None):
        raise AssertionError("trained before its inputs were checked")


NOT_A_NUMBER = np.where(np.arange(8) == 3, np.nan, np.ones((200, 8)))
EARLY = [
    (sparse.csr_array(NOT_A_NUMBER), {}, ValueError, "X contains NaN"),
    (NOT_A_NUMBER, {}, ValueError, "X contains NaN"),
    (None, {"n_jobs": 0}, ValueError, "'n_jobs' parameter"),
    (None, {"shots": -1}, ValueError, "shots=-1"),
]
EARLY_TRANSFER = [
    (None, {"scoring": "rocauc"}, ValueError, "scoring|rocauc"),
    (None, {"probe": LinearProbe(C=-1)}, ValueError, "'C' parameter"),
    (None, {"groups": [1, 2]}, ValueError, "groups should be"),
]


@pytest.mark.parametrize(("X", "parameters", "kind", "message"), EARLY)
@pytest.mark.parametrize("measure", [calibrate, source_task_transfer])
def test_inputs_are_checked_before_anything_is_trained(
    data, measure, X, parameters, kind, message
):
    X = data[0] if X is None else X
    given = {"shots": (8,), "n_groups": 2, **parameters}
    with pytest.raises(kind, match=message):
        measure(Untouched(), X, data[1], **given)


@pytest.mark.parametrize(("X", "parameters", "kind", "message"), EARLY_TRANSFER)
def test_probe_and_scorer_are_checked_first(data, X, parameters, kind, message):
    with pytest.raises(kind, match=message):
        transfer(Untouched(), *data, **parameters)
    if "groups" not in parameters:
        with pytest.raises(kind, match=message):
            probe_new_tasks(Untouched(), *data, **parameters)


class UntouchedConv(ConvMultiTaskClassifier):
    """Fails where something is trained."""

    def fit(self, X, y, tasks=None):
        raise AssertionError("trained before its inputs were checked")


@pytest.mark.parametrize("measure", [calibrate, source_task_transfer])
def test_networks_of_arrays_get_no_sparse_rows(data, measure):
    X, given = sparse.csr_array(data[0]), {"shots": (8,), "n_groups": 2}
    for estimator in (UntouchedConv(), make_pipeline(MaxAbsScaler(), UntouchedConv())):
        with pytest.raises(TypeError, match=r"X is sparse.*Untouched.*TruncatedSVD"):
            measure(estimator, X, data[1], **given)
    arrays = make_pipeline(TruncatedSVD(4, random_state=0), quick())
    assert measure(arrays, X, data[1], **given) is not None
    with pytest.raises(ValueError, match="No source task has enough labels"):
        calibrate(Untouched(), *data, shots=(500,))


def test_an_empty_table_says_why(data):
    with pytest.warns(UserWarning, match=r"none of the 6 tasks .*shots=500.*'task\d'"):
        assert len(transfer(quick(), *data, shots=(500,))) == 0


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in (1, 2))]
)
def test_related_tasks_gain_and_unrelated_ones_do_not(seed):
    """New tasks of the same subspace, of another one, and of pure noise."""
    rng = np.random.default_rng(seed)
    X, Y, components, _ = make_subspace_tasks(
        600, 40, n_components=3, n_tasks=16, random_state=seed
    )
    elsewhere = np.linalg.svd(components)[2][3:9]
    noise = rng.random((600, 6)) < 0.5
    together = np.c_[Y, X @ elsewhere.T > 0, noise]
    groups = [range(6), range(16, 22), range(22, 28)]
    table = transfer(
        MultiTaskReLURepresentation(32, random_state=seed),
        X,
        together,
        [list(group) for group in groups],
        shots=(16, 64),
        baselines=("raw",),
    )
    parts = [table[table["group"] == k] for k in range(3)]
    related, other, none = (
        part.summary().set_index(["features", "shots"])["gain"]["raw"] for part in parts
    )
    assert related[16] > 0.04
    assert other.max() < -0.03
    assert none.abs().max() < 0.06
    assert "negative transfer" in parts[1].report()
    assert "LOSES" in parts[1].report()
    assert "LOSES" not in parts[0].report()


# --- task_affinity ---


def test_covariance_of_relu_features_against_monte_carlo():
    rng = np.random.default_rng(0)
    W = rng.standard_normal((6, 4)) * np.array([0.1, 1, 2, 1, 1, 3])[:, None]
    W[3] = 2 * W[2]
    W[4] = -W[2]
    hidden = np.maximum(rng.standard_normal((200_000, 4)) @ W.T, 0)
    expected = np.cov(hidden, rowvar=False)
    norms = np.linalg.norm(W, axis=1)
    difference = (relu_covariance(W) - expected) / np.outer(norms, norms)
    assert np.abs(difference).max() < 0.01
    with_zero = relu_covariance(np.r_[W, np.zeros((1, 4))])
    assert not with_zero[-1].any()
    # half of a squared Gaussian, less the square of the mean 1 / sqrt(2 pi)
    np.testing.assert_allclose(np.diag(relu_covariance(np.eye(2))), 0.5 - 0.5 / np.pi)


def assert_is_affinity(affinity, n_tasks):
    assert affinity.shape == (n_tasks, n_tasks)
    assert affinity.dtype == np.float64
    np.testing.assert_array_equal(affinity, affinity.T)
    np.testing.assert_array_equal(np.diag(affinity), 1)
    assert np.abs(affinity).max() <= 1


@pytest.fixture(scope="module")
def relatives():
    """Tasks 0 and 1 are the same, task 2 asks the opposite, task 3 something else."""
    X = np.random.default_rng(0).standard_normal((500, 12))
    first = X[:, 0] + 0.3 * X[:, 1] > 0
    Y = np.c_[first, first, ~first, X[:, 2] > 0].astype(float)
    return X, Y, MultiTaskReLURepresentation(32, random_state=0).fit(X, Y)


@pytest.mark.parametrize("with_X", [False, True])
@pytest.mark.parametrize("with_Y", [False, True])
def test_equal_opposite_and_unrelated_tasks(relatives, with_X, with_Y):
    X, Y, model = relatives
    affinity = task_affinity(model, X if with_X else None, Y if with_Y else None)
    assert_is_affinity(affinity, 4)
    assert affinity[0, 1] > 0.95
    assert affinity[0, 2] < -0.95
    assert np.abs(affinity[:3, 3]).max() < 0.3


def test_affinity_is_the_correlation_of_scores(relatives):
    X, _, model = relatives
    expected = np.corrcoef(model.decision_function(X), rowvar=False)
    np.testing.assert_allclose(task_affinity(model, X), expected, atol=1e-6)


def test_affinity_without_rows_is_the_correlation_on_gaussian_inputs(relatives):
    """Of scores without biases, to four times the error of a correlation, n^-1/2."""
    _, _, model = relatives
    Z = np.random.default_rng(0).standard_normal((50_000, 12))
    hidden = np.maximum(Z @ model.hidden_weights_.T, 0)
    expected = np.corrcoef(hidden @ model.task_coef_.T, rowvar=False)
    atol = 4 / np.sqrt(len(Z))
    np.testing.assert_allclose(task_affinity(model), expected, rtol=0, atol=atol)


def test_labels_count_by_the_rows_that_have_both(relatives):
    X, Y, model = relatives
    Y = np.where(np.random.default_rng(0).random(Y.shape) < 0.6, np.nan, Y)
    Y[:, 3] = np.nan
    observed = ~np.isnan(Y)
    n_both = observed.T.astype(int) @ observed.astype(int)
    share = n_both / (n_both + 30)
    signs = np.where(observed, np.where(Y == 1, 1, -1), 0)
    agreement = np.nan_to_num(label_agreement(np.where(signs == 0, np.nan, signs)))
    for rows in (None, X):
        heads = task_affinity(model, rows)
        expected = share * agreement + (1 - share) * heads
        np.fill_diagonal(expected, 1)
        np.testing.assert_allclose(task_affinity(model, rows, Y), expected)
        np.testing.assert_array_equal(expected[3, :3], heads[3, :3])


@pytest.mark.parametrize("with_X", [False, True])
def test_clusters_of_tasks_are_found(with_X):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 20))
    cluster = np.repeat(range(3), 4)
    noisy = X[:, cluster] + 0.5 * rng.standard_normal((600, 12))
    Y = (noisy > 0) ^ (np.arange(12) % 2 == 1)  # every other one asks the opposite
    model = MultiTaskReLURepresentation(32, random_state=0).fit(X, Y)
    distance = 1 - np.abs(task_affinity(model, X if with_X else None))
    found = AgglomerativeClustering(3, metric="precomputed", linkage="average")
    assert adjusted_rand_score(cluster, found.fit_predict(distance)) == 1


@pytest.mark.parametrize("with_X", [False, True])
def test_pipelines_are_looked_into(relatives, with_X):
    X, Y, model = relatives
    rows = X if with_X else None
    expected = task_affinity(model, rows)
    frozen = task_affinity(FrozenEstimator(model), rows)
    np.testing.assert_array_equal(frozen, expected)
    pipeline = make_pipeline(StandardScaler(), FrozenEstimator(model)).fit(X, Y)
    scaled = pipeline[0].transform(X) if with_X else None
    np.testing.assert_allclose(
        task_affinity(pipeline, rows), task_affinity(model, scaled)
    )


@pytest.mark.filterwarnings("ignore:.*tasks show labels of at most 1 class")
@pytest.mark.parametrize("with_X", [False, True])
def test_tasks_without_a_head_resemble_no_other(data, with_X):
    X, Y = data
    with_junk = np.c_[Y, np.ones(200), np.r_[1, np.full(199, np.nan)]]
    model = MultiTaskReLURepresentation(16, random_state=0).fit(X, with_junk)
    affinity = task_affinity(model, X if with_X else None)
    assert_is_affinity(affinity, 8)
    np.testing.assert_allclose(affinity[6:, :6], 0, atol=1e-6)
    np.testing.assert_allclose(affinity[6:, 6:], np.eye(2), atol=1e-6)


def test_a_single_task_resembles_itself(data):
    X, Y = data
    model = quick().fit(X, Y[:, 0])
    for rows in (None, X):
        np.testing.assert_array_equal(task_affinity(model, rows), [[1]])


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_units_of_inputs_do_not_matter(relatives, scale):
    X, Y, model = relatives
    expected = task_affinity(model)
    moved = MultiTaskReLURepresentation(32, random_state=0).fit(X * scale, Y)
    np.testing.assert_allclose(task_affinity(moved), expected, atol=0.01)


def test_convolutional_networks():
    X, digits, tasks = make_corrupted_digits(60, random_state=0)
    y = np.where((digits < 5) ^ (tasks == "noise"), "low", "high")
    network = ConvMultiTaskClassifier(16, head="per_task", random_state=0)
    network.fit(X, y, tasks)
    affinity = task_affinity(network, X)
    assert_is_affinity(affinity, 5)
    clean, contrast, noise = (
        network.tasks_.tolist().index(name) for name in ("clean", "contrast", "noise")
    )
    assert affinity[clean, contrast] > 0.3
    assert affinity[[clean, contrast], noise].max() < -0.3
    with pytest.raises(ValueError, match=r"needs X.*pass rows"):
        task_affinity(network)
    with pytest.raises(ValueError, match="Pass Y=None"):
        task_affinity(network, X, y)
    shared = ConvMultiTaskClassifier(8, random_state=0).fit(X, y, tasks)
    with pytest.raises(ValueError, match=r"head='shared'.*Fit with head='per_task'"):
        task_affinity(shared, X)


def test_other_estimators_are_refused(data):
    with pytest.raises(TypeError, match="got PCA"):
        task_affinity(PCA(2).fit(data[0]))
    with pytest.raises(NotFittedError):
        task_affinity(MultiTaskReLURepresentation())


# --- label_agreement ---


def test_agreement_is_the_correlation_of_labels():
    rng = np.random.default_rng(0)
    signs = np.where(rng.standard_normal((80, 5)) > [-1, 0, 0, 1, 0.5], 1, -1)
    signs[:, 4] = -signs[:, 0]
    expected = np.corrcoef(signs, rowvar=False)
    np.testing.assert_allclose(
        label_agreement(np.where(signs == 0, np.nan, signs)), expected, atol=1e-12
    )
    small = signs.astype(np.int8)
    np.testing.assert_allclose(
        label_agreement(np.where(small == 0, np.nan, small)), expected, atol=1e-12
    )


def test_agreement_is_taken_over_rows_with_both_labels():
    rng = np.random.default_rng(0)
    signs = np.where(rng.standard_normal((60, 4)) > 0, 1, -1)
    signs[rng.random(signs.shape) < 0.4] = 0
    labels = pd.DataFrame(np.where(signs == 0, np.nan, signs))
    np.testing.assert_allclose(
        label_agreement(np.where(signs == 0, np.nan, signs)), labels.corr(), atol=1e-12
    )


def test_agreement_is_unknown_without_common_rows_or_variation():
    signs = np.array([[1, 0, 1, 1], [-1, 0, 1, 0], [0, 1, 1, 0], [0, -1, 1, -1]])
    with pytest.warns(UserWarning, match=r"No pair of 4 tasks .* of two is 2\. All"):
        agreement = label_agreement(np.where(signs == 0, np.nan, signs))
    np.testing.assert_array_equal(np.diag(agreement), 1)
    off_diagonal = agreement[~np.eye(4, dtype=bool)]
    assert np.isnan(off_diagonal).all()


def test_warnings_of_training_are_those_of_the_estimator(data):
    """Nothing is hidden that a fit has to say."""
    slow = MultiTaskReLURepresentation(8, max_iter=2, random_state=0)
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        transfer(slow, *data, shots=(8,), n_draws=1)
