"""Representations learned from many binary tasks, for new tasks with few labels."""

from mtrl_sklearn._conv import ConvMultiTaskClassifier
from mtrl_sklearn._onnx import to_onnx
from mtrl_sklearn._relu import MultiTaskReLURepresentation
from mtrl_sklearn.persistence import load, save

__version__ = "0.1.0"

__all__ = [
    "ConvMultiTaskClassifier",
    "MultiTaskReLURepresentation",
    "__version__",
    "load",
    "save",
    "to_onnx",
]
