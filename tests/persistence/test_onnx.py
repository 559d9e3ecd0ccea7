"""ONNX graphs, run by onnxruntime, against the methods of the estimators."""

import json
import subprocess
import sys
from copy import deepcopy

import conv_cases
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtrl_sklearn import ConvMultiTaskClassifier, MultiTaskReLURepresentation, to_onnx
from mtrl_sklearn.probing import LinearProbe

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

METHODS = ["transform", "decision_function", "predict_proba", "predict"]
DTYPES = [np.float32, np.float64]
TYPES = {np.dtype(np.float32): "tensor(float)", np.dtype(np.float64): "tensor(double)"}
BATCHES = [1, 7, 100]
rng = np.random.default_rng(0)
X = rng.standard_normal((140, 6))
SIGNS = X[:, :4] + X[:, 1:5] > 0  # (140, 4)
LEVELS = np.digitize(X[:, :4], [-1, 0, 1])  # (140, 4), of 4 classes
ROWS, COLUMNS = np.nonzero(rng.random((140, 4)) < 0.6)


def some_missing(Y):
    Y = Y.astype(float)
    Y[rng.random(Y.shape) < 0.3] = np.nan
    return Y


def words(codes):
    return np.array(["no", "yes", "maybe", "später"])[codes.astype(int)]


LABELS = {
    "bools": SIGNS[:, 0],
    "ints": np.where(SIGNS[:, 0], 7, -3),
    "strings": words(SIGNS[:, 0]),
    "classes": LEVELS[:, 0].astype(np.int16),
    "named classes": words(LEVELS[:, 0]),
    "wide, missing": some_missing(SIGNS),
    "wide, bools": SIGNS,
    "wide, strings": words(SIGNS),
    "wide, halves": np.where(SIGNS, 0.5, -0.5).astype(np.float16),
    "wide, classes": np.column_stack([SIGNS[:, 0], LEVELS[:, 1], LEVELS[:, 2] % 3]),
    "wide, named classes": np.column_stack([words(SIGNS[:, 1]), words(LEVELS[:, 1])]),
    "wide, no label": pd.DataFrame({"a": SIGNS[:, 0], "b": LEVELS[:, 1], "c": np.nan}),
    "wide, mixed": pd.DataFrame({"a": words(SIGNS[:, 0]), "b": LEVELS[:, 1], "c": 1}),
    "wide, bools and ints": pd.DataFrame({"a": SIGNS[:, 0], "b": LEVELS[:, 1]}),
    "long": (SIGNS[ROWS, COLUMNS].astype(int), COLUMNS),
    "long, classes": (words(LEVELS[ROWS, COLUMNS]), words(COLUMNS)),
    "long, mixed": (LEVELS[ROWS, COLUMNS] * (COLUMNS > 1), COLUMNS),
}


def load(model):
    """Session of a valid graph, on one thread."""
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def fit_relu(X, labels, **parameters):
    y, tasks = labels if isinstance(labels, tuple) else (labels, None)
    rows = X if tasks is None else X[ROWS]
    model = MultiTaskReLURepresentation(
        12, max_iter=5, learning_rate=0.03, random_state=0, **parameters
    )
    return model.fit(rows, y, tasks)


def assert_same(estimator, X, tasks=None, tolerance=1e-5):
    """Outputs are those of the methods, on batches of any length."""
    session = load(to_onnx(estimator))
    methods = [name for name in METHODS if hasattr(estimator, name)]
    assert [output.name for output in session.get_outputs()] == methods
    assert session.get_inputs()[0].type == TYPES[X.dtype]
    for n_rows in BATCHES:
        feed = {"X": X[:n_rows]}
        arguments = {name: [X[:n_rows]] for name in methods}
        if tasks is not None:
            feed["tasks"] = tasks[:n_rows]
            arguments |= {name: [X[:n_rows], tasks[:n_rows]] for name in methods[1:]}
        results = dict(zip(methods, session.run(None, feed)))
        labels = results.pop("predict")
        for name, result in results.items():
            expected = getattr(estimator, name)(*arguments[name])
            assert result.dtype == expected.dtype
            assert np.isfinite(result).all()
            np.testing.assert_allclose(
                result, expected, rtol=tolerance, atol=tolerance, err_msg=name
            )
        expected = estimator.predict(*arguments["predict"])
        if expected.dtype.kind in "biuf":
            assert labels.dtype == expected.dtype
        else:
            expected = expected.astype(str)
        np.testing.assert_array_equal(labels, expected)
    # the last batch tells classes apart
    columns = labels.reshape(len(labels), -1).T
    assert max(len(set(column)) for column in columns) > 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.filterwarnings("ignore:.*labels of at most 1 class:UserWarning")
