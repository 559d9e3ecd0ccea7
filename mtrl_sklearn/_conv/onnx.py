"""The convolutional network as an ONNX graph."""

import math
from typing import Any

import numpy as np

from mtrl_sklearn._labels.classes import find_codes
from mtrl_sklearn._labels.encoding import LabelEncoding
from mtrl_sklearn._training.onnx_graph import (
    AXIS,
    KEPT,
    Graph,
    NetworkValues,
    affine,
    check_finite,
    join_classes,
    write_class_predictions,
    write_predictions,
)

WEIGHTS = ("filters_", "biases_", "head_coef_", "head_intercept_", "scale_")


def write_conv(graph: Graph, estimator: Any) -> None:
    """Outputs for the methods of a fitted ConvMultiTaskClassifier."""
    network = embed_conv(graph, estimator)
    dtype = network.dtype
    graph.add_output("transform", network.features, dtype, [estimator._n_features_out])
    scores, (*n_heads, n_columns, _) = network.scores, estimator.head_coef_.shape
    if hasattr(estimator, "columns_"):
        write_columns(graph, estimator, network)
        return
    if math.prod(n_heads) > 1:
        shape = np.array([KEPT, *n_heads, n_columns])
        by_head = graph.apply("Reshape", [scores, shape])
        heads = graph.apply("Unsqueeze", [_find_heads(graph, estimator.tasks_), AXIS])
        scores = graph.apply("GatherND", [by_head, heads], {"batch_dims": 1})
    write_class_predictions(graph, scores, estimator.classes_, dtype)


def write_columns(graph: Graph, estimator: Any, network: NetworkValues) -> None:
    """Outputs for all columns of y, of which each has a head."""
    dtype, classes = network.dtype, estimator.classes_
    n_tasks, n_columns = len(estimator.columns_), estimator.head_coef_.shape[-2]
    heads = find_codes(estimator.columns_, estimator.tasks_)
    scores, probabilities = (
        graph.apply(
            "Gather",
            [graph.apply("Reshape", [found, np.array([KEPT, -1, n_columns])]), heads],
            {"axis": 1},
        )
        for found in (network.scores, network.probabilities)
    )
    if n_columns == 1:
        flat = np.array([KEPT, n_tasks])
        scores = graph.apply("Reshape", [scores, flat])
        probabilities = graph.apply("Reshape", [probabilities, flat])
        encoding = LabelEncoding("wide", estimator.columns_, [classes] * n_tasks)
        write_predictions(graph, scores, probabilities, encoding, dtype)
        return
    graph.add_output("decision_function", scores, dtype, [n_tasks, n_columns])
    graph.add_output("predict_proba", probabilities, dtype, [n_tasks, n_columns])
    labels = join_classes([classes])
    places = graph.apply("ArgMax", [scores], {"axis": 2, "keepdims": 0})
    chosen = graph.apply("Gather", [labels, places])
    graph.add_output("predict", chosen, labels.dtype, [n_tasks])


def embed_conv(graph: Graph, estimator: Any, X: str | None = None) -> NetworkValues:
    """Values of the network at the inputs X; None adds an input for them."""
    check_finite(estimator, WEIGHTS)
    dtype = estimator.head_coef_.dtype  # filters that a probe trained have their own
    if X is None:
        X = graph.add_input("X", dtype, estimator.input_shape_)
    filters, biases, coef, intercept, scale = (
        np.asarray(part, dtype) for part in estimator._network()
    )
    grid, pool = estimator._patch_grid(), estimator._patch_grid().pooling_matrix()
    rows = graph.apply("Div", [graph.apply("Flatten", [X]), scale])
    entries = graph.apply("Gather", [rows, grid.places().ravel()], {"axis": 1})
    shape = np.array([KEPT, grid.n_positions, grid.patch_dim])
    patches = graph.apply("Reshape", [entries, shape])
    responses = graph.apply("Relu", [affine(graph, patches, filters, biases)])
    if estimator.power_ != 1:
        power = np.asarray(estimator.power_, dtype)
        responses = graph.apply("Pow", [responses, power])
    cells = graph.apply("MatMul", [pool.astype(dtype), responses])
    features = graph.apply("Flatten", [cells])
    scores = affine(graph, features, coef, intercept)
    n_columns = estimator.head_coef_.shape[-2]
    if n_columns == 1:
        probabilities = graph.apply("Sigmoid", [scores])
    else:
        shape = np.array([KEPT, len(coef) // n_columns, n_columns])
        by_head = graph.apply("Softmax", [graph.apply("Reshape", [scores, shape])])
        probabilities = graph.apply("Flatten", [by_head])
    return NetworkValues(X, dtype, features, scores, probabilities)


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
