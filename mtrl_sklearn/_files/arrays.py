"""Named arrays and JSON in one safetensors file, written whole and checked before use.

Its header carries, as text under the key "mtrl_sklearn", JSON with a checksum of all
bytes of the file (the checksum itself counted as zeros), which is compared before the
JSON is parsed. A checksum tells damage, not intent: whoever edits a file can compute it
anew, so nothing else is taken on trust. The safetensors library checks dtypes, shapes
and places of arrays; what it lacks is checked here: a largest number of values of JSON,
keys that come twice, dtypes that numpy does not have.
"""

import hashlib
import json
import os
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
import sklearn
import torch
from safetensors import SafetensorError

from mtrl_sklearn._files.atomic import explained, open_regular, replacing
from mtrl_sklearn._files.atomic import reserve_space as reserve_space
from mtrl_sklearn._version import __version__

FORMAT = 1  # raise it when an older reader would misread a file
KEY = "mtrl_sklearn"
NO_CHECKSUM = "0" * 64
LARGEST_HEADER = 100_000_000  # that of the safetensors library
# Values of JSON take up to 100 bytes of memory, and 24 times that of their text. A
# million tasks with names are below this, and half of a gigabyte is above it.
MOST_VALUES = 1 << 22
CHECKSUM = re.compile(rb'\\"checksum\\": \\"([0-9a-f]{64})\\"')  # in text within JSON
BLOCK = 1 << 20
DTYPES = {
    "BOOL": np.dtype("?"),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "F16": np.dtype("<f2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "F32": np.dtype("<f4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
}
LAST_CODE_POINT = 0x10FFFF
LONGEST_TEXT = 1 << 28  # about what numpy can have

RESTORE = "The file is damaged: restore it from a copy, or write it again"
FOREIGN = "Pass a whole file that mtrl_sklearn wrote"


class Refusal(Exception):
    """What is wrong with the content of a file, and what to do."""

    def __init__(self, what: str, remedy: str = RESTORE):
        super().__init__(f"{what}. {remedy}.")
        self.what = what


@contextmanager
def refusals(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise refusals of a file as ValueErrors that name it."""
    try:
        yield
    except Refusal as refusal:
        raise ValueError(f"{os.fspath(path)!r} {refusal}") from refusal.__cause__


class Entry(NamedTuple):
    """An array as the header describes it."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]


def write_arrays(
    path: str | os.PathLike[str],
    arrays: Mapping[str, np.ndarray],
    metadata: Mapping[str, Any],
    kind: str,
) -> None:
    """Write a file that is either there as a whole or not at all.

    An existing file is replaced at the end, when the new one is on the disk; its
    permissions stay, and a symbolic link goes on to point to it.

    Parameters
    ----------
    path : path-like
    arrays : dict of ndarrays of any shape
        Booleans, integers, floats of 16 to 64 bits, or text (dtype "U"). Bytes are kept
        as they are, in the order of C or Fortran.
    metadata : dict
        What JSON can hold: string keys; no NaN, no infinity.
    kind : str
        What the file holds, such as "estimator".

    Raises
    ------
    OSError
        If the file cannot be written. What was there before stays.
    TypeError, ValueError
        If an array has another dtype, or metadata are no JSON.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from mtrl_sklearn._files.arrays import read_arrays, write_arrays
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_arrays(f"{folder}/a", {"x": np.arange(3)}, {"n": 3}, "example")
    ...     read_arrays(f"{folder}/a", "example")
    ({'x': array([0, 1, 2])}, {'n': 3})
    """
    head, body = _serialize(arrays, metadata, kind)
    with explained(path), replacing(path) as file:
        file.write(head)
        file.write(body)


def read_arrays(
    path: str | os.PathLike[str], kind: str
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a file that `write_arrays` wrote, or refuse it.

    Nothing is executed, and no more is allocated than the file holds.

    Parameters
    ----------
    path : path-like
    kind : str
        As it was written.

    Returns
    -------
    arrays : dict of ndarrays
        Writable, and owners of their memory.
    metadata : dict

    Raises
    ------
    OSError
        If there is no such file, or it cannot be opened.
    ValueError
        If the file is damaged, of another origin or kind, or of a newer format.
    """
    with refusals(path), explained(path), open_regular(path) as file:
        return _read(file, path, kind)


def _serialize(
    arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any], kind: str
) -> tuple[bytes, memoryview]:
    """Header with its length and checksum, and the bytes of all arrays."""
    if "__metadata__" in arrays:
        raise ValueError("An array cannot have the name '__metadata__'. Rename it.")
    transposed = [
        name
        for name, array in arrays.items()
        if array.flags.f_contiguous and not array.flags.c_contiguous
    ]
    turned = {n: a.T if n in set(transposed) else a for n, a in arrays.items()}
    about = {
        "checksum": NO_CHECKSUM,
        "format": FORMAT,
        "kind": kind,
        "text": [name for name, array in arrays.items() if array.dtype.kind == "U"],
        "transposed": transposed,
        "written_by": _versions(),
        "content": metadata,
    }
    data = safetensors.numpy.save(
        {name: _as_numbers(name, array) for name, array in turned.items()},
        {KEY: json.dumps(about, allow_nan=False)},
    )
    end = 8 + int.from_bytes(data[:8], "little")
    if end - 8 > LARGEST_HEADER:
        raise ValueError(
            f"The names of {len(arrays)} arrays and the metadata take {end - 8} bytes, "
            f"beyond the {LARGEST_HEADER} that a file may have. Save fewer."
        )
    n_values = _count_values(data[8:end])
    if n_values > MOST_VALUES:
        raise ValueError(
            f"The names of {len(arrays)} arrays and the metadata hold {n_values} "
            f"values, beyond the {MOST_VALUES} that a file may have. Save fewer."
        )
    head, body = data[:end], memoryview(data)[end:]
    digest = hashlib.sha256(head)
    digest.update(body)
    return head.replace(NO_CHECKSUM.encode(), digest.hexdigest().encode(), 1), body


def _versions() -> dict[str, str]:

    return {
        "mtrl_sklearn": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "scikit-learn": sklearn.__version__,
        "torch": str(torch.__version__),
    }


def _as_numbers(name: str, array: np.ndarray) -> np.ndarray:
    """C-ordered array of a dtype of the format; text as UCS4 along a last axis."""
    array = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    if array.dtype.kind == "U":
        width = array.dtype.itemsize // 4
        units = array.reshape(-1).view("<u4") if array.size else np.empty(0, "<u4")
        return units.reshape(*array.shape, width)
    if array.dtype not in DTYPES.values():
        raise TypeError(
            f"The array {name!r} has the dtype {array.dtype}, which cannot be saved. "
            "Convert it to booleans, integers, floats of at most 64 bits, or text."
        )
    return array


def _read(
    file: BufferedReader, path: str | os.PathLike[str], kind: str
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    header = _read_header(file)
    checksum, start = _check_sum(file, header), 8 + len(header)
    _check_layout(file, path, header)
    table = _parse(header)
    del header  # names of many tasks take their memory once or twice, not five times
    about = _find_about(table, checksum)
    _check_origin(about, kind)
    entries = _read_entries(table)
    text, transposed = set(about["text"]), set(about["transposed"])
    if not (text | transposed) <= {entry.name for entry in entries}:
        raise Refusal("describes arrays that it does not hold")
    file.seek(start)
    arrays = {
        entry.name: _read_array(
            file, entry, entry.name in text, entry.name in transposed
        )
        for entry in entries
    }
    return arrays, about["content"]


def _read_header(file: BufferedReader) -> bytes:
    size = os.fstat(file.fileno()).st_size
    if size < 8:
        raise Refusal(f"holds {size} bytes, too few for any model", FOREIGN)
    length = int.from_bytes(file.read(8), "little")
    if length > min(size - 8, LARGEST_HEADER):
        raise Refusal("is cut off, or no safetensors file", FOREIGN)
    return file.read(length)


def _check_layout(
    file: BufferedReader, path: str | os.PathLike[str], header: bytes
) -> None:
    """Let the library check that arrays have sizes and fill the file without a gap."""
    if _count_values(header) > MOST_VALUES:  # would take memory there as well
        raise Refusal(f"has a header of more than {MOST_VALUES} values", FOREIGN)
    # The file that is open, though another may have taken its place under that name.
    opened = f"/dev/fd/{file.fileno()}"
    place = opened if os.path.exists(opened) else os.fsdecode(path)
    try:
        with safetensors.safe_open(place, framework="numpy"):
            pass
    except SafetensorError as error:
        what = f"has a header that is no proper JSON of safetensors: {error}"
        raise Refusal(what[:200]) from error


def _parse(text: str | bytes) -> dict[str, Any]:
    """JSON object without anything that parsers disagree about."""
    try:
        text = text if isinstance(text, str) else text.decode()
        if _count_values(text) > MOST_VALUES:
            raise Refusal(f"has a header of more than {MOST_VALUES} values", FOREIGN)
        found = json.loads(
            text, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError):  # of text, of JSON, of nesting
        found = None
    if not isinstance(found, dict):
        raise Refusal("has a header that is no proper JSON", FOREIGN)
    return found


def _count_values(text: str | bytes) -> int:
    """At least the number of values in JSON, each of which takes memory of its own."""
    if isinstance(text, str):
        return sum(map(text.count, "[{,"))
    return sum(map(text.count, (b"[", b"{", b",")))


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _find_about(table: dict[str, Any], checksum: str) -> dict[str, Any]:
    """What the file says of itself; only its checksum has been looked at."""
    text = table.pop("__metadata__", {}).get(KEY)
    if text is None:
        raise Refusal("is a file of safetensors, but of another program", FOREIGN)
    about = _parse(text)
    if about.get("checksum") != checksum:
        raise Refusal("has another checksum than it seems to have")
    return about


def _check_sum(file: BufferedReader, header: bytes) -> str:
    """Compare the checksum with that of the file, from behind its header on.

    It is found by its look: damaged JSON is not even parsed.
    """
    found = CHECKSUM.search(header)
    if found is None:
        raise Refusal("has no checksum, or is a file of another program", FOREIGN)
    start, stop = found.span(1)
    digest = hashlib.sha256(len(header).to_bytes(8, "little"))
    for part in (header[:start], NO_CHECKSUM.encode(), header[stop:]):
        digest.update(part)
    while block := file.read(BLOCK):
        digest.update(block)
    if digest.hexdigest() != found[1].decode():
        raise Refusal("does not have the content that its checksum promises")
    return digest.hexdigest()


def _check_origin(about: dict[str, Any], kind: str) -> None:
    """Refuse newer formats, other kinds, and what this format does not have."""
    number, writer = about.get("format"), about.get("written_by")
    version = writer.get("mtrl_sklearn") if isinstance(writer, dict) else None
    if isinstance(number, int) and number > FORMAT:
        raise Refusal(
            f"was written by mtrl_sklearn {version}, in format {number}; this version "
            f"reads formats up to {FORMAT}",
            f"Upgrade mtrl_sklearn to {version} or later",
        )
    if type(number) is not int or number < 1 or not isinstance(version, str):
        raise Refusal("does not say which version wrote it")
    if about.get("kind") != kind:
        raise Refusal(
            f"holds {_show(about.get('kind'))}, not {kind!r}", "Pass another file"
        )
    if not (
        isinstance(about.get("content"), dict)
        and _are_names(about.get("text"))
        and _are_names(about.get("transposed"))
    ):
        raise Refusal("lacks a part of its description")


def _show(value: Any) -> str:
    """For messages: a value from a file, which may be of any size."""
    return repr(value)[:60]


def _read_entries(table: dict[str, Any]) -> list[Entry]:
    """Arrays in the order of the file, which they fill without a gap."""
    entries = []
    for name, found in sorted(table.items(), key=lambda t: t[1]["data_offsets"]):
        if found["dtype"] not in DTYPES or len(found) > 3:
            raise Refusal(f"describes the array {_show(name)} by no dtype of numpy")
        entries.append(Entry(name, DTYPES[found["dtype"]], tuple(found["shape"])))
    return entries


def _are_names(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(name, str) for name in values)


def _read_array(
    file: BufferedReader, entry: Entry, is_text: bool, transposed: bool
) -> np.ndarray:
    dtype, shape = entry.dtype, entry.shape
    no_text = Refusal(f"holds no text in the array {_show(entry.name)}")
    if is_text:
        if dtype != DTYPES["U32"] or not shape or not 0 < shape[-1] <= LONGEST_TEXT:
            raise no_text
        dtype, shape = np.dtype(f"<U{shape[-1]}"), shape[:-1]
    shape = shape[::-1] if transposed else shape
    try:
        array = np.empty(shape, dtype, "F" if transposed else "C")
    except ValueError:  # an axis beyond what numpy can address, and one of length 0
        raise Refusal(f"gives {_show(entry.name)} a shape out of reach") from None
    in_order = array.T if transposed else array
    units = in_order.reshape(-1).view("u1") if array.size else np.empty(0, "u1")
    if file.readinto(units.data) != units.size:
        raise Refusal("ended while it was read")
    if is_text and array.size and units.view("<u4").max() > LAST_CODE_POINT:
        raise no_text
    return array.astype(dtype.newbyteorder("="), order="A", copy=False)
