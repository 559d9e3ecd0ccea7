"""Values of parameters and fitted attributes as JSON and named arrays, and back.

JSON has no tuples, no infinity and no keys but strings, so all but the plainest values
are objects with one key, which says what they are. Reading takes these and no others.
"""

import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mtrl_sklearn._files.arrays import Refusal

PLAIN = (type(None), bool, int, str)
# Text goes into JSON, where people can read it, unless padding to its longest entry
# takes more than this many times the characters that it has.
LARGEST_PADDING = 8


class Arrays:
    """Arrays under names; one that comes twice is kept once, and stays shared."""

    def __init__(self) -> None:
        self.by_name: dict[str, np.ndarray] = {}
        self._names: dict[int, str] = {}

    def add(self, name: str, array: np.ndarray) -> str:
        """Keep an array, and return its name."""
        if id(array) not in self._names:
            name = name if name not in self.by_name else f"{name}#{len(self.by_name)}"
            self.by_name[name], self._names[id(array)] = array, name
        return self._names[id(array)]


class Stored(Mapping[str, np.ndarray]):
    """Arrays of a file by name, with those that nobody has asked for in ``unused``."""

    def __init__(self, by_name: Mapping[str, np.ndarray]):
        self._by_name = by_name
        self.unused = set(by_name)

    def __getitem__(self, name: str) -> np.ndarray:
        self.unused.discard(name)
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)


def encode(value: Any, name: str, arrays: Arrays) -> Any:
    """JSON that stands for a value.

    Parameters
    ----------
    value : None, bool, int, float, str, path, numpy scalar, array, list, tuple or dict
    name : str
        Of the value, for arrays and errors.
    arrays : Arrays
        Takes what is too large for JSON.

    Raises
    ------
    TypeError
        If it is, or holds, anything else.
    """
    if type(value) in PLAIN:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, np.generic):
        return {"scalar": arrays.add(name, np.asarray(value))}
    if isinstance(value, np.ndarray):
        return _encode_array(value, name, arrays)
    if isinstance(value, os.PathLike):
        return encode(os.fspath(value), name, arrays)
    if type(value) in (list, tuple):
        items = [encode(v, f"{name}.{k}", arrays) for k, v in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, Mapping):
        pairs = [
            [encode(k, name, arrays), encode(v, f"{name}.{k}", arrays)]
            for k, v in value.items()
        ]
        return {"dict": pairs}
    raise TypeError(
        f"{name} holds a {type(value).__name__}, which cannot be saved: numbers, text, "
        "arrays, and lists, tuples and dicts of these can."
    )


def _encode_array(array: np.ndarray, name: str, arrays: Arrays) -> Any:
    kind = array.dtype.kind
    if kind == "O" and array.ndim == 1:
        return {"objects": encode(array.tolist(), name, arrays)}
    if kind == "T" and array.ndim == 1 and array.dtype == np.dtypes.StringDType():
        return {"strings": array.tolist()}
    if kind == "U" and array.ndim == 1 and _is_even(array.tolist(), array.dtype):
        return {"text": array.tolist()}
    if kind not in "biufU":
        raise TypeError(
            f"{name} holds an array of dtype {array.dtype} and shape {array.shape}, "
            "which cannot be saved. Use numbers, booleans or text."
        )
    return {"array": arrays.add(name, array)}


def _is_even(text: list[str], dtype: np.dtype | None = None) -> bool:
    """Whether text of a dtype, or the narrowest, takes little more than it holds."""
    longest = max(map(len, text), default=1) or 1
    if dtype is not None and dtype.itemsize != 4 * longest:
        return False
    return len(text) * longest <= LARGEST_PADDING * (len(text) + sum(map(len, text)))


def decode(found: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The value that JSON of `encode` stands for.

    Raises
    ------
    Refusal
        If it is no such JSON.
    """
    if type(found) in PLAIN or type(found) is float:
        return found
    if isinstance(found, list):
        return [decode(item, arrays) for item in found]
    kind, content = next(iter(found.items())) if len(found) == 1 else (None, None)
    if kind == "float" and content in ("inf", "-inf", "nan"):
        return float(content)
    if kind in ("array", "scalar") and isinstance(content, str) and content in arrays:
        array = arrays[content]
        if kind == "array" or array.ndim == 0:
            return array if kind == "array" else array[()]
    if isinstance(content, list):
        if kind == "tuple":
            return tuple(decode(content, arrays))
        if kind == "dict":
            return _decode_dict(decode(content, arrays))
        if kind == "objects":
            return _decode_objects(decode(content, arrays))
        is_text = all(isinstance(item, str) for item in content)
        if kind == "strings" and is_text:
            return np.array(content, dtype=np.dtypes.StringDType())
        if kind == "text" and is_text and _is_even(content):
            return np.array(content, dtype=np.str_)
    raise Refusal("holds a value of an unknown kind")


def _decode_dict(pairs: list[Any]) -> dict[Any, Any]:
    try:
        found = dict(pairs)
    except (TypeError, ValueError):  # no pairs, or a key that cannot be one
        found = {}
    if len(found) < len(pairs):
        raise Refusal("holds a value of an unknown kind")
    return found


def _decode_objects(items: list[Any]) -> np.ndarray:
    array = np.empty(len(items), dtype=object)
    for place, item in enumerate(items):  # a slice would unpack lists
        array[place] = item
    return array
