"""Files of arrays: bits survive, damage is found, and no file is half written."""

import errno
import io
import json
import os
import pickle
import resource
import stat
import threading
import zipfile
from contextlib import contextmanager

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import growth_of_memory, needs_status
from saved_cases import (
    NO_CHECKSUM,
    assert_identical,
    put_together,
    take_apart,
    with_checksum,
)

from mtrl_sklearn import __version__
from mtrl_sklearn._files import arrays as _array_files
from mtrl_sklearn._files.arrays import read_arrays, reserve_space, write_arrays

DTYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"]
few = settings(max_examples=25, derandomize=True, deadline=None)

ARRAYS = {
    "weights": np.arange(12.0).reshape(3, 4) / 7,
    "transposed": np.arange(12, dtype=np.int16).reshape(3, 4).T,
    "names": np.array([["a", "bcd"], ["é\U0001f600", ""]]),
    "scalar": np.array(2.5, dtype=np.float32),
    "one name": np.array("x"),
    "empty": np.empty((0, 3)),
    "no names": np.empty((2, 0), dtype="U4"),
    "flags": np.array([True, False, True])[::-1],
    "slice": np.arange(60.0).reshape(3, 4, 5)[::2, :, 1],
    "broadcast": np.broadcast_to(np.float32(3), (2, 2)),
    "special": np.array([np.nan, -np.nan, np.inf, -0.0, 5e-324]),
}
METADATA = {"n": 3, "names": ["a", "\ud800", None], "deep": {"x": [1.5, True]}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "arrays.safetensors"


def written(path, arrays=None, metadata=None, kind="test"):
    write_arrays(path, ARRAYS if arrays is None else arrays, metadata or {}, kind)
    return path.read_bytes()


def test_arrays_and_metadata_survive(path):
    write_arrays(path, ARRAYS, METADATA, "test")
    arrays, metadata = read_arrays(path, "test")
    assert arrays.keys() == ARRAYS.keys()
    for name, array in arrays.items():
        expected = ARRAYS[name].copy(order="A")
        assert_identical(array, expected, name)
        assert array.flags.writeable
        assert array.flags.owndata
    assert metadata == METADATA


def test_big_endian_arrays_become_native(path):
    given_ = {"x": np.arange(3, dtype=">f4"), "names": np.array(["ab", "c"], ">U2")}
    write_arrays(path, given_, {}, "test")
    arrays, _ = read_arrays(path, "test")
    assert arrays["x"].dtype == np.dtype("=f4")
    assert arrays["x"].tolist() == [0, 1, 2]
    assert arrays["names"].tolist() == ["ab", "c"]


def test_the_file_is_one_of_safetensors(path):
    written(path)
    arrays = safetensors.numpy.load_file(path)
    np.testing.assert_array_equal(arrays["weights"], ARRAYS["weights"])
    np.testing.assert_array_equal(arrays["transposed"], ARRAYS["transposed"].T)


def test_the_same_content_gives_the_same_bytes(path):
    assert written(path) == written(path)
    about = take_apart(written(path))[1]
    assert about["written_by"].keys() == {
        "mtrl_sklearn",
        "numpy",
        "python",
        "scikit-learn",
        "torch",
    }


@few
@given(st.data())
def test_any_array_survives(tmp_path_factory, data):
    shapes = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
    numbers = npst.arrays(st.sampled_from(DTYPES), shapes)
    alphabet = st.characters(exclude_characters="\0", exclude_categories=())
    text = st.lists(st.text(alphabet, max_size=5)).map(lambda t: np.array(t, np.str_))
    names = st.text(max_size=9).filter(lambda name: name != "__metadata__")
    arrays = data.draw(st.dictionaries(names, numbers | text, max_size=4))
    if data.draw(st.booleans()):
        arrays = {name: array.T for name, array in arrays.items()}
    path = tmp_path_factory.getbasetemp() / "any"
    write_arrays(path, arrays, {}, "test")
    assert_identical(read_arrays(path, "test")[0], arrays)


@pytest.mark.parametrize(
    ("arrays", "error", "match"),
    [
        ({"x": np.array([1j])}, TypeError, "'x' has the dtype complex128.*Convert"),
        ({"x": np.array([None])}, TypeError, "'x' has the dtype object.*Convert"),
        ({"x": np.array(["2020"], "M8[D]")}, TypeError, "datetime64"),
        ({"__metadata__": np.ones(2)}, ValueError, "__metadata__.*Rename"),
    ],
)
def test_what_cannot_be_written_is_refused(path, arrays, error, match):
    with pytest.raises(error, match=match):
        write_arrays(path, arrays, {}, "test")
    with pytest.raises(ValueError, match="JSON"):
        write_arrays(path, {}, {"x": np.nan}, "test")
    assert os.listdir(path.parent) == []


# ---- damage


def assert_refused(path, data, match=None):
    path.write_bytes(data)
    with pytest.raises(ValueError, match=match) as error:
        read_arrays(path, "test")
    message = str(error.value)
    assert str(path) in message
    assert any(word in message for word in ("Pass", "restore", "Upgrade"))


def test_every_cut_and_every_flipped_bit_is_found(path):
    data = written(path)
    for size in {*range(12), *range(12, len(data), 41), len(data) - 1}:
        assert_refused(path, data[:size])
    for bit in {*range(64), *range(64, 8 * len(data), 61)}:
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        assert_refused(path, bytes(damaged))
    for more in (b"\0", b" ", b"\0" * 8, b"x" * 1000, data):
        assert_refused(path, data + more)
    path.write_bytes(data)
    read_arrays(path, "test")


@few
@given(st.data())
def test_no_edit_of_bytes_goes_unseen(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "edited"
    whole = written(path, {"x": np.arange(5.0)})
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, min(start + 20, len(whole))))
    edited = whole[:start] + data.draw(st.binary(max_size=20)) + whole[stop:]
    if edited != whole:
        assert_refused(path, edited)


