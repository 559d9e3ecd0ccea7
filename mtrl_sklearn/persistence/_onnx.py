"""Fitted estimators as ONNX graphs, which predict where this package is not installed.

A graph takes the steps of the estimator's own methods, in the precision of its weights.
"""

import json
import math
from collections.abc import Sequence
from copy import copy
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

from mtrl_sklearn._conv.estimator import ConvMultiTaskClassifier
from mtrl_sklearn._labels.encoding import LabelEncoding
from mtrl_sklearn._optional import require
from mtrl_sklearn._relu.estimator import MultiTaskReLURepresentation
from mtrl_sklearn._version import __version__

if TYPE_CHECKING:
    from onnx import ModelProto

# Versions of 2022, which runtimes older than this package know.
IR_VERSION = 8
OPSETS = {"": 17, "ai.onnx.ml": 3}

DESCRIBED = ("classes_", "output_names_", "task_names_", "tasks_", "feature_names_in_")

WEIGHTS = (
    *("hidden_weights_", "hidden_biases_", "task_coef_", "task_intercept_"),
    *("filters_", "biases_", "head_coef_", "head_intercept_", "scale_"),
    *("components_", "intercept_"),
)

# For operators that drop or add the axis of columns, and that keep a length.
AXIS = np.array([1])
KEPT = 0


def to_onnx(estimator: Any) -> "ModelProto":
    """Write a fitted estimator as an ONNX graph.

    The graph has an output for each method of the estimator, named after it, with the
    shape and the values that the method returns: "transform", "decision_function",
    "predict_proba" and "predict", as far as the estimator has them.

    Parameters
    ----------
    estimator : MultiTaskReLURepresentation, ConvMultiTaskClassifier or LinearProbe
        Fitted. The representation of a probe is one of the other two, or None.

    Returns
    -------
    onnx.ModelProto
        ``onnx.save(model, path)`` writes it to a file. Its inputs are

        - "X" of shape (n_samples, n_features), or for the convolutional network
          (n_samples,) and then ``input_shape_``. It is float32 where the weights of the
          network are, else float64;
        - "tasks" of shape (n_samples,), only where each of several tasks has a head.
          It is int64 or strings, and `onnxruntime` refuses an id without a head.

        Its ``metadata_props`` hold ``classes_``, ``output_names_``, ``task_names_``,
        ``tasks_`` and ``feature_names_in_`` as JSON, those that there are.

    Raises
    ------
    ImportError
        If onnx is not installed.
    TypeError
        If it is another kind of estimator, or a probe of another kind.
    NotFittedError
        If it is not fitted.
    ValueError
        If ids of tasks with a head each are neither strings nor integers, weights are
        not finite, or the representation of a probe is another one than in its fit.

    Notes
    -----
    Labels that "predict" gives keep their type; where columns of ``y`` mix strings,
    booleans and numbers, all of them are strings.

    Results agree with those of the estimator up to rounding, for X of the type of the
    graph. In float32 an offset of X that is large against its spread costs digits, in
    either; centre X before, or fit on float64. Fit on float32 for runtimes that lack
    float64; probes need it all the same, for their scores.

    X is dense, and nothing checks that it is finite: rows with NaN get labels too.

    Graphs use version 17 of the operators, which `onnxruntime` has from 1.12 on. With
    heads of tasks it should be 1.24.4: older ones end the process where ids are fewer
    than rows.
    They hold all patches of a batch at once, so pass many images in parts.

    Examples
    --------
    >>> import onnx
    >>> from mtrl_sklearn import MultiTaskReLURepresentation, to_onnx
    >>> from mtrl_sklearn.datasets import make_subspace_tasks
    >>> X, Y, *_ = make_subspace_tasks(random_state=0)
    >>> representation = MultiTaskReLURepresentation(128, random_state=0).fit(X, Y)
    >>> model = to_onnx(representation)
    >>> [output.name for output in model.graph.output]
    ['transform', 'decision_function', 'predict_proba', 'predict']
    >>> onnx.checker.check_model(model, full_check=True)
    """
    onnx = require("onnx", "onnx", "to_onnx")
    # Not at the top: probes import linear models, which a fit has no use for.
    from mtrl_sklearn.probing import LinearProbe
    from mtrl_sklearn.probing._blocks import unfreeze

    estimator = unfreeze(estimator)
    writers = {
        MultiTaskReLURepresentation: _write_relu,
        ConvMultiTaskClassifier: _write_conv,
        LinearProbe: _write_probe,
    }
    for kind, write in writers.items():
        if isinstance(estimator, kind):
            check_is_fitted(estimator)
            _check_finite(estimator)
            graph = Graph(onnx)
            write(graph, estimator)
            return graph.to_model(_describe(estimator))
    raise TypeError(
        f"to_onnx writes {', '.join(kind.__name__ for kind in writers)}, got "
        f"{type(estimator).__name__}. Of a pipeline pass the step itself, "
        "pipeline[-1], and feed its graph what the steps before it return."
    )