def test_labels_of_any_form(labels, dtype):
    rows = X.astype(dtype)
    assert_same(fit_relu(rows, LABELS[labels], n_components=None), rows)


@pytest.mark.parametrize("output", ["hidden", "projection", "scores"])
@pytest.mark.parametrize("loss", ["logistic", "hinge"])
@pytest.mark.parametrize("labels", ["classes", "wide, missing"])
def test_outputs_and_losses(output, loss, labels):
    parameters = {"n_components": 2, "output": output, "loss": loss}
    assert_same(fit_relu(X, LABELS[labels], **parameters), X)


def test_a_positive_label_that_sorts_first():
    for labels in (words(SIGNS), words(SIGNS[:, 0])):
        assert_same(fit_relu(X, labels, pos_label="no", n_components=None), X)


def test_one_step_on_booleans():
    """What is no float trains in float32, and so does its graph."""
    model = fit_relu(X > 0, LABELS["wide, bools"], algorithm="one_step")
    assert_same(model, (X > 0).astype(np.float32))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("scale", "offset"), [(1e3, 2e3), (1e-6, 0), (1e12, -1e12)])
def test_units_and_origins(dtype, scale, offset):
    """A graph is as exact as its dtype: offsets cost both sides the same digits."""
    rows = (X * scale + offset).astype(dtype)
    model = fit_relu(rows, LABELS["wide, classes"], n_components=None)
    assert_same(model, rows, tolerance=1e-9 if dtype == np.float64 else 1e-5)


def test_scores_far_from_zero():
    """Probabilities of one-vs-rest classes stay finite where sigmoids are all 0."""
    model = fit_relu(X.astype(np.float32), LABELS["classes"])
    model.task_intercept_ = model.task_intercept_ - np.float32(200)
    assert_same(model, X.astype(np.float32))
    model.task_intercept_ = model.task_intercept_ + np.float32(400)
    assert_same(model, X.astype(np.float32))


def images_in_rows():
    images, y, tasks = conv_cases.images_of_bars()
    return images.reshape(len(images), -1) / 255, y, tasks


def signals():
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    signal = rng.standard_normal((120, 21)) + 3 * np.eye(21)[5 + 10 * y]
    return signal, words(y), 10.0 * rng.permutation(y) - 3


CONV_CASES = {
    "patches": (conv_cases.rows_of_patches, {"solver": "gd"}),
    "patches, kernel of 2": (conv_cases.rows_of_patches, {"kernel_size": 2}),
    "patches, plain": (conv_cases.rows_of_patches, {"power": 1, "pooling": "mean"}),
    "patches, 1.5": (conv_cases.rows_of_patches, {"power": 1.5}),
    "images": (conv_cases.images_of_bars, {}),
    "images, squares": (conv_cases.images_of_bars, {"power": 2, "pooling": (3, 2)}),
    "images, strides": (
        conv_cases.images_of_bars,
        {"kernel_size": (4, 2), "stride": (2, 3), "pooling": 1},
    ),
    "images in rows": (images_in_rows, {"input_shape": (2, 9, 8)}),
    "signals": (signals, {"pooling": 3}),
}


def fit_conv(case, head, dtype):
    """A network, the inputs of its graph, and ids of tasks where the graph wants them.

    Inputs of the graph have the shape of an input, also where X has rows.
    """
    make_rows, parameters = CONV_CASES[case]
    X, y, tasks = make_rows()
    if X.dtype != np.uint8:
        X = X.astype(dtype)
    model = conv_cases.make(head=head, **{"solver": "adam", **parameters})
    model.fit(X, y, tasks)
    inputs = X.astype(model.filters_.dtype).reshape(-1, *model.input_shape_)
    ids = tasks.astype(object if tasks.dtype.kind == "U" else np.int64)
    return model, inputs, ids if head == "per_task" else None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("head", conv_cases.HEADS)
@pytest.mark.parametrize("case", CONV_CASES)
def test_convolutional_networks(case, head, dtype):
    assert_same(*fit_conv(case, head, dtype))


def test_a_single_head_needs_no_tasks():
    images, y, _ = conv_cases.images_of_bars()
    model = conv_cases.make(head="per_task").fit(images, y)
    assert_same(model, images.astype(np.float32))


