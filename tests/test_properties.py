"""Properties of small parts, on inputs that hypothesis draws."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array

from mtrl_sklearn._arrays.products import csr_tensor
from mtrl_sklearn._arrays.rows import Rows, block_slices
from mtrl_sklearn._labels.columns import is_missing
from mtrl_sklearn._labels.encoding import learn_encoding
from mtrl_sklearn._labels.roc_auc import mean_roc_auc, pair_roc_auc
from mtrl_sklearn._labels.signs import (
    count_signs,
    keep_tasks,
    labels_per_row,
    pack_signs,
)
from mtrl_sklearn._relu.spectral import candidate_ranks, truncate
from mtrl_sklearn._training.losses import MultiTaskLoss, log_odds, task_weights
from mtrl_sklearn.metrics import (
    masked_roc_auc,
    multitask_accuracy_score,
    multitask_roc_auc_score,
)

some = settings(max_examples=40, derandomize=True, deadline=None, database=None)

# Labels of one column, by type, and the dtypes that hold them.
POOLS = {
    "bool": ([False, True], [bool, object]),
    "int": ([-3, 0, 1, 7, 200], [np.int16, np.int64, float, np.float32, object]),
    "float": ([-1.5, 0.25, 3.0], [float, object]),
    "text": (["", "a", "bb", "yes please", "1"], [str, object, "<U12"]),
}


@st.composite
def pools(draw):
    """A few labels of one type, and the dtypes that hold them."""
    kind = draw(st.sampled_from(sorted(POOLS)))
    pool, dtypes = POOLS[kind]
    size = 2 if kind == "float" else draw(st.sampled_from([1, 2, 2, len(pool)]))
    return draw(st.permutations(pool))[:size], dtypes


@st.composite
def columns(draw, n_rows, pool=None):
    """Labels of one type, some of them missing where the dtype can say so."""
    several, dtypes = pool or draw(pools())
    labels = draw(st.lists(st.sampled_from(several), min_size=n_rows, max_size=n_rows))
    dtype = draw(st.sampled_from(dtypes))
    column = np.array(labels, dtype=dtype)
    if column.dtype.kind in "fO":
        hidden = draw(st.lists(st.booleans(), min_size=n_rows, max_size=n_rows))
        column[np.array(hidden, dtype=bool)] = None if dtype is object else np.nan
    return column


@st.composite
def tables(draw):
    """A wide y of columns of one type, or a frame of columns of any types."""
    n_rows, n_columns = draw(st.integers(2, 7)), draw(st.integers(1, 5))
    if draw(st.booleans()):
        parts = {f"c{k}": draw(columns(n_rows)) for k in range(n_columns)}
        y = pd.DataFrame(parts)
    else:
        pool = draw(pools())
        y = np.column_stack([draw(columns(n_rows, pool)) for _ in range(n_columns)])
    values = y.to_numpy(dtype=object) if isinstance(y, pd.DataFrame) else y
    assume(not all(map(is_missing, values.ravel().tolist())))
    return y


def learn(y, tasks=None):
    """The encoding, unless labels turn out to be continuous or not of one type."""
    try:
        return learn_encoding(y, tasks)
    except ValueError as error:
        assume(not any(w in str(error) for w in ("continuous", "mix", "same name")))
        raise


def entries(y):
    return np.asarray(y, dtype=object) if isinstance(y, pd.DataFrame) else y


def same_encoding(first, second):
    assert first.form == second.form
    assert_array_equal(first.outputs, second.outputs)
    assert len(first.classes) == len(second.classes)
    for a, b in zip(first.classes, second.classes, strict=True):
        assert a.dtype == b.dtype
        assert_array_equal(a, b)


@some
@given(tables())
def test_decoding_the_signs_of_labels_gives_these_labels(y):
    encoding = learn(y)
    signs = encoding.encode(y)
    assert signs.shape == (len(y), encoding.n_tasks)
    decoded, given_labels = encoding.decode(signs), entries(y)
    starts = np.cumsum(encoding.tasks_per_output) - encoding.tasks_per_output
    observed = signs[:, starts] != 0
    for row, column in np.ndindex(observed.shape):
        label = given_labels[row, column]
        assert observed[row, column] != is_missing(label)
        if observed[row, column]:
            assert decoded[row, column] == label
    assert_array_equal(
        encoding.encode(decoded)[np.repeat(observed, encoding.tasks_per_output, 1)],
        signs[np.repeat(observed, encoding.tasks_per_output, 1)],
    )


@some
@given(tables(), st.randoms(use_true_random=False))
def test_order_of_rows_and_columns_does_not_matter(y, random):
    frame = pd.DataFrame(y)
    frame.columns = [f"c{k}" for k in range(frame.shape[1])]
    encoding = learn(frame)
    signs = encoding.encode(frame)
    rows = random.sample(range(len(frame)), len(frame))
    names = random.sample(list(frame.columns), frame.shape[1])
    moved = frame.iloc[rows][names]
    assert_array_equal(encoding.encode(moved), signs[rows])
    other = learn(moved)
    by_name = dict(zip(other.outputs.tolist(), other.classes))
    for name, classes in zip(encoding.outputs.tolist(), encoding.classes):
        assert_array_equal(by_name[name], classes)
    tasks = {name: k for k, name in enumerate(other.task_names.tolist())}
    order = [tasks[name] for name in encoding.task_names.tolist()]
    assert_array_equal(other.encode(moved)[:, order], signs[rows])


@some
@given(st.data())
def test_the_long_form_is_the_wide_form(data):
    n_rows, n_tasks = data.draw(st.integers(2, 6)), data.draw(st.integers(1, 4))
    pool = data.draw(pools())
    y = np.column_stack([data.draw(columns(n_rows, pool)) for _ in range(n_tasks)])
    y = y.astype(object)
    missing = np.frompyfunc(is_missing, 1, 1)(y).astype(bool)
    assume(not missing.all(axis=0).any())
    wide = learn(pd.DataFrame(y, columns=[f"t{k}" for k in range(n_tasks)]))
    rows, tasks = np.nonzero(~missing)
    order = data.draw(st.permutations(range(len(rows))))
    rows, tasks = rows[order], tasks[order]
    ids = np.array([f"t{k}" for k in tasks])
    long = learn(y[rows, tasks], ids)
    assert_array_equal(long.outputs, wide.outputs)
    for a, b in zip(long.classes, wide.classes):
        assert_array_equal(a, b)
    signs = long.encode(y[rows, tasks], ids)
    together = np.zeros((n_rows, long.n_tasks), dtype=np.int8)
    np.add.at(together, rows, signs)
    assert_array_equal(together, wide.encode(y))


@some
@given(st.data())
def test_an_encoding_depends_on_the_distinct_labels_of_each_output_alone(data):
    """Ranks rely on it: they exchange these, and learn from them joined."""
    n_rows = data.draw(st.integers(2, 9))
    y = data.draw(columns(n_rows))
    observed = ~np.array([is_missing(v) for v in y.tolist()], dtype=bool)
    assume(observed.any())
    cut = data.draw(st.integers(0, n_rows))
    parts = [
        np.unique(p[o])
        for p, o in ((y[:cut], observed[:cut]), (y[cut:], observed[cut:]))
        if o.any()
    ]
    same_encoding(learn(y), learn(np.concatenate(parts)))

    ids = np.array(
        data.draw(st.lists(st.sampled_from("uvw"), min_size=n_rows, max_size=n_rows))
    )
    pairs = []
    for part in (slice(None, cut), slice(cut, None)):
        found = {
            (i, v): k
            for k, (i, v) in enumerate(zip(ids[part], y[part]))
            if not is_missing(v)
        }
        places = np.array(sorted(found.values()), dtype=int) + (part.start or 0)
        pairs.append((y[places], ids[places]))
    labels, tasks = map(np.concatenate, zip(*pairs))
    whole = learn(y[observed], ids[observed])
    same_encoding(whole, learn(labels, tasks))
    assert_array_equal(
        whole.encode(y, np.where(observed, ids, tasks[0])),
        learn(labels, tasks).encode(y, np.where(observed, ids, tasks[0])),
    )


@some
@given(st.data())
def test_wide_labels_depend_on_the_distinct_ones_of_each_column(data):
    n_rows = data.draw(st.integers(2, 9))
    kind = data.draw(st.sampled_from(["int", "text"]))
    dtype = {"int": np.int32, "text": "<U12"}[kind]
    pool = POOLS[kind][0]
    draw_column = st.lists(st.sampled_from(pool), min_size=n_rows, max_size=n_rows)
    y = np.array([data.draw(draw_column) for _ in range(3)], dtype=dtype).T
    few = [np.unique(column) for column in y.T]
    longest = max(map(len, few))
    distinct = np.column_stack([np.resize(values, longest) for values in few])
    same_encoding(learn(y), learn(distinct))


# ----------------------------------------------------------------------------- masks


@st.composite
def labelled(draw):
    """Signs of shape (n, T), some 0, and scores."""
    shape = draw(st.tuples(st.integers(1, 7), st.integers(1, 5)))
    seed = draw(st.integers(0, 2**31))
    rng = np.random.default_rng(seed)
    share = draw(st.sampled_from([0.1, 0.5, 1.0]))
    signs = rng.choice([-1, 1], size=shape) * (rng.random(shape) < share)
    scores = rng.choice([-5.0, 0.0, 0.5, 2.0, 40.0], size=shape)
    return signs.astype(np.int8), scores, rng


def to_tensor_csr(signs):
    matrix = csr_array(signs)
    parts = (matrix.indptr, matrix.indices, matrix.data)
    return csr_tensor(*map(torch.from_numpy, parts), matrix.shape)


@some
@given(labelled(), st.sampled_from(["logistic", "hinge"]))
def test_hidden_labels_never_influence_a_loss(drawn, loss):
    signs, scores, rng = drawn
    weights = torch.from_numpy(rng.random(signs.shape[1]))
    criterion = MultiTaskLoss(loss, weights)
    other = np.where(signs == 0, rng.choice([-1e3, 7.0, 1e8], size=signs.shape), scores)
    labels = criterion.read(torch.from_numpy(signs))
    a, b = (torch.from_numpy(s) for s in (scores, other))
    assert criterion.value(a, labels) == criterion.value(b, labels)
    gradient = criterion.gradient(a, labels).numpy()
    assert_array_equal(gradient, criterion.gradient(b, labels).numpy())
    assert not gradient[signs == 0].any()
    assert (gradient * signs <= 0).all()  # scores move towards their labels


@some
@given(labelled(), st.sampled_from(["logistic", "hinge"]))
def test_losses_of_sparse_signs_are_those_of_dense_ones(drawn, loss):
    signs, scores, rng = drawn
    criterion = MultiTaskLoss(loss, torch.from_numpy(rng.random(signs.shape[1])))
    dense = criterion.read(torch.from_numpy(signs))
    packed = criterion.read(to_tensor_csr(signs))
    of_labels = torch.from_numpy(scores[np.nonzero(signs)])
    everything = torch.from_numpy(scores)
    assert_allclose(
        criterion.value(of_labels, packed), criterion.value(everything, dense)
    )
    gradient = criterion.gradient(of_labels, packed).to_dense()
    assert_allclose(gradient, criterion.gradient(everything, dense), atol=1e-15)


@some
@given(labelled())
def test_signs_are_the_same_dense_and_sparse(drawn):
    signs, scores, rng = drawn
    packed = csr_array(signs)
    for dense, sparse in zip(count_signs(signs), count_signs(packed)):
        assert_array_equal(dense, sparse)
    assert_array_equal(labels_per_row(signs), labels_per_row(packed))
    usable = rng.random(signs.shape[1]) < 0.5
    kept = keep_tasks(signs, usable)
    assert_array_equal(keep_tasks(packed, usable).toarray(), kept)
    assert not kept[:, ~usable].any()
    again = pack_signs(signs)
    assert_array_equal(again if again is signs else again.toarray(), signs)
    rows, tasks = packed.nonzero()
    of_pairs = pair_roc_auc(tasks, packed.data, scores[rows, tasks], signs.shape[1])
    assert_allclose(of_pairs, masked_roc_auc(signs, scores))
    weights = rng.random(len(signs)) + 0.1
    for sample_weight in (None, weights):
        assert_allclose(
            mean_roc_auc(packed, scores[rows, tasks], sample_weight),
            mean_roc_auc(signs, scores, sample_weight),
        )


@some
@given(labelled())
def test_hidden_labels_never_influence_a_score(drawn):
    signs, scores, rng = drawn
    Y = np.where(signs == 0, np.nan, signs)
    Y[0, 0], Y = (1, Y) if np.isnan(Y).all() else (Y[0, 0], Y)
    other = np.where(np.isnan(Y), rng.standard_normal(Y.shape), scores)
    for metric, predictions in (
        (multitask_roc_auc_score, (scores, other)),
        (multitask_accuracy_score, (np.sign(scores), np.sign(other))),
    ):
        first, second = (metric(Y, p, average=None) for p in predictions)
        assert_array_equal(first, second)
        assert ((first >= 0) & (first <= 1) | np.isnan(first)).all()


@some
@given(labelled(), st.permutations(range(5)))
def test_order_of_tasks_and_rows_does_not_matter_to_a_score(drawn, order):
    signs, scores, rng = drawn
    columns_ = [k for k in order if k < signs.shape[1]]
    rows = rng.permutation(len(signs))
    moved = masked_roc_auc(signs[rows][:, columns_], scores[rows][:, columns_])
    found = masked_roc_auc(signs, scores)
    assert_allclose(moved, found[columns_])
    assert_allclose(masked_roc_auc(-signs, scores), 1 - found)
    assert_allclose(masked_roc_auc(signs, np.arctan(scores)), found)


@some
@given(labelled(), st.sampled_from(["observed", "equal"]))
def test_weights_of_labels_sum_to_one_over_usable_tasks(drawn, task_weight):
    signs, *_ = drawn
    n_positive, n_negative = count_signs(signs)
    weights = task_weights(n_positive, n_negative, task_weight)
    usable = (n_positive > 0) & (n_negative > 0)
    assert not weights[~usable].any()
    total = (weights * (n_positive + n_negative)).sum()
    assert total == pytest.approx(1.0 if usable.any() else 0.0)
    assert_allclose(log_odds(n_positive, n_negative), -log_odds(n_negative, n_positive))


# --------------------------------------------------------------------------- spectrum


@st.composite
def matrices(draw):
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    scale = 10.0 ** draw(st.integers(-6, 6))
    return scale * rng.standard_normal(shape), rng


@some
@given(matrices(), st.integers(1, 9))
def test_truncation_is_an_orthogonal_projection_of_the_rows(drawn, rank):
    W, _ = drawn
    rank = min(rank, *W.shape)
    subspace = truncate(W, rank)
    scale = subspace.singular_values[0]
    basis = subspace.components
    assert basis.shape == (rank, W.shape[1])
    assert_allclose(basis @ basis.T, np.eye(rank), atol=1e-12)
    assert_allclose(subspace.weights, W @ basis.T @ basis, atol=1e-12 * scale)
    # Eckart and Young: what is lost are the other singular values
    lost = np.linalg.norm(W - subspace.weights)
    expected = np.linalg.norm(subspace.singular_values[rank:])
    assert lost == pytest.approx(expected, abs=1e-12 * scale)
    again = truncate(subspace.weights, rank)
    assert_allclose(again.weights, subspace.weights, atol=1e-12 * scale)
    assert (np.diff(subspace.singular_values) <= 0).all()


@some
@given(matrices(), st.integers(1, 9), st.sampled_from([1e-8, 0.5, 1e8]))
def test_truncation_scales_and_turns_with_its_matrix(drawn, rank, factor):
    W, rng = drawn
    rank = min(rank, *W.shape)
    values = np.linalg.svd(W, compute_uv=False)
    gap = values[rank - 1] - (values[rank] if rank < len(values) else 0)
    assume(gap > 1e-3 * values[0])  # else the subspace is not defined
    found = truncate(W, rank).weights
    close = {"rtol": 1e-9, "atol": 1e-9 * values[0]}
    assert_allclose(truncate(factor * W, rank).weights / factor, found, **close)
    Q = np.linalg.qr(rng.standard_normal((W.shape[1],) * 2))[0]
    assert_allclose(truncate(W @ Q, rank).weights, found @ Q, **close)
    P = rng.permutation(len(W))
    assert_allclose(truncate(W[P], rank).weights, found[P], **close)


@some
@given(matrices(), st.sampled_from([1e-30, 1e-3, 1e30]))
def test_the_rank_that_is_found_does_not_depend_on_scale(drawn, factor):
    W, rng = drawn
    strong = np.diag(np.where(np.arange(12) < 2, 1.0, 0.01))
    clear = strong + 1e-3 * rng.standard_normal((12, 12))
    for matrix, expected in ((W, None), (clear, 2)):
        values = np.linalg.svd(matrix, compute_uv=False)
        ranks = candidate_ranks(values)
        assert expected is None or ranks[:1] == [expected]
        assert candidate_ranks(factor * values) == ranks


# ------------------------------------------------------------------------------- rows


@some
@given(st.integers(0, 9000), st.floats(0, 1e4))
def test_blocks_cover_all_rows_once(n_rows, width):
    blocks = list(block_slices(n_rows, width))
    covered = np.concatenate([np.arange(n_rows)[b] for b in blocks] or [[]])
    assert_array_equal(covered, np.arange(n_rows))
    assert all(b.stop > b.start for b in blocks)


@some
@given(st.data())
def test_rows_are_those_of_the_matrix(data):
    n_rows, n_columns = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 4))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    X = rng.integers(-3, 4, (n_rows, n_columns)).astype(
        data.draw(st.sampled_from(["int8", "float32", "float64"]))
    )
    places = st.integers(0, n_rows - 1)
    positions = data.draw(st.none() | st.lists(places, min_size=1))
    chosen = X if positions is None else X[positions]
    index = data.draw(
        st.lists(st.integers(0, len(chosen) - 1), min_size=1)
        | st.tuples(places, places).map(lambda ends: slice(*sorted(ends)))
    )
    place = index if isinstance(index, slice) else torch.tensor(index)
    for matrix in (X, np.asfortranarray(X), csr_array(X)):
        given_positions = None if positions is None else np.array(positions)
        rows = Rows(matrix, torch.float64, positions=given_positions)
        assert len(rows) == len(chosen)
        taken = rows.take(place)
        taken = taken if taken.layout == torch.strided else taken.to_dense()
        assert_array_equal(taken.numpy(), chosen[index].astype(float))