def _describe(estimator: Any) -> dict[str, str]:
    """Fitted attributes of labels, tasks and features, as JSON."""
    fitted = {name: vars(estimator).get(name) for name in DESCRIBED}
    return {
        name: json.dumps(value, default=_as_list)
        for name, value in fitted.items()
        if value is not None
    }


def _as_list(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else str(value)


class Graph:
    """A computation in the making, whose values go by their names."""

    def __init__(self, onnx: ModuleType):
        self.onnx = onnx
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def add_input(self, name: str, dtype: Any, shape: Sequence[int] = ()) -> str:
        """Declare an input whose rows have a shape."""
        self.inputs.append(self._declare(name, dtype, shape))
        return name

    def add_output(
        self, name: str, value: str, dtype: Any, shape: Sequence[int] = ()
    ) -> None:
        """Declare a value whose rows have a shape to be a result."""
        self.outputs.append(self._declare(name, dtype, shape))
        self.nodes.append(self.onnx.helper.make_node("Identity", [value], [name]))

    def apply(
        self,
        operator: str,
        operands: Sequence[str | np.ndarray],
        attributes: dict[str, Any] | None = None,
        domain: str = "",
    ) -> str:
        """Name of what an operator makes of values, and of arrays."""
        names = [o if isinstance(o, str) else self._store(o) for o in operands]
        result = f"{operator}_{len(self.nodes)}"
        node = self.onnx.helper.make_node(
            operator, names, [result], domain=domain, **(attributes or {})
        )
        self.nodes.append(node)
        return result

    def to_model(self, metadata: dict[str, str]) -> "ModelProto":
        """Everything that the outputs depend on."""
        helper = self.onnx.helper
        needed = {output.name for output in self.outputs}
        nodes: list[Any] = []
        for node in reversed(self.nodes):
            if node.output[0] in needed:
                nodes.insert(0, node)
                needed.update(node.input)
        constants = [c for name, c in self.constants.items() if name in needed]
        graph = helper.make_graph(
            nodes, "mtrl_sklearn", self.inputs, self.outputs, constants
        )
        domains = sorted({node.domain for node in nodes})
        model = helper.make_model(
            graph,
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid(d, OPSETS[d]) for d in domains],
            producer_name="mtrl_sklearn",
            producer_version=__version__,
        )
        helper.set_model_props(model, metadata)
        return model

    def _store(self, array: np.ndarray) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants[name] = self.onnx.numpy_helper.from_array(array, name)
        return name

    def _declare(self, name: str, dtype: Any, shape: Sequence[int]) -> Any:
        helper = self.onnx.helper
        element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return helper.make_tensor_value_info(name, element, ["n_samples", *shape])


class Network(NamedTuple):
    """What a network makes of rows, as values of a graph."""

    features: str  # (n_samples, n_features_out)
    scores: str  # (n_samples, n_tasks), or (n_samples, n_heads * n_columns)
    probabilities: str  # of the shape of scores: what a probe sees