def test_ids_of_tasks():
    model, inputs, ids = fit_conv("patches", "per_task", np.float32)
    session = load(to_onnx(model))
    feed = {"X": inputs[:3], "tasks": np.array(["bat", "emu", "cat"], dtype=object)}
    with pytest.raises(InvalidArgument, match="invalid index"):
        session.run(None, feed)
    feed["tasks"] = ids[:2]
    with pytest.raises(InvalidArgument):
        session.run(None, feed)
    y, tasks = conv_cases.rows_of_patches()[1:]
    model.fit(inputs, y, np.unique(tasks, return_inverse=True)[1] / 2)
    with pytest.raises(ValueError, match=r"such as 0.0, by which ONNX .*astype\(str\)"):
        to_onnx(model)


@pytest.fixture(scope="module")
def relu():
    return fit_relu(X.astype(np.float32), LABELS["wide, missing"])


@pytest.fixture(scope="module")
def conv():
    return fit_conv("images", "per_task", np.float64)[0]


@pytest.mark.parametrize("fine_tune", [False, True])
@pytest.mark.parametrize("labels", ["strings", "classes"])
def test_probes_of_a_representation(relu, labels, fine_tune):
    rows = X.astype(np.float32)
    probe = LinearProbe(FrozenEstimator(relu), fine_tune=fine_tune)
    assert_same(probe.fit(rows[:20], LABELS[labels][:20]), rows)


