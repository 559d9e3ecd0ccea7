"""Patches of images, signals and rows of patches, and the cells they are pooled in."""

import functools
import math
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

# "auto" per axis; inputs with an axis shorter than this are small
AUTO_KERNEL_SIZE = 5
SMALL_KERNEL_SIZE = 3
SMALL_INPUT = 16
AUTO_CELLS = 4

# Numbers of a block where all rows are visited: few enough for the cache.
PATCH_ENTRIES = 2**20

AXES = {1: ("length",), 2: ("n_patches",), 3: ("height", "width")}


@dataclass(frozen=True)
class PatchGrid:
    """Where filters act on an input, and how their responses are pooled.

    An input is a signal of shape (length,), a row of patches (n_patches, patch_dim) or
    an image (channels, height, width). Filters move along its axes: all but the
    channels of an image, the first one of a row of patches.

    Attributes
    ----------
    input_shape : tuple of int
    kernel_size, stride : tuple of int, one per axis
    pooling : "sum", "mean" or tuple of int, the number of cells per axis
    """

    input_shape: tuple[int, ...]
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    pooling: str | tuple[int, ...]

    @property
    def is_row(self) -> bool:
        """Whether an input is a row of patches."""
        return len(self.input_shape) == 2

    @property
    def axes(self) -> tuple[int, ...]:
        """Lengths of the axes along which filters move."""
        return _moving_axes(self.input_shape)

    @property
    def positions(self) -> tuple[int, ...]:
        """Number of patches along each axis."""
        steps = zip(self.axes, self.kernel_size, self.stride)
        return tuple((length - size) // stride + 1 for length, size, stride in steps)

    @property
    def n_positions(self) -> int:
        return math.prod(self.positions)

    @property
    def n_cells(self) -> int:
        return 1 if isinstance(self.pooling, str) else math.prod(self.pooling)

    @property
    def filter_shape(self) -> tuple[int, ...]:
        """Shape of a filter, as the caller sees it."""
        if len(self.input_shape) == 3:
            return (self.input_shape[0], *self.kernel_size)
        if len(self.input_shape) == 1:
            return self.kernel_size
        size, patch_dim = self.kernel_size[0], self.input_shape[1]
        return (patch_dim,) if size == 1 else (size, patch_dim)

    @property
    def patch_dim(self) -> int:
        """Number of weights of a filter."""
        return math.prod(self.filter_shape)

    def block_rows(self, n_filters: int) -> int:
        """Rows whose patches and responses fit in a block of memory."""
        of_row = self.n_positions * (self.patch_dim + 2 * n_filters)
        return max(1, PATCH_ENTRIES // of_row)

    def places(self) -> np.ndarray:
        """Entry of a flattened input that each weight of a filter meets.

        Of shape (n_positions, patch_dim).
        """
        entries = np.arange(math.prod(self.input_shape)).reshape(self.input_shape)
        if len(self.input_shape) == 3:
            windows = sliding_window_view(entries, self.kernel_size, axis=(1, 2))
            rows, columns = self.stride
            windows = windows[:, ::rows, ::columns].transpose(1, 2, 0, 3, 4)
        else:
            windows = sliding_window_view(entries, self.kernel_size[0], axis=0)
            windows = np.moveaxis(windows[:: self.stride[0]], -1, 1)
        return np.array(windows.reshape(self.n_positions, self.patch_dim))

    def extract(self, rows: Tensor, places: Tensor) -> Tensor:
        """Patches of flattened inputs.

        Parameters
        ----------
        rows : Tensor of shape (n_samples, prod(input_shape))
        places : int64 Tensor of shape (n_positions, patch_dim)

        Returns
        -------
        Tensor of shape (n_samples, n_positions, patch_dim)
            A view where each entry is in one patch, in the order of the row.
        """
        in_order = len(self.input_shape) < 3 and self.kernel_size == self.stride == (1,)
        entries = rows if in_order else rows.index_select(1, places.ravel())
        return entries.view(len(rows), self.n_positions, self.patch_dim)

    def pooling_matrix(self) -> np.ndarray:
        """Weight of each position in each cell, of shape (n_cells, n_positions).

        Cells of a grid are means; where positions do not divide evenly, neighbouring
        cells overlap.
        """
        if isinstance(self.pooling, str):
            weight = 1.0 if self.pooling == "sum" else 1 / self.n_positions
            return np.full((1, self.n_positions), weight)
        along = map(_cell_means, self.positions, self.pooling)
        return functools.reduce(np.kron, along)


def _moving_axes(input_shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(input_shape) == 3:
        return input_shape[1:]
    return input_shape[:1]


def _cell_means(n_positions: int, n_cells: int) -> np.ndarray:
    """Means over cells of one axis, of shape (n_cells, n_positions)."""
    cells, positions = np.arange(n_cells)[:, None], np.arange(n_positions)
    first = cells * n_positions // n_cells
    last = -(-(cells + 1) * n_positions // n_cells)  # exclusive, rounded up
    members = (first <= positions) & (positions < last)
    return members / members.sum(axis=1, keepdims=True)


def make_patch_grid(
    input_shape: tuple[int, ...], kernel_size: Any, stride: Any, pooling: Any
) -> PatchGrid:
    """Resolve "auto" and None, and check that filters and cells fit the input.

    Parameters
    ----------
    input_shape : tuple of 1 to 3 ints
    kernel_size : int, tuple of int or "auto"
        "auto" is one patch for a row of patches; else 5, or 3 where an axis is shorter
        than 16, at most the axis.
    stride : int, tuple of int or None
        None is half the kernel, at least 1.
    pooling : "sum", "mean", int, tuple of int or "auto"
        "auto" is "sum" for a row of patches, else 4 cells per axis, at most its
        positions.

    Raises
    ------
    ValueError
        If a kernel exceeds its axis, cells exceed the positions, or a tuple has
        another length than there are axes.
    """
    lengths, names = _moving_axes(input_shape), AXES[len(input_shape)]
    is_row = len(input_shape) == 2
    if isinstance(kernel_size, str):
        is_small = min(lengths) < SMALL_INPUT
        size = SMALL_KERNEL_SIZE if is_small else AUTO_KERNEL_SIZE
        sizes = tuple(1 if is_row else min(size, n) for n in lengths)
    else:
        sizes = _per_axis("kernel_size", kernel_size, names)
    for name, length, size in zip(names, lengths, sizes):
        if size > length:
            raise ValueError(
                f"kernel_size={kernel_size} is larger than the input: {size} along an "
                f"axis of {length} ({name} of input_shape={input_shape}). Lower "
                "kernel_size."
            )
    if stride is None:
        strides = tuple(max(1, size // 2) for size in sizes)
    else:
        strides = _per_axis("stride", stride, names)
    grid = PatchGrid(input_shape, sizes, strides, "sum")
    if pooling == "auto" and not is_row:
        cells = tuple(min(AUTO_CELLS, n) for n in grid.positions)
    elif isinstance(pooling, str):
        return grid if pooling == "auto" else replace(grid, pooling=pooling)
    else:
        cells = _per_axis("pooling", pooling, names)
    for name, n_positions, n_cells in zip(names, grid.positions, cells):
        if n_cells > n_positions:
            raise ValueError(
                f"pooling={pooling} asks for {n_cells} cells along {name}, where "
                f"filters have {n_positions} positions. Lower pooling or stride."
            )
    return replace(grid, pooling=cells)


def _per_axis(name: str, value: Any, axes: tuple[str, ...]) -> tuple[int, ...]:
    values = (value,) * len(axes) if isinstance(value, Integral) else tuple(value)
    if len(values) != len(axes) or any(
        not isinstance(v, Integral) or v < 1 for v in values
    ):
        raise ValueError(
            f"{name}={value!r} should be a positive int, or one for each of the "
            f"{len(axes)} axes ({', '.join(axes)}) along which filters move."
        )
    return tuple(map(int, values))