def _write_relu(graph: Graph, estimator: Any) -> None:
    X, dtype = _read_rows(graph, estimator)
    network = _apply_relu(graph, X, estimator, dtype)
    graph.add_output("transform", network.features, dtype, [estimator._n_features_out])
    encoding, scores = estimator._label_encoding(), network.scores
    probabilities: str | None = network.probabilities
    if not hasattr(estimator, "predict_proba"):
        probabilities = None
    elif encoding.form == "single":
        # One-vs-rest probabilities are normalised: a softmax of their logarithms.
        logits = scores if encoding.n_tasks == 1 else _log_expit(graph, scores)
        probabilities = _class_probabilities(graph, logits, len(encoding.classes[0]))
    _write_predictions(graph, scores, probabilities, encoding, dtype)


def _write_conv(graph: Graph, estimator: Any) -> None:
    X, dtype = _read_rows(graph, estimator)
    network = _apply_conv(graph, X, estimator, dtype)
    graph.add_output("transform", network.features, dtype, [estimator._n_features_out])
    scores, (*n_heads, n_columns, _) = network.scores, estimator.head_coef_.shape
    if math.prod(n_heads) > 1:
        shape = np.array([KEPT, *n_heads, n_columns])
        by_head = graph.apply("Reshape", [scores, shape])
        heads = graph.apply("Unsqueeze", [_find_heads(graph, estimator.tasks_), AXIS])
        scores = graph.apply("GatherND", [by_head, heads], {"batch_dims": 1})
    _write_class_predictions(graph, scores, estimator.classes_, dtype)


def _write_probe(graph: Graph, probe: Any) -> None:
    estimator = _open_representation(probe)
    if estimator is None:
        X = graph.add_input("X", np.float64, [probe.n_features_in_])
        blocks = {"inputs": X}
    else:
        X, dtype = _read_rows(graph, estimator)
        network = tuned = _apply_network(graph, X, estimator, dtype)
        if probe.first_layer_:
            estimator = copy(estimator)
            vars(estimator).update(probe.first_layer_)
            tuned = _apply_network(graph, X, estimator, dtype)
        blocks = {
            "hidden": tuned.features,
            "scores": network.probabilities,
            "inputs": graph.apply("Flatten", [X]),
        }
    scores = probe.intercept_
    for name, coef in probe.coef_.items():  # in float64, as the probe itself
        double = {"to": graph.onnx.TensorProto.DOUBLE}
        block = graph.apply("Cast", [blocks[name]], double)
        scores = _affine(graph, block, coef, scores)
    _write_class_predictions(graph, scores, probe.classes_, np.float64)


def _open_representation(probe: Any) -> Any:
    """The network of which a probe sees the features; None for raw inputs."""
    estimator = probe.representation_
    known = MultiTaskReLURepresentation, ConvMultiTaskClassifier, type(None)
    if not isinstance(estimator, known):
        raise TypeError(
            "to_onnx writes a LinearProbe of a MultiTaskReLURepresentation or a "
            f"ConvMultiTaskClassifier, got one of a {type(estimator).__name__}. Fit "
            "the probe on what the steps before the representation return."
        )
    if estimator is not None:
        check_is_fitted(estimator)
        _check_finite(estimator)
    return estimator


def _check_finite(estimator: Any) -> None:
    """Refuse weights by which all predictions would be NaN, or the first class."""
    fitted = vars(estimator)
    parts = {name: fitted[name] for name in WEIGHTS if name in fitted}
    for name in ("coef_", "first_layer_"):
        parts |= {f"{name}[{k!r}]": a for k, a in fitted.get(name, {}).items()}
    for name, array in parts.items():
        if not np.isfinite(array).all():
            raise ValueError(
                f"{name} of this {type(estimator).__name__} holds NaN or infinity, "
                "which fit does not make. Fit it again."
            )


