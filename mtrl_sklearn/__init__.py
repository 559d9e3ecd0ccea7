"""Representations learned from many binary tasks, for new tasks with few labels."""

from mtrl_sklearn._conv.estimator import ConvMultiTaskClassifier
from mtrl_sklearn._relu.estimator import MultiTaskReLURepresentation
from mtrl_sklearn._version import __version__
from mtrl_sklearn.persistence import load, save, to_onnx

__all__ = [
    "ConvMultiTaskClassifier",
    "MultiTaskReLURepresentation",
    "__version__",
    "load",
    "save",
    "to_onnx",
]
