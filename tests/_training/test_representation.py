"""A network from outside the package, and what tools get from any network."""

import ast
import inspect
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy.special import expit
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted, validate_data

import mtrl_sklearn
from mtrl_sklearn import (
    ConvMultiTaskClassifier,
    MultiTaskReLURepresentation,
    load,
    save,
    to_onnx,
)
from mtrl_sklearn._training.representation import (
    ExportableRepresentation,
    SaveableRepresentation,
    Tunable,
)
from mtrl_sklearn.datasets import make_subspace_tasks
from mtrl_sklearn.plotting import (
    FilterDisplay,
    LossCurveDisplay,
    SpectrumDisplay,
    SubspaceRecoveryDisplay,
    TaskAffinityDisplay,
)
from mtrl_sklearn.probing import (
    LinearProbe,
    ProbeSettings,
    Representation,
    calibrate,
    probe_new_tasks,
    source_task_transfer,
    task_affinity,
)

OURS = [MultiTaskReLURepresentation, ConvMultiTaskClassifier]
PACKAGE = Path(mtrl_sklearn.__file__).parent
FILES = Path(__file__).parents[1] / "files"


class LinearNetwork(TransformerMixin, BaseEstimator):
    """Scores of least squares, cut to a few directions of the inputs."""

    def __init__(self, n_components=3):
        self.n_components = n_components

    def fit(self, X, Y):
        X = validate_data(self, X)
        signs = np.where(np.isnan(Y), 0, 2 * np.asarray(Y, dtype=float) - 1)
        solution = np.linalg.lstsq(X, signs)[0]
        left, values, right = np.linalg.svd(solution, full_matrices=False)
        k = self.n_components
        self.components_, self.singular_values_ = left[:, :k].T, values
        self.n_components_ = k
        self.heads_ = (values[:k, None] * right[:k]).T
        self.loss_curve_ = [np.square(X @ solution - signs).mean()]
        self.task_names_ = [f"task {t}" for t in range(signs.shape[1])]
        return self

    def transform(self, X):
        check_is_fitted(self)
        return validate_data(self, X, reset=False) @ self.components_.T

    def source_probabilities(self, X):
        return expit(self.transform(X) @ self.heads_.T)

    def task_covariance(self, X=None):
        check_is_fitted(self)
        S = np.eye(self.n_components) if X is None else np.cov(self.transform(X).T)
        return self.heads_ @ S @ self.heads_.T