def _read_rows(graph: Graph, estimator: Any) -> tuple[str, Any]:
    """The input X of a network, and the dtype of both."""
    if isinstance(estimator, MultiTaskReLURepresentation):
        dtype, shape = estimator.hidden_weights_.dtype, [estimator.n_features_in_]
    else:
        dtype, shape = estimator.filters_.dtype, estimator.input_shape_
    return graph.add_input("X", dtype, shape), dtype


def _apply_network(graph: Graph, X: str, estimator: Any, dtype: Any) -> Network:
    is_relu = isinstance(estimator, MultiTaskReLURepresentation)
    return (_apply_relu if is_relu else _apply_conv)(graph, X, estimator, dtype)


def _apply_relu(graph: Graph, X: str, estimator: Any, dtype: Any) -> Network:
    weights, biases, coef, intercept = (a.astype(dtype) for a in estimator._network())
    hidden = graph.apply("Relu", [_affine(graph, X, weights, biases)])
    scores = _affine(graph, hidden, coef, intercept)
    basis = estimator.components_.T.astype(dtype)
    features = {
        "hidden": hidden,
        "projection": graph.apply("MatMul", [X, basis]),
        "scores": scores,
    }
    probabilities = graph.apply("Sigmoid", [scores])
    return Network(features[estimator.output], scores, probabilities)