@pytest.mark.parametrize("fine_tune", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_probes_of_images(conv, n_classes, fine_tune):
    images, y, _ = conv_cases.images_of_bars()
    rows = images.astype(np.float32)
    probe = LinearProbe(conv, fine_tune=fine_tune).fit(rows, y % n_classes)
    assert_same(probe, rows)


def test_probes_of_two_classes_and_other_features():
    """Networks with one column of scores, and with other features than hidden ones."""
    conv, inputs, _ = fit_conv("patches", "per_task", np.float64)
    y = conv_cases.rows_of_patches()[1]
    assert_same(LinearProbe(conv).fit(inputs, y), inputs)
    relu = fit_relu(X, LABELS["classes"], n_components=2, output="projection")
    assert_same(LinearProbe(relu).fit(X, LABELS["ints"]), X)
    assert_same(LinearProbe().fit(X, LABELS["ints"]), X)


def test_probes_hold_what_they_use(relu):
    """Blocks of weight 0 leave nothing in the graph."""
    rows, y = X.astype(np.float32), LABELS["ints"]
    probe = LinearProbe(relu, prior=None, weights={"inputs": 1}).fit(rows, y)
    assert_same(probe, rows)
    shapes = [tuple(array.dims) for array in to_onnx(probe).graph.initializer]
    assert (6, 1) in shapes
    assert (6, 12) not in shapes
    probe.set_params(weights={"hidden": 1}).fit(rows, y)
    shapes = [tuple(array.dims) for array in to_onnx(probe).graph.initializer]
    assert shapes.count((6, 12)) == 1


def test_a_file_needs_no_package(relu, tmp_path):
    path, rows = tmp_path / "model.onnx", X[:9].astype(np.float32)
    onnx.save(to_onnx(relu), path)
    np.save(tmp_path / "X.npy", rows)
    code = """if True:
        import sys

        sys.modules |= {name: None for name in ("mtrl_sklearn", "sklearn", "torch")}
        import numpy as np
        import onnxruntime

        session = onnxruntime.InferenceSession("model.onnx")
        np.save("out.npy", session.run(["transform"], {"X": np.load("X.npy")})[0])
    """
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    result = np.load(tmp_path / "out.npy")
    np.testing.assert_allclose(result, relu.transform(rows), rtol=1e-5, atol=1e-5)


def test_metadata():
    frame = pd.DataFrame(X, columns=list("uvwxyz"))
    Y = pd.DataFrame({"a": SIGNS[:, 0], "b": words(LEVELS[:, 1])})
    found = load(to_onnx(fit_relu(frame, Y))).get_modelmeta().custom_metadata_map
    found = {name: json.loads(text) for name, text in found.items()}
    assert found == {
        "classes_": [[False, True], ["maybe", "no", "später", "yes"]],
        "output_names_": ["a", "b"],
        "task_names_": ["a", "b=maybe", "b=no", "b=später", "b=yes"],
        "feature_names_in_": list("uvwxyz"),
    }
    model = fit_conv("patches", "shared", np.float64)[0]
    found = load(to_onnx(model)).get_modelmeta().custom_metadata_map
    assert {name: json.loads(text) for name, text in found.items()} == {
        "classes_": [-1, 1],
        "tasks_": ["ape", "bat", "cat", "dog"],
    }


def test_graphs_run_on_older_runtimes(relu):
    model = to_onnx(relu)
    assert model.ir_version == 8
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    shape = model.graph.output[0].type.tensor_type.shape
    assert shape.dim[0].dim_param == "n_samples"


def test_graphs_refuse_other_inputs(relu):
    session = load(to_onnx(relu))
    with pytest.raises(InvalidArgument, match=r"Expected: 6|expected: \(tensor"):
        session.run(None, {"X": X[:, :5].astype(np.float32)})
    with pytest.raises(InvalidArgument, match="double"):
        session.run(None, {"X": X})


@pytest.mark.parametrize(
    "estimator",
    [MultiTaskReLURepresentation(), ConvMultiTaskClassifier(), LinearProbe()],
    ids=lambda estimator: type(estimator).__name__,
)
def test_unfitted_estimators(estimator):
    with pytest.raises(NotFittedError, match=type(estimator).__name__):
        to_onnx(estimator)


def test_probes_are_written_as_they_were_fitted():
    rows = X.astype(np.float32)
    representation = fit_relu(rows, SIGNS)
    probe = LinearProbe(representation).fit(rows, LABELS["ints"])
    expected = probe.predict_proba(rows)
    representation.set_params(n_hidden=3, output="scores").fit(rows, SIGNS[:, :2])
    assert_same(probe, rows)
    np.testing.assert_array_equal(probe.predict_proba(rows), expected)


def test_weights_that_are_not_finite(relu):
    """Their graph would give every row the first class."""
    rows = X.astype(np.float32)
    probe = LinearProbe(relu).fit(rows, LABELS["ints"])
    broken = deepcopy(relu)
    broken.task_coef_ = np.where(broken.task_coef_ > 0, np.nan, broken.task_coef_)
    of_broken = deepcopy(probe)
    of_broken.representation_ = broken
    for estimator in (broken, of_broken):
        with pytest.raises(ValueError, match=r"task_coef_ .* NaN or infinity.*again"):
            to_onnx(estimator)
    probe.coef_["hidden"][0, 0] = np.inf
    with pytest.raises(ValueError, match=r"coef_\['hidden'\] of this LinearProbe"):
        to_onnx(probe)


def test_the_graph_of_a_probe_is_that_of_its_fit(relu):
    rows = X.astype(np.float32)
    probe = LinearProbe(relu).fit(rows, LABELS["ints"])
    graph = to_onnx(probe).SerializeToString()
    other = clone(relu).set_params(n_hidden=relu.n_hidden + 1).fit(rows, rows > 0)
    for representation in (other, None):
        probe.set_params(representation=representation)
        assert to_onnx(probe).SerializeToString() == graph


def test_other_estimators(relu):
    with pytest.raises(TypeError, match="LinearProbe, got LogisticRegression"):
        to_onnx(LogisticRegression().fit(X, LABELS["ints"]))
    pipeline = make_pipeline(StandardScaler(), FrozenEstimator(relu))
    pipeline.fit(X.astype(np.float32))
    with pytest.raises(TypeError, match=r"got Pipeline.*pipeline\[-1\]"):
        to_onnx(pipeline)
    to_onnx(pipeline[-1])
    probe = LinearProbe(pipeline).fit(X.astype(np.float32), LABELS["ints"])
    with pytest.raises(TypeError, match="got one of a Pipeline"):
        to_onnx(probe)


def test_onnx_is_asked_for_by_name(relu, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'mtrl-sklearn\[onnx\]'"):
        to_onnx(relu)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("named", [False, True])
def test_columns_of_images_need_no_tasks(n_classes, named):
    """Each column has a head, and names that sort otherwise than they come."""
    images, y, tasks = conv_cases.images_of_bars()
    codes = np.column_stack([y, y + tasks.argsort(), y * 2 + 1]) % n_classes
    Y = pd.DataFrame(codes, columns=["wet", "dry", "hot"])
    Y = pd.DataFrame(words(codes), columns=Y.columns) if named else Y
    model = conv_cases.make(head="per_task").fit(images, Y)
    graph = to_onnx(model)
    assert [value.name for value in graph.graph.input] == ["X"]
    assert_same(model, images.astype(np.float32))
