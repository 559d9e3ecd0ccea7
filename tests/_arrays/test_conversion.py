"""Tensors, sparse matrices and frames count as arrays of the same numbers."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from bad_input_cases import QUIET, X, Y, conv, ids, refused, relu, untouched_models, y
from scipy import sparse

from mtrl_sklearn._arrays.conversion import as_numpy, read_sparse
from mtrl_sklearn.metrics import masked_roc_auc, multitask_roc_auc_score
from mtrl_sklearn.probing import LinearProbe, probe_new_tasks, task_affinity

pytestmark = QUIET
models = pytest.fixture(untouched_models)

ROUND = np.round(4 * X)  # numbers that all types hold


class Exchanged:
    """An array that hands out its memory by DLPack only."""

    def __init__(self, array):
        self.array, self.shape = array, array.shape

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class OfAnotherLibrary:
    """An array whose dtype is none of numpy."""

    dtype = "ours.float32"

    def __init__(self, array):
        self.array, self.shape = array, array.shape

    def __array__(self, dtype=None, copy=None):
        return self.array.astype(dtype or self.array.dtype)


# ---------------------------------------------------------------------------- tensors

TENSORS = {
    "float64": (torch.float64, "float64"),
    "float32": (torch.float32, "float32"),
    "float16": (torch.float16, "float32"),
    "bfloat16": (torch.bfloat16, "float32"),
    "float8": (torch.float8_e4m3fn, "float32"),
    "int64": (torch.int64, "float32"),
    "uint8": (torch.uint8, "float32"),
    "bool": (torch.bool, "float32"),
}


@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_count_as_arrays_of_their_dtype(kind):
    dtype, counted = TENSORS[kind]
    rows = np.abs(ROUND) % 2 if kind in ("uint8", "bool") else ROUND.clip(-8, 8)
    tensor, array = torch.from_numpy(rows).to(dtype), rows.astype(counted)
    for make, labels in ((relu, Y), (conv, y)):
        model = make().fit(tensor, labels)
        found, expected = model.transform(tensor), make().fit(array, labels)
        assert found.dtype == np.dtype(counted)
        np.testing.assert_allclose(found, expected.transform(array), 1e-4, 1e-4)
    found = LinearProbe().fit(tensor, y).decision_function(tensor)
    expected = LinearProbe().fit(array, y).decision_function(array)
    np.testing.assert_allclose(found, expected, 1e-4, 1e-4)


@pytest.mark.parametrize(
    "make",
    [
        lambda rows: torch.from_numpy(rows).requires_grad_(),
        lambda rows: list(torch.from_numpy(rows).requires_grad_()),
        Exchanged,
        OfAnotherLibrary,
        lambda rows: torch.from_numpy(rows).neg().mul(-1).T.clone().T,
        lambda rows: pa.table({f"x{i}": column for i, column in enumerate(rows.T)}),
        lambda rows: pl.DataFrame(rows),
    ],
    ids=["gradient", "list", "DLPack", "another library", "strided", "arrow", "polars"],
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_other_arrays_count_as_those_of_numpy(make, dtype):
    rows = ROUND.astype(dtype)
    given = make(rows)
    counted = np.float64 if isinstance(given, list) else dtype
    rows = rows.astype(counted)
    found = relu().fit(given, Y).transform(given)
    assert found.dtype == counted
    np.testing.assert_allclose(found, relu().fit(rows, Y).transform(rows), 1e-4, 1e-4)
    probe, plain = LinearProbe().fit(given, y), LinearProbe().fit(rows, y)
    np.testing.assert_allclose(
        probe.predict_proba(given), plain.predict_proba(rows), 1e-4, 1e-4
    )


def test_images_ids_and_weights_as_tensors():
    images = ROUND[:, :4].reshape(-1, 1, 2, 2)
    weights = np.linspace(1, 2, len(X))
    arguments = (images, y, ids)
    plain = conv().fit(*arguments, sample_weight=weights)
    tensors = [
        torch.from_numpy(a).requires_grad_(a.dtype.kind == "f") for a in arguments
    ]
    weights_given = torch.from_numpy(weights).requires_grad_()
    model = conv().fit(*tensors, sample_weight=weights_given)
    np.testing.assert_array_equal(model.filters_, plain.filters_)
    score = plain.score(*arguments, sample_weight=weights)
    assert model.score(*tensors, sample_weight=weights_given) == score
    long = relu().fit(X, tensors[1], tensors[2])
    np.testing.assert_array_equal(
        long.hidden_weights_, relu().fit(X, y, ids).hidden_weights_
    )


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.int8, torch.bool])
def test_labels_as_tensors(kind):
    expected = relu().fit(X, Y)
    for labels in (
        torch.from_numpy(Y).to(kind),
        pa.table({c: Y[:, int(c)] for c in "0123"}),
    ):
        model = relu().fit(X, labels)
        np.testing.assert_array_equal(model.hidden_weights_, expected.hidden_weights_)


def test_metrics_of_tensors_with_gradients():
    scores = torch.from_numpy(X[:, :4].copy()).requires_grad_()
    expected = multitask_roc_auc_score(Y, X[:, :4])
    assert multitask_roc_auc_score(torch.from_numpy(Y), scores) == expected
    assert masked_roc_auc(2 * torch.from_numpy(Y) - 1, scores).mean() == expected


def test_arrays_share_the_memory_of_tensors():
    tensor = torch.zeros(3, 2)
    array = as_numpy(tensor, "X")
    tensor[1, 1] = 5
    assert array[1, 1] == 5


@pytest.mark.filterwarnings("ignore:Sparse .* in beta state")
@pytest.mark.parametrize("layout", ["to_sparse", "to_sparse_csr", "to_sparse_csc"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_sparse_tensors_are_sparse_matrices(models, layout, dtype):
    tensor = torch.from_numpy(ROUND).to(dtype)
    given = getattr(tensor, layout)()
    dense = tensor.numpy() if dtype != torch.bfloat16 else ROUND.astype(np.float32)
    found, expected = (relu().fit(rows, Y).transform(rows) for rows in (given, dense))
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, 1e-4, 1e-4)
    refused(lambda: models["gd"].predict(given), r"X\.to_dense\(\)")
    for name in ("raw probe", "probe"):
        scores = (models[name].decision_function(rows) for rows in (given, dense))
        np.testing.assert_allclose(*scores, 1e-4, 1e-4)
    refused(lambda: relu().fit(X, given), r"y\.to_dense\(\)")


@pytest.mark.filterwarnings("ignore:Sparse .* in beta state")
def test_tensors_without_an_array_are_refused_by_name(models):
    bsr = torch.from_numpy(ROUND).to_sparse_bsr((2, 1))
    refused(lambda: models["single"].predict(bsr), "X is a tensor.*layout")
    meta = torch.empty(X.shape, device="meta")
    refused(lambda: models["single"].predict(meta), "X is a tensor")
    places = torch.tensor([[0, 99], [0, 1]])
    corrupt = torch.sparse_coo_tensor(
        places, torch.ones(2), X.shape, check_invariants=False
    )
    refused(lambda: models["single"].predict(corrupt), "X is a tensor.*axis 0 index")


# ------------------------------------------------------------------- sparse matrices


def damaged(kind, form):
    """A sparse matrix whose parts were changed to what no matrix has."""
    matrix = sparse.csr_array(ROUND).asformat(form)
    n = matrix.indptr[-1]
    if kind == "index too large":
        matrix.indices[3] = 10**8
    elif kind == "index below 0":
        matrix.indices[3] = -(10**6)
    elif kind == "start too large":
        matrix.indptr[2] = 10**8
    elif kind == "end too large":
        matrix.indptr[-1] = 10**8
    elif kind == "starts fall":
        matrix.indptr[1:-1] = matrix.indptr[-2:0:-1].copy()
    elif kind == "starts fall to 0":
        matrix.indptr[-1] = 0
    elif kind == "short data":
        matrix.data = matrix.data[: n // 2]
    elif kind == "short starts":
        matrix.indptr = matrix.indptr[:3]
    return matrix


DAMAGES = [
    *("index too large", "index below 0", "start too large", "end too large"),
    *("starts fall", "starts fall to 0", "short data", "short starts"),
]
SPARSE_CALLS = {
    "fit": lambda m, X: m["alternating"].fit(X, Y),
    "one step": lambda m, X: m["one_step"].fit(X, Y),
    "partial_fit": lambda m, X: m["joint"].partial_fit(X, Y),
    "transform": lambda m, X: m["alternating"].transform(X),
    "predict": lambda m, X: m["single"].predict(X),
    "predict_proba": lambda m, X: m["joint"].predict_proba(X),
    "decision_function": lambda m, X: m["long"].decision_function(X),
    "score": lambda m, X: m["alternating"].score(X, Y),
    "probe_new_tasks": lambda m, X: probe_new_tasks(m["alternating"], X, Y, shots=4),
    "task_affinity": lambda m, X: task_affinity(m["alternating"], X, Y),
}


@pytest.mark.parametrize("form", ["csr", "csc", "bsr"])
@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_sparse_matrices_are_refused(models, kind, form):
    """Their indices would lead out of memory, which ends the process."""
    for name, call in SPARSE_CALLS.items():
        matrix = damaged(kind, form)
        words = rf"X: the parts of this '{form}' matrix contradict each other.*anew"
        refused(lambda call=call, m=matrix: call(models, m), words, name)


def test_damaged_coordinates_are_refused(models):
    matrix = sparse.coo_array(ROUND)
    matrix.coords[0][3] = 10**8
    refused(lambda: models["single"].predict(matrix), "X: the parts of this 'coo'")
    matrix = sparse.csr_array(ROUND)
    matrix.indices = matrix.indices.astype(float)
    refused(lambda: models["single"].predict(matrix), "indices are of float64")


def shuffled(matrix):
    """The same matrix, with entries of a row in another order."""
    for start, stop in zip(matrix.indptr[:-1], matrix.indptr[1:]):
        entries = slice(start, stop)
        matrix.indices[entries] = matrix.indices[entries][::-1].copy()
        matrix.data[entries] = matrix.data[entries][::-1].copy()
    return matrix


def with_types(indices, indptr, data):
    def change(matrix):
        matrix.indices = matrix.indices.astype(indices)
        matrix.indptr = matrix.indptr.astype(indptr)
        matrix.data = matrix.data.astype(data)
        return matrix

    return change


UNUSUAL_PARTS = {
    "indices of other bytes": with_types(">i4", ">i4", "f8"),
    "all of other bytes": with_types(">i8", ">i8", ">f8"),
    "starts of other bytes": with_types("i4", ">i8", "f8"),
    "short indices": with_types("i2", "i2", "f8"),
    "unsigned indices": with_types("u2", "u8", "f8"),
    "two types of indices": with_types("i4", "i8", "f8"),
    "another order": shuffled,
}


@pytest.mark.parametrize("kind", UNUSUAL_PARTS)
@pytest.mark.parametrize("algorithm", ["alternating", "one_step"])
@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csc_matrix])
def test_sparse_matrices_of_unusual_parts(kind, algorithm, container):
    matrix = UNUSUAL_PARTS[kind](container(ROUND))
    before = [part.copy() for part in (matrix.indices, matrix.indptr, matrix.data)]
    expected = relu(algorithm=algorithm).fit(ROUND, Y).decision_function(ROUND)
    found = relu(algorithm=algorithm).fit(matrix, Y).decision_function(matrix)
    np.testing.assert_allclose(found, expected, 1e-7, 1e-9)
    for part, was in zip((matrix.indices, matrix.indptr, matrix.data), before):
        assert part.dtype == was.dtype
        np.testing.assert_array_equal(part, was)  # the caller's own


def test_a_sound_csr_matrix_is_not_copied():
    for index in (np.int32, np.int64):
        matrix = with_types(index, index, "f4")(sparse.csr_array(ROUND))
        read = read_sparse(matrix)
        for part in ("indptr", "indices", "data"):
            assert np.shares_memory(getattr(read, part), getattr(matrix, part)), part


# --------------------------------------------------------------------- sparse frames


def sparse_frame(dtype="float64", fill=0):
    frame = pd.DataFrame(ROUND, columns=list("abcde"))
    return frame.astype(pd.SparseDtype(dtype, fill))


@pytest.mark.parametrize(
    ("dtype", "counted"),
    [("float64", "float64"), ("float32", "float32"), ("int16", "float64")],
)
def test_sparse_frames_are_read_as_csr(dtype, counted, monkeypatch):
    def become_dense(frame, *arguments, **others):
        pytest.fail("a sparse frame became dense")

    frame = sparse_frame(dtype)
    expected = relu().fit(ROUND.astype(counted), Y).transform(ROUND.astype(counted))
    with monkeypatch.context() as patch:
        patch.setattr(pd.DataFrame, "__array__", become_dense)
        patch.setattr(pd.DataFrame, "to_numpy", become_dense)
        model = relu().fit(frame, Y)
        found = model.transform(frame)
    assert found.dtype == np.dtype(counted)
    np.testing.assert_allclose(found, expected, 1e-4, 1e-4)
    assert model.feature_names_in_.tolist() == list("abcde")
    refused(lambda: model.transform(frame[list("bacde")]), "same order")
    refused(lambda: model.transform(frame[list("abcd")]), "feature names")


def test_sparse_frames_of_which_no_csr_is_made(models):
    frame = sparse_frame()
    remedy = r"X\.sparse\.to_dense\(\)"
    for name in ("gd", "conv probe"):
        refused(lambda name=name: models[name].predict(frame), remedy)
    for fill in (np.nan, 1.0):
        words = rf"X is a sparse frame of 5 columns.*{fill}.*{remedy}"
        for model in (relu(), LinearProbe(), LinearProbe(models["alternating"])):
            given = sparse_frame(fill=fill), y
            refused(lambda model=model, given=given: model.fit(*given), words)


def test_frames_of_which_some_columns_are_sparse():
    frame = sparse_frame().assign(a=ROUND[:, 0])
    expected = relu().fit(ROUND, Y).transform(ROUND)
    with pytest.warns(UserWarning, match="converted to a dense"):
        found = relu().fit(frame, Y).transform(frame)
    np.testing.assert_allclose(found, expected)


def test_columns_named_like_methods_of_frames():
    names = ["sparse", "schema", "collect", "column_names", "dtype"]
    frame = pd.DataFrame(ROUND, columns=names)
    labels = pd.DataFrame(Y, columns=names[:4])
    model = relu().fit(frame, labels)
    assert model.task_names_.tolist() == names[:4]
    np.testing.assert_array_equal(
        model.hidden_weights_, relu().fit(ROUND, Y).hidden_weights_
    )


def test_lazy_frames_are_told_to_be_collected():
    refused(lambda: relu().fit(pl.DataFrame(X).lazy(), Y), r"X is.*X\.collect\(\)")