def _apply_conv(graph: Graph, X: str, estimator: Any, dtype: Any) -> Network:
    filters, biases, coef, intercept, scale = (
        np.asarray(part, dtype) for part in estimator._network()
    )
    grid, pool = estimator._patch_grid(), estimator._patch_grid().pooling_matrix()
    rows = graph.apply("Div", [graph.apply("Flatten", [X]), scale])
    entries = graph.apply("Gather", [rows, grid.places().ravel()], {"axis": 1})
    shape = np.array([KEPT, grid.n_positions, grid.patch_dim])
    patches = graph.apply("Reshape", [entries, shape])
    responses = graph.apply("Relu", [_affine(graph, patches, filters, biases)])
    if estimator.power_ != 1:
        power = np.asarray(estimator.power_, dtype)
        responses = graph.apply("Pow", [responses, power])
    cells = graph.apply("MatMul", [pool.astype(dtype), responses])
    features = graph.apply("Flatten", [cells])
    scores = _affine(graph, features, coef, intercept)
    n_columns = estimator.head_coef_.shape[-2]
    if n_columns == 1:
        return Network(features, scores, graph.apply("Sigmoid", [scores]))
    shape = np.array([KEPT, len(coef) // n_columns, n_columns])
    by_head = graph.apply("Softmax", [graph.apply("Reshape", [scores, shape])])
    return Network(features, scores, graph.apply("Flatten", [by_head]))


def _find_heads(graph: Graph, ids: np.ndarray) -> str:
    """Position of the head of each row; one past the last, which runtimes refuse."""
    if ids.dtype.kind in "UT":
        kind, dtype, keys = "keys_strings", np.dtype(object), ids.tolist()
    elif ids.dtype.kind in "biuf" and (ids == ids.astype(np.int64)).all():
        kind, dtype, keys = "keys_int64s", np.dtype(np.int64), ids.astype(int).tolist()
    else:
        raise ValueError(
            f"tasks holds ids such as {ids.tolist()[0]!r}, by which ONNX cannot choose "
            "heads. Fit on strings or integers, such as tasks.astype(str)."
        )
    positions = {"values_int64s": range(len(ids)), "default_int64": len(ids)}
    tasks = graph.add_input("tasks", dtype)
    return graph.apply("LabelEncoder", [tasks], {kind: keys, **positions}, "ai.onnx.ml")


def _affine(graph: Graph, X: str, weights: np.ndarray, biases: np.ndarray | str) -> str:
    """``X @ weights.T + biases``."""
    products = graph.apply("MatMul", [X, np.ascontiguousarray(weights.T)])
    return graph.apply("Add", [products, biases])


def _log_expit(graph: Graph, scores: str) -> str:
    """``log(expit(|s|)) - max(-s, 0)``, which stays finite."""
    sizes = graph.apply("Sigmoid", [graph.apply("Abs", [scores])])
    below = graph.apply("Relu", [graph.apply("Neg", [scores])])
    return graph.apply("Sub", [graph.apply("Log", [sizes]), below])


def _class_probabilities(graph: Graph, logits: str, n_classes: int) -> str:
    """Probabilities of shape (n_samples, n_classes)."""
    if n_classes > 2:
        return graph.apply("Softmax", [logits])
    pair = [graph.apply("Neg", [logits]), logits]
    return graph.apply("Sigmoid", [graph.apply("Concat", pair, {"axis": 1})])


def _write_class_predictions(
    graph: Graph, scores: str, classes: np.ndarray, dtype: Any
) -> None:
    """Outputs for scores of classes, where a single one is that of the second."""
    encoding = LabelEncoding("single", np.array(["y"]), [classes])
    probabilities = _class_probabilities(graph, scores, len(classes))
    _write_predictions(graph, scores, probabilities, encoding, dtype)


def _write_predictions(
    graph: Graph,
    scores: str,
    probabilities: str | None,
    encoding: LabelEncoding,
    dtype: Any,
) -> None:
    """Outputs for scores of shape (n_samples, n_tasks)."""
    single, n_tasks = encoding.form == "single", encoding.n_tasks
    if single and n_tasks == 1:
        score = graph.apply("Squeeze", [scores, AXIS])
        graph.add_output("decision_function", score, dtype)
    else:
        graph.add_output("decision_function", scores, dtype, [n_tasks])
    if probabilities is not None:
        width = len(encoding.classes[0]) if single else n_tasks
        graph.add_output("predict_proba", probabilities, dtype, [width])
    labels, table = _choose_labels(graph, scores, encoding.classes, dtype)
    if single:
        labels = graph.apply("Squeeze", [labels, AXIS])
    shape = [] if single else [len(encoding.classes)]
    graph.add_output("predict", labels, table.dtype, shape)


def _choose_labels(
    graph: Graph, scores: str, classes: Sequence[np.ndarray], dtype: Any
) -> tuple[str, np.ndarray]:
    """Labels of shape (n_samples, n_outputs), and an array of all there are.

    Each output takes the first of its largest scores. With two classes these are 0 and
    the score of the second one.
    """
    classes = [c if len(c) else np.array([np.nan]) for c in classes]
    sizes = np.array([len(c) for c in classes])
    n_tasks = np.where(sizes > 2, sizes, 1)
    first_tasks, first_labels = n_tasks.cumsum() - n_tasks, sizes.cumsum() - sizes
    sizes, place = sizes[:, None], np.arange(sizes.max())  # (n_outputs, largest size)
    is_scored = (place < sizes) & ((sizes > 2) | (place == 1))
    tasks = first_tasks[:, None] + np.where(is_scored & (sizes > 2), place, 0)
    unscored = np.where(place == 0, 0, -np.inf).astype(dtype)
    found = graph.apply("Gather", [scores, tasks], {"axis": 1})
    votes = graph.apply("Where", [is_scored, found, unscored])
    places = graph.apply("ArgMax", [votes], {"axis": 2, "keepdims": 0})
    places = graph.apply("Add", [places, first_labels])
    labels = _join_classes(classes)
    return graph.apply("Gather", [labels, places]), labels


def _join_classes(classes: Sequence[np.ndarray]) -> np.ndarray:
    """Classes of all outputs one after another: strings where they mix types."""
    kinds = {c.dtype.kind for c in classes}
    if kinds == {"b"} or kinds <= set("iuf"):
        return np.concatenate(classes)
    return np.concatenate([c.astype(str) for c in classes]).astype(object)