class ManyColumns(LinearNetwork):
    """The same, which says that it takes a column of labels for each task."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


@pytest.fixture(scope="module")
def tasks():
    return make_subspace_tasks(600, 30, n_tasks=12, n_components=3, random_state=0)


@pytest.fixture(scope="module")
def network(tasks):
    return LinearNetwork().fit(tasks.X, tasks.Y)


@pytest.fixture(scope="module")
def new(tasks):
    """Rows and labels of three new tasks."""
    return tasks.problem.new_tasks(3, random_state=1).sample(400, random_state=2)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_a_probe_sees_all_blocks_of_another_network(network, new):
    X, y = new[0], new[1][:, 0]
    probe = LinearProbe(network).fit(X[:64], y[:64])
    widths = {name: coef.shape[1] for name, coef in probe.coef_.items()}
    assert widths == {"hidden": 3, "probabilities": 12, "inputs": 30}
    blocks = {
        "hidden": network.transform(X),
        "probabilities": network.source_probabilities(X),
        "inputs": X,
    }
    scores = sum(blocks[name] @ coef[0] for name, coef in probe.coef_.items())
    np.testing.assert_allclose(probe.decision_function(X), scores + probe.intercept_)


@pytest.mark.parametrize("wrap", [FrozenEstimator, lambda n: n])
def test_another_network_is_found_in_a_pipeline(tasks, new, wrap):
    scaler = StandardScaler().fit(tasks.X)
    network = LinearNetwork().fit(scaler.transform(tasks.X), tasks.Y)
    pipeline = make_pipeline(scaler, wrap(network))
    X, y = new[0][:64], new[1][:64, 0]
    found = LinearProbe(pipeline).fit(X, y).decision_function(X)
    alone = LinearProbe(network).fit(scaler.transform(X), y)
    np.testing.assert_array_equal(found, alone.decision_function(scaler.transform(X)))


def test_a_probe_stays_when_another_network_changes(tasks, new):
    network = LinearNetwork().fit(tasks.X, tasks.Y)
    X, y = new[0][:64], new[1][:64, 0]
    probe = LinearProbe(network).fit(X, y)
    before = probe.decision_function(X)
    network.components_ *= 0  # in place, as no network of this package does
    np.testing.assert_array_equal(probe.decision_function(X), before)


def test_another_network_gains_on_new_tasks(network, new):
    table = probe_new_tasks(network, *new, shots=(16,), n_draws=3, random_state=0)
    score = table.groupby("features")["score"].mean()
    assert set(score.index) == {"representation", "raw", "random", "no labels"}
    assert score["representation"] > score["raw"] + 0.05


def test_another_network_is_trained_without_some_tasks(tasks):
    options = {"n_groups": 2, "shots": (16,), "n_draws": 1, "random_state": 0}
    table = source_task_transfer(ManyColumns(), tasks.X, tasks.Y, **options)
    assert table["task"].nunique() == 12
    settings = calibrate(ManyColumns(), tasks.X, tasks.Y, **options)
    assert isinstance(settings, ProbeSettings)
    with pytest.raises(ValueError, match="Rows of a LinearNetwork belong to one task"):
        calibrate(LinearNetwork(), tasks.X, tasks.Y, **options)


@pytest.mark.parametrize("given", [False, True])
def test_affinity_of_another_network(network, tasks, given):
    X = tasks.X if given else None
    covariance = network.task_covariance(X)
    scale = np.sqrt(np.diag(covariance))
    expected = covariance / np.outer(scale, scale)
    np.testing.assert_allclose(task_affinity(network, X), expected, atol=1e-12)


def test_displays_of_another_network(network, tasks):
    affinity = TaskAffinityDisplay.from_estimator(network)
    assert affinity.task_names == network.task_names_
    np.testing.assert_array_equal(affinity.affinity, task_affinity(network))
    spectrum = SpectrumDisplay.from_estimator(network)
    assert spectrum.n_components == 3
    np.testing.assert_array_equal(spectrum.singular_values, network.singular_values_)
    losses = LossCurveDisplay.from_estimator(network)
    assert losses.ax_.get_xlabel() == "epoch"
    SubspaceRecoveryDisplay.from_estimator(network, tasks.components)
    with pytest.raises(NotFittedError):
        SpectrumDisplay.from_estimator(LinearNetwork())


LACKING = {
    "filters": (FilterDisplay.from_estimator, "lacks filters_ and input_shape_"),
    "ONNX graph": (to_onnx, "got LinearNetwork, which lacks a method write_onnx"),
    "file": (lambda n: save(n, "x"), "save takes .*LinearProbe.* got LinearNetwork"),
}


@pytest.mark.parametrize("kind", LACKING)
def test_an_error_says_what_another_network_lacks(network, kind):
    call, told = LACKING[kind]
    with pytest.raises(TypeError, match=told):
        call(network)


def test_an_error_says_what_a_probe_of_another_network_lacks(network, new, tasks):
    X, y = new[0][:64], new[1][:64, 0]
    probe = LinearProbe(network).fit(X, y)
    with pytest.raises(TypeError, match=r"LinearNetwork, which lacks .* embed_onnx"):
        to_onnx(probe)
    with pytest.raises(TypeError, match="got LinearNetwork"):
        save(probe, "x")
    with pytest.raises(TypeError, match=r"method first_layer.*got LinearNetwork"):
        probe.set_params(fine_tune=True).fit(X, y)
    with pytest.raises(ValueError, match="LinearNetwork lacks a method label_signs"):
        task_affinity(network, tasks.X, tasks.Y)


PROTOCOLS = [Representation, Tunable, SaveableRepresentation, ExportableRepresentation]


@pytest.mark.parametrize("network", OURS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_networks_have_what_a_protocol_says(network, protocol):
    members = {
        name: member
        for kind in protocol.__mro__
        for name, member in vars(kind).items()
        if not name.startswith("_")
    }
    names = {n for kind in protocol.__mro__ for n in inspect.get_annotations(kind)}
    assert members
    for name in {*members, *names} - {"_is_protocol"}:
        if not name.startswith("_"):
            assert hasattr(network, name), name
    for name, member in members.items():
        if inspect.isfunction(member):
            expected = list(inspect.signature(member).parameters)
            found = list(inspect.signature(getattr(network, name)).parameters)
            assert found == expected, name


TOOLS = [
    path
    for folder in ("probing", "plotting", "persistence")
    for path in sorted((PACKAGE / folder).glob("*.py"))
]


@pytest.mark.parametrize("path", TOOLS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_tools_know_no_network(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            part = (node.module or "").split(".")
            assert part[0] != "mtrl_sklearn" or part[1] not in ("_relu", "_conv")
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            is_public = node.attr.startswith("__")
            owner = getattr(node.value, "id", "")
            # named tuples have public names of this kind, frames of pandas own fields
            is_own = owner in ("self", "cls") or path.stem == "_table"
            is_public |= node.attr in ("_replace", "_asdict")
            assert is_public or is_own, f"{owner}.{node.attr}"


def test_a_probe_of_a_file_that_says_scores():
    """Written when the block of probabilities was called "scores"."""
    probe = load(FILES / "probe_of_scores.safetensors")
    assert probe.weights == {"hidden": 1, "probabilities": 2, "inputs": 1}
    assert probe.weights_ == {"hidden": 0.25, "probabilities": 0.5, "inputs": 0.25}
    assert list(probe.coef_) == ["hidden", "probabilities", "inputs"]
    rows = np.array([[1, 0, 0], [0, 1, 0], [0, 0, -1.0]])
    expected = [-2.32728228319819, -0.8111058458818772, -2.8238353879236273]
    np.testing.assert_allclose(probe.decision_function(rows), expected, rtol=1e-6)


def test_such_a_probe_is_saved_with_the_name_of_today(tmp_path):
    old = load(FILES / "probe_of_scores.safetensors")
    save(old, tmp_path / "new.safetensors")
    assert b"coef_.scores" not in (tmp_path / "new.safetensors").read_bytes()
    rows = np.eye(3)
    again = load(tmp_path / "new.safetensors").decision_function(rows)
    np.testing.assert_array_equal(again, old.decision_function(rows))


def test_an_error_says_what_the_block_is_called(network, new):
    probe = LinearProbe(network, weights={"hidden": 1, "scores": 1})
    with pytest.raises(ValueError, match=r"'scores', which is called 'probabilities'"):
        probe.fit(new[0][:64], new[1][:64, 0])
