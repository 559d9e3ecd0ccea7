"""The ReLU representation as an ONNX graph."""

from typing import Any

from mtrl_sklearn._training.onnx_graph import (
    Graph,
    NetworkValues,
    affine,
    check_finite,
    class_probabilities,
    log_expit,
    write_predictions,
)

WEIGHTS = (
    *("hidden_weights_", "hidden_biases_", "task_coef_", "task_intercept_"),
    "components_",
)


def write_relu(graph: Graph, estimator: Any) -> None:
    """Outputs for the methods of a fitted MultiTaskReLURepresentation."""
    network = embed_relu(graph, estimator)
    dtype = network.dtype
    graph.add_output("transform", network.features, dtype, [estimator._n_features_out])
    encoding, scores = estimator._label_encoding(), network.scores
    probabilities: str | None = None
    has_probabilities = hasattr(estimator, "predict_proba")
    if has_probabilities and encoding.form == "single":
        # One-vs-rest probabilities are normalised: a softmax of their logarithms.
        logits = scores if encoding.n_tasks == 1 else log_expit(graph, scores)
        probabilities = class_probabilities(graph, logits, len(encoding.classes[0]))
    elif has_probabilities:
        probabilities = graph.apply("Sigmoid", [scores])
    write_predictions(graph, scores, probabilities, encoding, dtype)


def embed_relu(graph: Graph, estimator: Any, X: str | None = None) -> NetworkValues:
    """Values of the network at the rows X; None adds an input for them."""
    check_finite(estimator, WEIGHTS)
    dtype = estimator.task_coef_.dtype  # a first layer that a probe trained has its own
    if X is None:
        X = graph.add_input("X", dtype, [estimator.n_features_in_])
    weights, biases, coef, intercept = (a.astype(dtype) for a in estimator._network())
    hidden = graph.apply("Relu", [affine(graph, X, weights, biases)])
    scores = affine(graph, hidden, coef, intercept)
    basis = estimator.components_.T.astype(dtype)
    features = {
        "hidden": hidden,
        "projection": graph.apply("MatMul", [X, basis]),
        "scores": scores,
    }
    trained = scores
    if hasattr(estimator, "head_scale_"):  # as for `source_probabilities`
        scale, shift = estimator.head_scale_, estimator.head_shift_
        heads = (coef / scale, (intercept - shift) / scale)
        trained = affine(graph, hidden, *(array.astype(dtype) for array in heads))
    probabilities = graph.apply("Sigmoid", [trained])
    return NetworkValues(X, dtype, features[estimator.output], scores, probabilities)
