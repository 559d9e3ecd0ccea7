"""Curves of a mean with the range of its repeats, and names beside their ends."""

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.isotonic import isotonic_regression
from sklearn.utils import check_array

from mtrl_sklearn._arrays.validation import naming_numbers
from mtrl_sklearn.plotting._common import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    settle_layout,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

STYLES: list[dict[str, Any]] = [
    {"color": BLUE, "marker": "o", "linewidth": 2.5},
    {"color": VERMILLION, "marker": "s"},
    {"color": BLACK, "marker": "D"},
    {"color": GREEN, "marker": "^"},
    {"color": PURPLE, "marker": "v"},
    {"color": ORANGE, "marker": "P"},
    {"color": SKY, "marker": "X"},
]

# Names are written beside the curves while they take less than this share of the width.
MAX_NAME_WIDTH = 0.4
LINE_OF_NAME = 24  # characters
NAME_GAP = 8  # points between a curve and its name

MAX_MARKERS = 20  # of a curve


def check_curves(
    x: ArrayLike, curves: ArrayLike | Mapping[str, ArrayLike], x_name: str, name: str
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Curves by name, with x ascending.

    Parameters
    ----------
    x : array-like of shape (n_x,)
    curves : array-like of shape (n_x,) or (n_x, n_repeats), or dict of such arrays
        NaN where unknown. A single curve has the name "".
    x_name, name : str
        What errors call ``x`` and ``curves``.

    Returns
    -------
    x : ndarray of shape (n_x,), float64
    curves : dict of ndarray of shape (n_x, n_repeats), float64
    """
    with naming_numbers(x, x_name) as given:
        places = check_array(
            given, dtype=np.float64, ensure_2d=False, input_name=x_name
        )
    if places.ndim != 1:
        raise ValueError(
            f"{x_name} should have shape (n_x,), got {places.shape}. Pass one number "
            "for each point of the curves."
        )
    order = places.argsort(kind="stable")
    named = curves if isinstance(curves, Mapping) else {"": curves}
    if not named:
        raise ValueError(f"{name} is an empty dict. Pass at least one curve.")
    checked = {}
    for key, values in named.items():
        told = f"{name}[{key!r}]" if isinstance(curves, Mapping) else name
        with naming_numbers(values, told) as given:
            table = check_array(
                given,
                dtype=np.float64,
                ensure_2d=False,
                ensure_all_finite="allow-nan",
                input_name=told,
            )
        if table.ndim > 2 or len(table) != len(places):
            raise ValueError(
                f"{told} has shape {table.shape}, but {x_name} has {len(places)} "
                f"entries. Pass an array of shape ({len(places)},) or "
                f"({len(places)}, n_repeats)."
            )
        checked[str(key)] = table.reshape(len(places), -1)[order]
    return places[order], checked


def grows_geometrically(x: np.ndarray) -> bool:
    """Whether the gaps of ascending positive numbers double at least."""
    gaps = np.diff(np.unique(x))
    return bool(len(gaps) > 1 and x[0] > 0 and gaps.max() >= 2 * gaps.min())


def draw_curves(
    ax: "Axes",
    x: np.ndarray,
    curves: dict[str, np.ndarray],
    styles: list[dict[str, Any]],
    quantiles: tuple[float, float] = (0.0, 1.0),
) -> list["Line2D"]:
    """Draw means over repeats, each with a band from the lowest to the highest.

    Or between two quantiles of the repeats.
    """
    if x[0] == x[-1]:
        margin = abs(x[0]) / 2 or 1
        ax.set_xlim(x[0] - margin, x[0] + margin)
    lines = []
    every = -(-len(x) // MAX_MARKERS)
    for (name, table), style in zip(curves.items(), styles, strict=True):
        known = np.ma.masked_invalid(table)
        mean = known.mean(axis=1).filled(np.nan)
        (line,) = ax.plot(x, mean, label=name or None, markevery=every, **style)
        lines.append(line)
        if table.shape[1] > 1:
            low, high = np.full((2, len(x)), np.nan)
            some = ~np.isnan(table).all(axis=1)
            low[some], high[some] = np.nanquantile(table[some], quantiles, axis=1)
            look = {"color": style["color"], "alpha": 0.18}
            if len(x) == 1:  # a band would have no width
                ax.vlines(x, low, high, linewidth=8, **look)
            else:
                ax.fill_between(x, low, high, linewidth=0, **look)
    return lines


def cycle_styles(n_curves: int) -> list[dict[str, Any]]:
    """Styles that all differ: after the last colour they start again, dashed."""
    dashes = ("-", "--", ":", "-.")
    n = len(STYLES)
    return [STYLES[k % n] | {"linestyle": dashes[k // n % 4]} for k in range(n_curves)]


def note_of_band(
    curves: dict[str, np.ndarray], repeats: str, extent: str = "range"
) -> str:
    """What a band shows, as a second line of an axis label; "" without bands."""
    n_repeats = max((table.shape[1] for table in curves.values()), default=1)
    if n_repeats == 1:
        return ""
    return f"\nbands: {extent} of {n_repeats} {repeats}"


def name_curves(ax: "Axes", lines: list["Line2D"]) -> None:
    """Write names to the right of the curves, inside of the axes.

    The axes are widened to make room, and names that would overlap move apart. Where
    they are too long or too many, and where lines have no names, a legend does.
    """
    named = [line for line in lines if not str(line.get_label()).startswith("_")]
    ends = [_last_point(line) for line in named]
    if not named:
        return
    texts = [
        ax.annotate(
            textwrap.fill(str(line.get_label()), LINE_OF_NAME),
            end,
            (NAME_GAP, 0),
            textcoords="offset points",
            color=line.get_color(),
            va="center",
            annotation_clip=False,
        )
        for line, end in zip(named, ends)
    ]
    for text in texts:
        text.set_in_layout(False)  # they end up inside of the axes
    settle_layout(ax)
    boxes = [text.get_window_extent() for text in texts]
    frame = ax.get_window_extent()
    assert ax.figure is not None
    pixels_per_point = ax.figure.dpi / 72
    width = max(box.width for box in boxes) + 1.5 * NAME_GAP * pixels_per_point
    heights = np.array([1.1 * box.height for box in boxes])
    if width > MAX_NAME_WIDTH * frame.width or heights.sum() > frame.height:
        for text in texts:
            text.remove()
        ax.legend(handles=named, framealpha=0.8)
        return
    _make_room(ax, max(x for x, _ in ends), width / frame.width)
    wanted = ax.transData.transform(ends)[:, 1]
    moved = _move_apart(wanted, heights, frame.y0, frame.y1)
    for text, offset in zip(texts, (moved - wanted) / pixels_per_point):
        text.xyann = (NAME_GAP, offset)
        text.set_in_layout(True)  # should the axes become smaller


def _last_point(line: "Line2D") -> tuple[float, float]:
    """The last known point of a curve, or (x, 0) of one without any."""
    x, y = (np.asarray(values, dtype=float) for values in line.get_data())
    known = np.flatnonzero(np.isfinite(y))
    return (x[known[-1]], y[known[-1]]) if len(known) else (x[-1], 0.0)


def _make_room(ax: "Axes", x_end: float, share: float) -> None:
    """Move the right limit until a share of the axes lies to the right of x_end."""
    scale = ax.xaxis.get_transform()
    left, end, right = scale.transform(np.insert(ax.get_xlim(), 1, x_end))
    right = max(right, left + (end - left) / (1 - share))
    ax.set_xlim(right=float(scale.inverted().transform(np.array([right]))[0]))


def _move_apart(
    wanted: np.ndarray, heights: np.ndarray, lowest: float, highest: float
) -> np.ndarray:
    """Nearest centres, in squares, of boxes that neither overlap nor cross the bounds.

    All arrays have shape (n_boxes,); the heights must fit between the bounds.
    """
    order = wanted.argsort(kind="stable")
    below = np.cumsum(heights[order]) - heights[order] / 2  # of a stack without gaps
    moved = np.empty_like(wanted)
    moved[order] = below + isotonic_regression(
        wanted[order] - below, y_min=lowest, y_max=highest - heights.sum()
    )
    return moved
