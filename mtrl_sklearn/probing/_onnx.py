"""A LinearProbe, with the network that it sees, as an ONNX graph."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from mtrl_sklearn._labels.encoding import LabelEncoding
from mtrl_sklearn._training.onnx_graph import (
    Graph,
    affine,
    check_finite,
    write_class_predictions,
    write_predictions,
)
from mtrl_sklearn._training.representation import with_attributes


def write_probe(graph: Graph, probe: Any) -> None:
    """Outputs for the methods of a fitted LinearProbe."""
    check_finite(probe, ("intercept_", "coef_", "first_layer_"))
    representation = probe.representation_
    if representation is None:
        blocks = {"inputs": graph.add_input("X", np.float64, [probe.n_features_in_])}
    else:
        blocks = _embed_blocks(graph, representation, probe.first_layer_)
    scores = probe.intercept_
    for name, coef in probe.coef_.items():  # in float64, as the probe itself
        double = {"to": graph.onnx.TensorProto.DOUBLE}
        block = graph.apply("Cast", [blocks[name]], double)
        scores = affine(graph, block, coef, scores)
    if "output_names_" in vars(probe):  # y had columns
        encoding = LabelEncoding("wide", probe.output_names_, probe.classes_)
        probabilities = graph.apply("Sigmoid", [scores])
        write_predictions(graph, scores, probabilities, encoding, np.float64)
    else:
        write_class_predictions(graph, scores, probe.classes_, np.float64)


def _embed_blocks(
    graph: Graph, representation: Any, first_layer: dict[str, np.ndarray]
) -> dict[str, str]:
    """The blocks of features that a probe sees, as values of the graph."""
    if not hasattr(representation, "embed_onnx"):
        raise TypeError(
            "to_onnx writes a LinearProbe of a MultiTaskReLURepresentation or a "
            f"ConvMultiTaskClassifier, got one of a {type(representation).__name__}, "
            "which lacks a method embed_onnx. Fit the probe on what the steps before "
            "the representation return."
        )
    check_is_fitted(representation)
    network = tuned = representation.embed_onnx(graph)
    if first_layer:
        twin = with_attributes(representation, first_layer)
        tuned = twin.embed_onnx(graph, network.X)
    return {
        "hidden": tuned.features,
        "probabilities": network.probabilities,
        "inputs": graph.apply("Flatten", [network.X]),
    }
