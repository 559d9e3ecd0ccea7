"""The filters of a convolutional network, strongest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from mtrl_sklearn._arrays.validation import naming_numbers
from mtrl_sklearn._training.representation import Representation
from mtrl_sklearn.metrics import SILENT
from mtrl_sklearn.plotting._common import (
    BLUE,
    DIVERGING,
    check_count,
    check_estimator,
    get_axes,
    require_matplotlib,
    set_count_ticks,
    settle_layout,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Kind = Literal["image", "patch", "signal"]

# Dimensions of an array of filters of each kind.
DIMENSIONS: dict[str, tuple[int, ...]] = {
    "image": (4,),
    "patch": (2, 3),
    "signal": (2,),
}
KINDS: dict[int, Kind] = {3: "image", 2: "patch", 1: "signal"}  # by the axes of inputs

WIDTH = 6.4  # of a figure of small pictures, in inches
GAP = 0.3  # between small pictures, as a share of their width, for their titles
TITLE_SIZE = 6  # of the largest weight above a small picture, in points
CURVE_RATIO = 1.5  # width of the axes of a curve to their height
GRID_RATIO = 1.6  # the same of the whole grid in a figure of its own
MANY_ENTRIES = 400  # more columns than pixels would be dropped, so they are blended
MARKED = 40  # up to so many weights of a signal's filter have a marker each


class FilterDisplay:
    """Filters of a convolutional network, the strongest first.

    Filters of images become small pictures, in colour where they have three channels,
    else with their channels side by side, purple above 0 and orange below; those of
    signals become curves. Each is scaled by its own largest weight, which stands above
    it; a bar tells the sign of shades. Filters of patches are the rows of a heat
    map with one scale for all. A filter of less than a hundredth of the largest norm
    has no part in what the network does, and is left out.

    Parameters
    ----------
    filters : array-like of shape (n_all, channels, height, width), \
            (n_all, patch_dim), (n_all, kernel_size, patch_dim) or (n_all, kernel_size)
        Weights, not all 0.
    kind : {"image", "patch", "signal"}
        What the filters act on.
    n_filters : int, default=32
        Largest number of filters that are shown.

    Attributes
    ----------
    order_ : ndarray of shape (n_shown,), int
        Filters that are shown, in that order.
    n_silent_ : int
        Number of filters left out for their small norm.
    ax_ : matplotlib Axes
        The axes that hold all others.
    axes_ : ndarray of shape (n_shown,) or (1,), matplotlib Axes
        One for each filter of images or signals; ``ax_`` alone for patches.
    figure_ : matplotlib Figure

    Raises
    ------
    ValueError
        If the shape does not suit ``kind``, weights are not finite, or all are 0.

    Examples
    --------
    >>> from mtrl_sklearn import ConvMultiTaskClassifier
    >>> from mtrl_sklearn.datasets import make_patch_tasks
    >>> from mtrl_sklearn.plotting import FilterDisplay
    >>> X, y, tasks, *_ = make_patch_tasks(n_tasks=4, n_features=20, random_state=0)
    >>> classifier = ConvMultiTaskClassifier(16, random_state=0).fit(X, y, tasks)
    >>> display = FilterDisplay.from_estimator(classifier)
    >>> len(display.order_) + display.n_silent_
    16
    """

    order_: np.ndarray
    n_silent_: int
    ax_: Axes
    axes_: np.ndarray
    figure_: Figure | SubFigure

    def __init__(self, filters: ArrayLike, *, kind: Kind, n_filters: int = 32):
        if kind not in list(DIMENSIONS):
            raise ValueError(f"kind should be one of {list(DIMENSIONS)}, got {kind!r}.")
        with naming_numbers(filters, "filters") as given:
            weights = check_array(
                given, dtype=np.float64, allow_nd=True, input_name="filters"
            )
        if weights.ndim not in DIMENSIONS[kind]:
            wanted = " or ".join(map(str, DIMENSIONS[kind]))
            raise ValueError(
                f"filters of kind={kind!r} should have {wanted} dimensions, got shape "
                f"{weights.shape}. Pass filters_ of a fitted ConvMultiTaskClassifier, "
                "or the kind that they are of."
            )
        if not weights.any():
            raise ValueError("filters are all 0. Pass filters that were trained.")
        self.filters = weights
        self.kind = kind
        check_count(n_filters, "n_filters")
        self.n_filters = n_filters

    @classmethod
    def from_estimator(
        cls,
        classifier: Representation,
        *,
        n_filters: int = 32,
        ax: Axes | None = None,
    ) -> FilterDisplay:
        """Plot the filters of a fitted network.

        Parameters
        ----------
        classifier : ConvMultiTaskClassifier
            Fitted; or another `Representation` with ``filters_`` and ``input_shape_``.
        n_filters : int, default=32
            Largest number of filters that are shown.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        display : FilterDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If it is an estimator without these.
        NotFittedError
            If it is not fitted.
        ValueError
            If ``n_filters`` is below 1.
        """
        require_matplotlib(f"{cls.__name__}.from_estimator")
        attributes = ("filters_", "input_shape_")
        check_estimator(classifier, "classifier", "ConvMultiTaskClassifier", attributes)
        filters, shape = (getattr(classifier, name) for name in attributes)
        return cls(filters, kind=KINDS[len(shape)], n_filters=n_filters).plot(ax)

    def plot(self, ax: Axes | None = None) -> FilterDisplay:
        """Draw the filters.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        self : FilterDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        norms = np.linalg.norm(self.filters.reshape(len(self.filters), -1), axis=1)
        audible = norms > SILENT * norms.max()
        self.n_silent_ = int((~audible).sum())
        strongest = np.argsort(-norms, kind="stable")
        self.order_ = strongest[audible[strongest]][: self.n_filters]
        shown = self.filters[self.order_]
        if self.kind == "patch":
            self._draw_rows(ax, shown)
        else:
            self._draw_grid(ax, shown)
        return self

    def _count(self) -> str:
        """How many filters are shown, of how many, and why."""
        n_all, n_shown = len(self.filters), len(self.order_)
        told = f"{n_shown} of {n_all} filters, the strongest first"
        if n_shown == n_all:
            told = f"all {n_all} filters, the strongest first"
        if self.kind == "signal":
            told += f", {self.filters.shape[1]} weights each"
        if self.n_silent_:
            told += f"\n{self.n_silent_} silent ones left out"
        return told

    def _draw_rows(self, ax: Axes | None, shown: np.ndarray) -> None:
        ax = get_axes(ax, self)
        self.ax_, self.figure_, self.axes_ = ax, ax.figure, np.array([ax])
        rows = shown.reshape(len(shown), -1)
        largest = np.abs(rows).max()
        image = ax.imshow(
            rows,
            cmap=DIVERGING,
            vmin=-largest,
            vmax=largest,
            aspect="auto",
            extent=(-0.5, rows.shape[1] - 0.5, len(rows) + 0.5, 0.5),
            interpolation="nearest" if rows.shape[1] <= MANY_ENTRIES else "auto",
        )
        ax.figure.colorbar(image, ax=ax, label="weight")
        set_count_ticks(ax.yaxis, len(rows))
        if shown.ndim == 3:
            n_patches, patch_dim = shown.shape[1:]
            for edge in patch_dim * np.arange(1, n_patches) - 0.5:
                ax.axvline(edge, color="black", linewidth=1)
            ax.set_xlabel(f"entries of {n_patches} neighbouring patches")
        else:
            ax.set_xlabel("entries of a patch")
        ax.set_ylabel(self._count())

    def _draw_grid(self, ax: Axes | None, shown: np.ndarray) -> None:
        pictures = _to_pictures(shown) if self.kind == "image" else list(shown)
        ratio = CURVE_RATIO
        if self.kind == "image":
            ratio = pictures[0].shape[1] / pictures[0].shape[0]
        whole = GRID_RATIO
        if ax is not None:
            settle_layout(ax)
            whole = ax.get_window_extent().width / ax.get_window_extent().height
        n_columns = _choose_columns(len(shown), ratio, whole)
        n_rows = -(-len(shown) // n_columns)
        figure_height = np.clip(WIDTH * n_rows / (n_columns * ratio) + 0.4, 1.2, 8)
        ax = get_axes(ax, self, figsize=(WIDTH, float(figure_height)))
        self.ax_, self.figure_ = ax, ax.figure
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
        ax.set_xlabel(f"{self._count()}\n± above each: its largest weight")
        width, height = (1 / (n + (n - 1) * GAP) for n in (n_columns, n_rows))
        step = 1 + GAP
        self.axes_ = np.array(
            [
                ax.inset_axes(
                    (
                        k % n_columns * step * width,
                        (n_rows - 1 - k // n_columns) * step * height,
                        width,
                        height,
                    )
                )
                for k in range(len(shown))
            ]
        )
        if self.kind == "image":
            _draw_scale(ax, pictures[0].ndim == 3)
        for small, picture, filter_ in zip(self.axes_, pictures, shown):
            small.set_xticks([])
            small.set_yticks([])
            largest = np.abs(filter_).max()
            small.set_title(f"±{largest:.2g}", size=TITLE_SIZE, pad=1.5)
            if self.kind == "image":
                _draw_picture(small, picture)
            else:
                _draw_signal(small, picture)


def _choose_columns(n_pictures: int, ratio: float, whole: float) -> int:
    """Columns of a grid that has about a wanted shape, and few empty places.

    ``ratio`` and ``whole`` are those of width to height of a picture and of the grid.
    """
    wanted = np.sqrt(n_pictures * whole / ratio)
    columns = np.arange(1, n_pictures + 1)
    empty = -n_pictures % columns / n_pictures
    return int(columns[(2 * empty + np.abs(np.log(columns / wanted))).argmin()])


def _to_pictures(filters: np.ndarray) -> list[np.ndarray]:
    """Filters of images as pictures from 0 to 1, where 0.5 is no weight.

    Of shape (height, width, 3) for three channels, else (height, width) with the
    channels side by side and a column of NaN between them.
    """
    largest = np.abs(filters).max(axis=(1, 2, 3), keepdims=True)
    shades = 0.5 + filters / (2 * largest)
    if shades.shape[1] == 3:
        return list(shades.transpose(0, 2, 3, 1))
    gaps = np.full((*shades.shape[:3], 1), np.nan)
    spaced = np.concatenate([shades, gaps], axis=3)  # a gap after each channel
    strips = spaced.transpose(0, 2, 1, 3).reshape(len(shades), shades.shape[2], -1)
    return list(strips[:, :, :-1])


def _draw_picture(ax: Axes, picture: np.ndarray) -> None:
    options: dict[str, Any] = {"cmap": DIVERGING, "vmin": 0, "vmax": 1}
    ax.imshow(picture, interpolation="nearest", **options)
    ax.spines[:].set_visible(False)


def _draw_scale(ax: Axes, is_colour: bool) -> None:
    """A bar that tells which shade is which weight; of colours, in each channel."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    cmap, label = (
        ("gray", "weight in red, green, blue") if is_colour else (DIVERGING, "weight")
    )
    shades = ScalarMappable(Normalize(-1, 1), cmap)
    bar = ax.figure.colorbar(shades, ax=ax, ticks=[-1, 0, 1], label=label, shrink=0.6)
    bar.ax.set_yticklabels(["-largest", "0", "+largest"])


def _draw_signal(ax: Axes, weights: np.ndarray) -> None:
    largest = np.abs(weights).max()
    marker = "o" if len(weights) <= MARKED else ""
    ax.axhline(0, color="black", linewidth=0.5)
    ax.plot(weights, color=BLUE, marker=marker, markersize=2, linewidth=1.2)
    ax.set_ylim(-1.15 * largest, 1.15 * largest)
    ax.spines[:].set_alpha(0.3)