def zip_bytes():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model", "x" * 100)
    return file.getvalue()


def header_of(text, body=b""):
    return len(text).to_bytes(8, "little") + text + body


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


FOREIGN = {
    "empty": b"",
    "few bytes": b"abc",
    "zeros": bytes(100),
    "text": b"import os; os.system('touch exploded')\n" * 9,
    "pickle": pickle.dumps(Bomb()) + bytes(200),
    "zip": zip_bytes(),
    "png": b"\x89PNG\r\n\x1a\n" + bytes(200),
    "safetensors": safetensors.numpy.save({"x": np.ones(3)}),
    "with metadata": safetensors.numpy.save({"x": np.ones(3)}, {"a": "b"}),
    "no JSON": header_of(b"not json"),
    "no object": header_of(b"[1, 2]"),
    "no text": header_of(b'{"\xff": 1}'),
    "nested": header_of(b"[" * 100_000),
    "nested objects": header_of(b'{"a":' * 100_000),
    "long number": header_of(b'{"a": ' + b"9" * 10_000 + b"}"),
    "NaN": header_of(b'{"a": NaN}'),
    "metadata of another type": header_of(b'{"__metadata__": [1]}'),
    "no checksum": header_of(b'{"__metadata__": {"mtrl_sklearn": "{}"}}'),
    "nested text": header_of(
        b'{"__metadata__": {"mtrl_sklearn": "' + b"[" * 50_000 + b'"}}'
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_files_are_refused(path, monkeypatch, name):
    monkeypatch.chdir(path.parent)
    assert_refused(path, FOREIGN[name])
    assert os.listdir(path.parent) == [path.name]


SIGNED = json.dumps(json.dumps({"checksum": NO_CHECKSUM})[:-1])[1:-1].encode()
HOSTILE = {  # all with a checksum that is right
    "no JSON": b"not json " + SIGNED,
    "no object": b'["' + SIGNED + b'"]',
    "no text": b'{"\xff": "' + SIGNED + b'"}',
    "in an array": b'{"' + SIGNED + b'": 1}',
    "another one": b'{"' + SIGNED + b'": 1, "__metadata__": {"mtrl_sklearn": "{}"}}',
    "nested": b'{"x": "' + SIGNED + b'", "y": ' + b"[" * 100_000,
    "nested objects": b'{"x": "' + SIGNED + b'", "y": ' + b'{"a":' * 100_000,
    "long number": b'{"x": "' + SIGNED + b'", "y": ' + b"9" * 10_000 + b"}",
    "NaN": b'{"x": "' + SIGNED + b'", "y": NaN}',
    "nested text": b'{"__metadata__": {"mtrl_sklearn": "'
    + SIGNED
    + b', \\"y\\": '
    + b"[" * 50_000
    + b'"}}',
    "cut text": b'{"__metadata__": {"mtrl_sklearn": "' + SIGNED + b'"}}',
    "bare": b'{"__metadata__": {"mtrl_sklearn": "' + SIGNED + b'}"}}',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_checksum_makes_no_file_of_ours(path, name):
    assert_refused(path, with_checksum(HOSTILE[name]), "JSON|another|which version")


@needs_status
@pytest.mark.parametrize("item", [b"{},", b"[],", b'{"a":1},'])
def test_a_header_of_many_values_is_not_parsed(path, item):
    """Parsed they would take 20 times their text, which comes before any check."""
    n = 5_000_000
    header = b'{"x": "' + SIGNED + b'", "y": [' + item * n + b"1]}"
    path.write_bytes(with_checksum(header))
    size = len(header)
    del header
    with (
        growth_of_memory() as growth,
        pytest.raises(ValueError, match=r"more than \d+ values.*Pass a whole file"),
    ):
        read_arrays(path, "test")
    assert growth.peak < 2 * size + 20e6


def test_values_are_counted_where_they_cannot_be_seen(path, monkeypatch):
    """In the text within JSON, where brackets may be written as escapes."""
    monkeypatch.setattr(_array_files, "MOST_VALUES", 1000)
    _, about, body = take_apart(written(path, {"x": np.ones(2)}))
    for n, match in ((300, None), (1000, "more than 1000 values")):
        data = put_together({"x": entry()}, about | {"more": [[]] * n}, body)
        stop = len(data) - len(body)
        checksum = take_apart(data)[1]["checksum"].encode()
        header = data[8:stop].replace(checksum, NO_CHECKSUM.encode())
        header = header.replace(b"[], ", b"\\u005b\\u005d\\u002c ")
        path.write_bytes(with_checksum(header, body))
        if match is None:
            read_arrays(path, "test")
        else:
            assert_refused(path, path.read_bytes(), match)
    with pytest.raises(ValueError, match=r"beyond the 1000 .*Save fewer"):
        write_arrays(path, {}, {"names": ["a"] * 1000}, "test")


def test_a_damaged_header_is_not_parsed(path, monkeypatch):
    data = written(path)
    damaged = data.replace(b'"dtype"', b'"dtypo"', 1)
    assert damaged != data
    monkeypatch.setattr(json, "loads", None)
    assert_refused(path, damaged, "its checksum promises")


def entry(dtype="F64", shape=(2,), place=(0, 16)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(place)}


LIES = {
    "more than there is": {"x": entry(shape=[10**12])},
    "with the place": {"x": entry(shape=[10**12], place=[0, 8 * 10**12])},
    "a huge axis beside none": {"x": entry(shape=[10**14, 0], place=[0, 0])},
    "an overflow": {"x": entry(shape=[2**32, 2**32, 2**63])},
    "a number of 4000 digits": {"x": entry(shape=[10**4000])},
    "negative": {"x": entry(shape=[-2], place=[0, -16])},
    "both negative": {"x": entry(shape=[-1, -2])},
    "backwards": {"x": entry(shape=[0], place=[16, 0])},
    "fractions": {"x": entry(shape=[2.0])},
    "a boolean": {"x": entry(shape=[True, 2])},
    "text": {"x": entry(shape="2")},
    "no shape": {"x": entry(shape=[])},
    "many axes": {"x": entry(shape=[1] * 99 + [2])},
    "unknown dtype": {"x": entry(dtype="object")},
    "a dtype of another type": {"x": entry(dtype=["F64"])},
    "three places": {"x": entry(place=[0, 8, 16])},
    "another key": {"x": entry() | {"loader": "os.system"}},
    "no entry": {"x": 3},
    "a gap": {"x": entry(shape=[1], place=[8, 16])},
    "an end too soon": {"x": entry(shape=[1], place=[0, 8])},
    "an overlap": {"x": entry(), "y": entry(shape=[1], place=[8, 16])},
    "twice": {"x": entry(), "y": entry()},
    "outside": {"x": entry(), "y": entry(place=[16, 32])},
    "no arrays": {},
}


@pytest.mark.parametrize("name", LIES)
def test_a_header_that_lies_is_refused_whatever_its_checksum(path, name):
    _, about, body = take_apart(written(path, {"x": np.ones(2)}))
    path.write_bytes(put_together({"x": entry()}, about, body))
    read_arrays(path, "test")
    assert_refused(path, put_together(LIES[name], about, body))


@needs_status
def test_a_header_that_lies_costs_no_memory(path):
    _, about, body = take_apart(written(path, {"x": np.ones(2)}))
    about["text"] = ["x"]
    tables = [
        {"x": entry(shape=[2**37], place=[0, 2**40])},
        {"x": entry("U32", [2**40, 0, 2**40], [0, 0])},
        {"x": entry("U32", [0, 2**40], [0, 0]), "y": entry()},
        {"x": entry("U32", [1, 2**29], [0, 2**31])},
    ]
    with growth_of_memory() as growth:
        for table in tables:
            assert_refused(path, put_together(table, about, body))
        path.write_bytes((2**62).to_bytes(8, "little") + bytes(100))
        with pytest.raises(ValueError, match="cut off"):
            read_arrays(path, "test")
    assert growth.peak < 20e6


@needs_status
def test_reading_takes_little_more_than_the_arrays(path):
    n = 4_000_000
    write_arrays(path, {"x": np.ones(n)}, {}, "test")
    with growth_of_memory() as growth:
        arrays, _ = read_arrays(path, "test")
    assert arrays["x"].sum() == n
    assert growth.peak < 1.2 * arrays["x"].nbytes


ABOUT = [
    ({"format": 0}, "which version"),
    ({"format": True}, "which version"),
    ({"format": "1"}, "which version"),
    ({"format": None}, "which version"),
    ({"written_by": None}, "which version"),
    ({"written_by": {"mtrl_sklearn": 3}}, "which version"),
    ({"kind": "other"}, "holds 'other', not 'test'"),
    ({"kind": ["test"]}, "not 'test'"),
    ({"text": ["x"]}, "no text"),
    ({"text": ["y"]}, "does not hold"),
    ({"text": [["x"]]}, "lacks a part"),
    ({"text": {"x": 1}}, "lacks a part"),
    ({"transposed": "x"}, "lacks a part"),
    ({"transposed": ["y"]}, "does not hold"),
    ({"content": [1]}, "lacks a part"),
    ({"content": None}, "lacks a part"),
]


@pytest.mark.parametrize(("change", "match"), ABOUT)
def test_hand_edited_metadata_are_refused(path, change, match):
    table, about, body = take_apart(written(path, {"x": np.ones(2)}))
    assert_refused(path, put_together(table, about | change, body), match)
    path.write_bytes(put_together(table, about, body))
    read_arrays(path, "test")


def test_text_beyond_unicode_is_refused(path):
    table, about, _ = take_apart(written(path, {"x": np.array(["a", "b"])}))
    units = np.array([97, 0x110000], dtype="<u4")
    assert_refused(path, put_together(table, about, units.tobytes()), "no text")


def test_a_newer_format_names_the_version_that_wrote_it(path):
    table, about, body = take_apart(written(path, {"x": np.ones(2)}))
    about |= {"format": 2, "written_by": {"mtrl_sklearn": "7.1"}, "text": "other"}
    assert_refused(path, put_together(table, about, body), "Upgrade.*7.1")
    assert take_apart(written(path))[1]["written_by"]["mtrl_sklearn"] == __version__


@pytest.mark.parametrize("where", ["header", "text", "content"])
def test_keys_that_come_twice_are_refused(path, where):
    table, about, body = take_apart(written(path, {"x": np.ones(2)}))
    text = json.dumps(about)
    if where == "text":
        text = text.replace('"kind"', '"kind": "a", "kind"')
    elif where == "content":
        text = text.replace('"content": {}', '"content": {"a": 1, "a": 2}')
    data = put_together(table, text, body)
    if where == "header":
        old = json.dumps({"x": table["x"]})[1:-1].encode()
        assert old in data
        twice = data[8 : len(data) - len(body)].replace(old, old + b", " + old)
        checksum = take_apart(data)[1]["checksum"].encode()
        data = with_checksum(twice.replace(checksum, NO_CHECKSUM.encode()), body)
    assert_refused(path, data, "no proper JSON")


def test_missing_files_and_folders_are_told_as_such(path):
    for read in (path, path / "x", path.parent / "missing" / "x"):
        with pytest.raises(FileNotFoundError, match="Check the path") as error:
            read_arrays(read, "test")
        assert str(read) in str(error.value)
    with pytest.raises(IsADirectoryError, match="Pass the path of a file"):
        read_arrays(path.parent, "test")
    with pytest.raises(TypeError):
        read_arrays(3, "test")
    os.mkfifo(path)  # which to open would wait for
    with pytest.raises(OSError, match="ordinary file"):
        read_arrays(path, "test")


# ---- writing

WRITERS = {
    "write": lambda path: write_arrays(path, {"x": np.ones(9)}, {}, "test"),
    "reserve": lambda path: reserve_space(path, 1000),
}
writers = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)


@writers
def test_paths_that_cannot_be_written_are_refused(tmp_path, write):
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    os.symlink("loop", tmp_path / "loop")
    expected = {
        tmp_path: IsADirectoryError,
        tmp_path / "missing" / "x": FileNotFoundError,
        tmp_path / "file" / "x": NotADirectoryError,
        tmp_path / "pipe": OSError,
        tmp_path / "loop": OSError,
        tmp_path / ("x" * 300): OSError,
    }
    before = sorted(os.listdir(tmp_path))
    for path, kind in expected.items():
        with pytest.raises(kind, match=r"Pass|Check") as error:
            write(path)
        assert error.value.filename == str(path)
    with pytest.raises(TypeError):
        write(3)
    assert sorted(os.listdir(tmp_path)) == before


@writers
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux")
def test_a_device_stays_a_device(tmp_path, write, monkeypatch):
    # in no case shall the tests of wrong code replace a device of this machine
    monkeypatch.delattr(os, "replace")
    link = tmp_path / "link"
    link.symlink_to("/dev/full")
    for path in ("/dev/full", link):
        with pytest.raises(OSError, match=r"device.*ordinary file"):
            write(path)
        assert stat.S_ISCHR(os.stat(path).st_mode)
    assert link.is_symlink()


@writers
def test_a_file_that_may_not_be_written_stays(tmp_path, write, monkeypatch):
    path = tmp_path / "mine"
    path.write_text("x")
    # the superuser may write everything
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="that you may read and write"):
        write(path)
    assert path.read_text() == "x"

    def refuse(*args):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError, match="that you may read and write"):
        write(tmp_path / "new")


