"""Geometry of patches and cells against torch's own convolutions and poolings."""

import numpy as np
import pytest
import torch
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d, conv1d, conv2d

from mtrl_sklearn._conv.patches import make_patch_grid


def normal(*shape):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def convolve(grid, X, filters):
    """Responses of shape (n_samples, n_positions, n_filters)."""
    places = torch.from_numpy(grid.places())
    return grid.extract(X, places) @ filters.T


@pytest.mark.parametrize("stride", [1, 2, (1, 3)])
@pytest.mark.parametrize("kernel", [1, 3, (2, 4), (7, 5)])
@pytest.mark.parametrize("channels", [1, 3])
def test_patches_of_images_are_those_of_conv2d(channels, kernel, stride):
    X = normal(4, channels, 7, 9)
    grid = make_patch_grid((channels, 7, 9), kernel, stride, "sum")
    filters = normal(5, *grid.filter_shape)
    expected = conv2d(X, filters, stride=stride)
    assert grid.positions == expected.shape[2:]
    responses = convolve(grid, X.reshape(4, -1), filters.reshape(5, -1))
    torch.testing.assert_close(responses.mT.reshape(expected.shape), expected)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 4, 11])
def test_patches_of_signals_are_those_of_conv1d(kernel, stride):
    X = normal(4, 11)
    grid = make_patch_grid((11,), kernel, stride, "sum")
    filters = normal(5, *grid.filter_shape)
    expected = conv1d(X[:, None], filters[:, None], stride=stride)
    torch.testing.assert_close(convolve(grid, X, filters).mT, expected)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 5])
def test_patches_of_rows_hold_whole_patches(kernel, stride):
    X = normal(4, 5, 3)
    grid = make_patch_grid((5, 3), kernel, stride, "sum")
    filters = normal(6, kernel, 3)
    # a patch is a position with as many channels as it has entries
    expected = conv1d(X.mT, filters.mT, stride=stride)
    responses = convolve(grid, X.reshape(4, -1), filters.reshape(6, -1))
    torch.testing.assert_close(responses.mT, expected)
    assert grid.filter_shape == ((3,) if kernel == 1 else (kernel, 3))


@pytest.mark.parametrize("shape", [(6,), (6, 5)])
def test_rows_of_separate_patches_are_not_copied(shape):
    X = normal(4, int(np.prod(shape)))
    grid = make_patch_grid(shape, 1, None, "sum")
    patches = grid.extract(X, torch.from_numpy(grid.places()))
    assert patches.data_ptr() == X.data_ptr()
    np.testing.assert_array_equal(patches.numpy().ravel(), X.numpy().ravel())
    other = make_patch_grid(shape, 1, 2, "sum")
    skipping = other.extract(X, torch.from_numpy(other.places()))
    torch.testing.assert_close(skipping, patches[:, ::2])


@pytest.mark.parametrize("n_cells", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("n_positions", [7, 8, 12, 13])
def test_cells_of_an_axis_are_those_of_adaptive_pooling(n_positions, n_cells):
    responses = normal(3, 2, n_positions)
    grid = make_patch_grid((n_positions,), 1, 1, n_cells)
    pooled = responses @ torch.from_numpy(grid.pooling_matrix()).T
    torch.testing.assert_close(pooled, adaptive_avg_pool1d(responses, n_cells))


@pytest.mark.parametrize("cells", [1, 2, (3, 2), (5, 7)])
def test_cells_of_a_plane_are_those_of_adaptive_pooling(cells):
    responses = normal(3, 2, 5, 7)
    grid = make_patch_grid((1, 5, 7), 1, 1, cells)
    pool = torch.from_numpy(grid.pooling_matrix())
    assert pool.shape == (grid.n_cells, grid.n_positions)
    pooled = responses.flatten(2) @ pool.T
    torch.testing.assert_close(pooled, adaptive_avg_pool2d(responses, cells).flatten(2))


def test_sum_and_mean_are_a_single_cell():
    for pooling, weight in (("sum", 1), ("mean", 1 / 6)):
        grid = make_patch_grid((6, 4), 1, None, pooling)
        np.testing.assert_allclose(grid.pooling_matrix(), np.full((1, 6), weight))
        assert grid.n_cells == 1
    means = make_patch_grid((6, 4), 1, None, 1).pooling_matrix()
    np.testing.assert_allclose(means, grid.pooling_matrix())


@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "pooling"),
    [
        ((2, 200), (1,), (1,), "sum"),
        ((3, 32, 32), (5, 5), (2, 2), (4, 4)),
        ((1, 8, 8), (3, 3), (1, 1), (4, 4)),
        ((1, 8, 64), (3, 3), (1, 1), (4, 4)),
        ((3, 2, 40), (2, 3), (1, 1), (1, 4)),
        ((100,), (5,), (2,), (4,)),
        ((10,), (3,), (1,), (4,)),
        ((4,), (3,), (1,), (2,)),
        ((1,), (1,), (1,), (1,)),
    ],
)
def test_what_auto_stands_for(shape, kernel, stride, pooling):
    grid = make_patch_grid(shape, "auto", None, "auto")
    assert (grid.kernel_size, grid.stride, grid.pooling) == (kernel, stride, pooling)
    assert grid.input_shape == shape


def test_numbers_count_for_each_axis():
    grid = make_patch_grid((3, 9, 8), np.int64(4), [2, 1], 2)
    assert grid.kernel_size == (4, 4)
    assert grid.stride == (2, 1)
    assert grid.pooling == (2, 2)
    assert grid.positions == (3, 5)
    assert all(type(v) is int for v in grid.kernel_size + grid.stride + grid.pooling)


@pytest.mark.parametrize(
    ("shape", "geometry", "message"),
    [
        ((3, 8, 6), (7, None, "auto"), r"kernel_size=7.*7 along an axis of 6 \(width"),
        ((3, 8, 9), ((9, 9), 1, 1), r"9 along an axis of 8 \(height.*Lower"),
        ((2, 200), (3, 1, "sum"), r"3 along an axis of 2 \(n_patches"),
        ((5,), (6, 1, "sum"), r"6 along an axis of 5 \(length"),
        ((3, 8, 8), (5, 2, 4), r"pooling=4 asks for 4 cells.*height.*have 2 positions"),
        ((3, 8, 8), (3, 1, (2, 7)), r"7 cells along width.*6 positions.*Lower pooling"),
        ((2, 200), (1, 1, (2, 2)), r"pooling=\(2, 2\).*each of the 1 axes"),
        ((3, 8, 8), ((3,), 1, 1), r"kernel_size=\(3,\).*2 axes \(height, width\)"),
        ((3, 8, 8), (3, (1, 0), 1), r"stride=\(1, 0\).*positive int"),
        ((3, 8, 8), (3, 1, (2.5, 2)), r"pooling=\(2.5, 2\).*positive int"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_numbers(shape, geometry, message):
    with pytest.raises(ValueError, match=message):
        make_patch_grid(shape, *geometry)


def test_blocks_of_rows_shrink_with_the_input_but_never_vanish():
    small = make_patch_grid((2, 10), 1, None, "sum").block_rows(8)
    large = make_patch_grid((3, 16, 16), 5, 1, 4).block_rows(64)
    huge = make_patch_grid((3, 2000, 2000), 5, 1, 4).block_rows(64)
    assert small > large > huge == 1
