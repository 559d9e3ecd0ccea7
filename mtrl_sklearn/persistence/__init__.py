"""Fitted estimators as files: `save` and `load` without executing anything; ONNX."""

from mtrl_sklearn.persistence._onnx import to_onnx
from mtrl_sklearn.persistence._save_load import load, save

__all__ = ["load", "save", "to_onnx"]
