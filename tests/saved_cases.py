"""Files of saved arrays taken apart and put together again, as an attacker would."""

import hashlib
import json

import numpy as np

NO_CHECKSUM = "0" * 64


def take_apart(data):
    """Table of arrays, JSON of the package, bytes of the arrays."""
    end = 8 + int.from_bytes(data[:8], "little")
    table = json.loads(data[8:end])
    about = json.loads(table.pop("__metadata__")["mtrl_sklearn"])
    return table, about, data[end:]


def put_together(table, about, body):
    """A file with a checksum that is right."""
    text = about if isinstance(about, str) else json.dumps(about)
    old = json.loads(text)["checksum"]
    metadata = {"__metadata__": {"mtrl_sklearn": text.replace(old, NO_CHECKSUM)}}
    return with_checksum(json.dumps(metadata | table).encode(), body)


def with_checksum(header, body=b""):
    """A file with this header, whose checksum of zeros is replaced by that of all."""
    head = len(header).to_bytes(8, "little") + header
    checksum = hashlib.sha256(head + body).hexdigest()
    return head.replace(NO_CHECKSUM.encode(), checksum.encode(), 1) + body


def replaced(found, place, value):
    """Nested dicts and lists with another value at a place."""
    if not place:
        return value
    copy = found.copy()
    copy[place[0]] = replaced(found[place[0]], place[1:], value)
    return copy


def places(found, start=()):
    """All places in nested dicts and lists."""
    yield start
    if isinstance(found, (dict, list)):
        keys = found if isinstance(found, dict) else range(len(found))
        for key in keys:
            yield from places(found[key], (*start, key))


def assert_identical(first, second, name=""):
    """The same types, dtypes, memory order and bits, all the way down."""
    assert type(first) is type(second), name
    if isinstance(first, np.ndarray):
        assert first.dtype == second.dtype, name
        assert first.shape == second.shape, name
        assert first.flags.f_contiguous == second.flags.f_contiguous, name
        bits = [
            a.tolist() if a.dtype.kind in "OT" else a.tobytes() for a in (first, second)
        ]
        assert bits[0] == bits[1], name
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), name
        for key in first:
            assert_identical(first[key], second[key], f"{name}.{key}")
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), name
        for a, b in zip(first, second):
            assert_identical(a, b, name)
    elif isinstance(first, np.random.RandomState):
        assert_identical(first.get_state(), second.get_state(), name)
    elif hasattr(first, "get_params"):
        assert_identical(vars(first), vars(second), name)
    else:
        assert first == second or (first != first and second != second), name