@contextmanager
def largest_file(n_bytes):
    """A limit of the size of files, which stands for a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@writers
def test_a_full_disk_leaves_the_old_file(path, write):
    old = written(path)
    with (
        pytest.raises(OSError, match="Raise the limit") as error,
        largest_file(300),
    ):
        write(path)
    assert error.value.errno == errno.EFBIG
    assert error.value.filename == str(path)
    assert path.read_bytes() == old
    assert os.listdir(path.parent) == [path.name]


def test_no_space_is_told_before_work_begins(path):
    free = os.statvfs(path.parent)
    reserve_space(path, 10_000)
    with pytest.raises(OSError, match=r"Free space|limit"):
        reserve_space(path, free.f_frsize * free.f_bavail + 10**13)
    assert os.listdir(path.parent) == []


def test_space_is_reserved_by_writing_where_nothing_else_is_known(path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate")
    with largest_file(3_000_000):
        reserve_space(path, 2_500_000)
        with pytest.raises(OSError, match="limit"):
            reserve_space(path, 3_500_000)
    assert os.listdir(path.parent) == []


@pytest.mark.parametrize("name", ["replace", "fsync", "chmod"])
@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
def test_a_write_that_fails_leaves_the_old_file(path, monkeypatch, name, kind):
    old = written(path)

    def fail(*args):
        raise kind(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, name, fail)
    with pytest.raises(kind) as error:
        write_arrays(path, {"x": np.ones(3)}, {}, "test")
    if kind is OSError:
        assert "Free space" in str(error.value)
        assert error.value.filename == str(path)
    assert path.read_bytes() == old
    assert os.listdir(path.parent) == [path.name]


def test_bytes_reach_the_disk_before_the_name_and_the_name_before_the_return(
    path, monkeypatch
):
    events, sync, replace = [], os.fsync, os.replace

    def record_sync(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        events.append("folder" if is_folder else os.fstat(descriptor).st_size)
        sync(descriptor)

    def record_replace(source, target):
        assert os.path.dirname(source) == os.path.dirname(target)
        events.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(os, "replace", record_replace)
    write_arrays(path, {"x": np.ones(3)}, {}, "test")
    assert events == [path.stat().st_size, "replace", "folder"]


def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    before = os.umask(0o027)
    try:
        path = tmp_path / "new"
        written(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o604)
        written(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o604
    finally:
        os.umask(before)


def test_links_stay_links(tmp_path):
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "target", tmp_path / "link"
    link.symlink_to(target)
    for _ in range(2):  # a link to nothing, as to a file
        written(link)
        assert link.is_symlink()
        read_arrays(target, "test")
    assert os.listdir(tmp_path / "folder") == ["target"]


def test_writers_in_two_threads_leave_one_whole_file(path):
    values = [np.full(20_000, k) for k in range(4)]
    errors = []

    def write(array):
        try:
            for _ in range(5):
                write_arrays(path, {"x": array}, {}, "test")
        except BaseException as error:
            errors.append(error)

    written(path, {"x": values[0]})
    threads = [threading.Thread(target=write, args=(a,)) for a in values]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        found = read_arrays(path, "test")[0]["x"]
        assert (found == found[0]).all()
    assert errors == []
    assert os.listdir(path.parent) == [path.name]
