"""Where in an image the evidence for a class lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from mtrl_sklearn._arrays.validation import naming_numbers
from mtrl_sklearn.plotting._common import (
    DIVERGING,
    check_estimator,
    get_axes,
    require_matplotlib,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

GAP = 0.04  # between the image and the map, as a share of the axes


class EvidenceDisplay:
    """An image, and what each place in it adds to the score of a class.

    A convolutional network is linear in the responses of its filters, so that its score
    is a sum over their positions and an intercept. The map shows the terms of the sum:
    purple speaks for the class, orange against it, white for nothing.

    Parameters
    ----------
    image : array-like of shape (channels, height, width)
        Three channels are shown in colour, others as their mean in grey.
    evidence : array-like of shape (n_rows, n_columns)
        What each position adds.
    extent : tuple (left, right, bottom, top)
        Where the map lies, in pixels of the image.
    label : object
        The class, for the title.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes that hold the other two.
    axes_ : ndarray of shape (2,), matplotlib Axes
        Of the image and of the map.
    figure_ : matplotlib Figure

    Raises
    ------
    ValueError
        If shapes differ from these, or numbers are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from mtrl_sklearn import ConvMultiTaskClassifier
    >>> from mtrl_sklearn.datasets import make_corrupted_digits
    >>> from mtrl_sklearn.plotting import EvidenceDisplay
    >>> X, y, tasks = make_corrupted_digits(20, random_state=0)
    >>> classifier = ConvMultiTaskClassifier(8, random_state=0).fit(X, y, tasks)
    >>> display = EvidenceDisplay.from_estimator(classifier, X[0], label=y[0])
    >>> score = display.evidence.sum() + classifier.head_intercept_[y[0]]
    >>> bool(np.isclose(score, classifier.decision_function(X[:1])[0, y[0]]))
    True
    """

    ax_: Axes
    axes_: np.ndarray
    figure_: Figure | SubFigure

    def __init__(
        self,
        image: ArrayLike,
        evidence: ArrayLike,
        *,
        extent: tuple[float, float, float, float],
        label: Any,
    ):
        self.image = _read(image, "image", 3)
        self.evidence = _read(evidence, "evidence", 2)
        self.extent = extent
        self.label = label

    @classmethod
    def from_estimator(
        cls,
        classifier: Any,
        X: ArrayLike,
        *,
        label: Any = None,
        task: Any = None,
        ax: Axes | None = None,
    ) -> EvidenceDisplay:
        """Plot the evidence that a fitted network finds in an image.

        Parameters
        ----------
        classifier : ConvMultiTaskClassifier
            Fitted to images.
        X : array-like of shape (channels, height, width)
            A single image.
        label : object, default=None
            One of ``classes_``; None is the class that is predicted.
        task : str or number, default=None
            The task whose head scores the image: a source, or a column of y. Only
            ``head="per_task"`` asks for it.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        display : EvidenceDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If it is another estimator.
        NotFittedError
            If it is not fitted.
        ValueError
            If it was not fitted to images, X is no such image, or label or task are not
            among those of fit.
        """
        require_matplotlib(f"{cls.__name__}.from_estimator")
        attributes = ("filters_", "input_shape_", "kernel_size_", "stride_")
        check_estimator(classifier, "classifier", "ConvMultiTaskClassifier", attributes)
        shape = classifier.input_shape_
        if len(shape) != 3:
            raise ValueError(
                f"classifier was fitted to inputs of shape {shape}, not images "
                "(channels, height, width). Their maps are classifier.evidence(X)."
            )
        with naming_numbers(X, "X"):
            image = np.asarray(X)
        if image.size != np.prod(shape):
            raise ValueError(
                f"X has shape {image.shape}, but should be a single image of shape "
                f"{shape}. Pass one of them, such as X[0]."
            )
        rows, tasks = image.reshape(1, *shape), None if task is None else [task]
        maps = classifier.evidence(rows, tasks)[0]
        classes = classifier.classes_.tolist()
        if label is None:
            label = classifier.predict(rows, tasks)[0]
        if label not in classes:
            raise ValueError(f"label={label!r} is not among the classes {classes}.")
        k = classes.index(label)
        evidence = maps[k] if len(maps) > 1 else maps[0] * (1 if k else -1)
        extent = _find_extent(classifier, evidence.shape)
        return cls(rows[0], evidence, extent=extent, label=label).plot(ax)

    def plot(self, ax: Axes | None = None) -> EvidenceDisplay:
        """Draw the image and the map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        self : EvidenceDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = get_axes(ax, self, figsize=(6.4, 3.2))
        self.ax_, self.figure_ = ax, ax.figure
        ax.set_axis_off()
        width = (1 - GAP) / 2
        self.axes_ = np.array(
            [ax.inset_axes((k * (width + GAP), 0, width, 1)) for k in range(2)]
        )
        left, right = self.axes_
        height, n_columns = self.image.shape[1:]
        left.imshow(_to_picture(self.image), cmap="gray", interpolation="nearest")
        left.set_title("image", size=10)
        largest = np.abs(self.evidence).max() or 1
        shown = right.imshow(
            self.evidence,
            cmap=DIVERGING,
            vmin=-largest,
            vmax=largest,
            extent=self.extent,
            interpolation="nearest",
        )
        right.set_xlim(-0.5, n_columns - 0.5)
        right.set_ylim(height - 0.5, -0.5)
        right.set_title(
            f"evidence for {self.label}: {self.evidence.sum():.2g}", size=10
        )
        ax.figure.colorbar(shown, ax=ax, label="added to the score", shrink=0.8)
        for axes in self.axes_:
            axes.spines[:].set_visible(True)
            axes.set_xticks([])
            axes.set_yticks([])
        return self


def _read(values: ArrayLike, name: str, n_dims: int) -> np.ndarray:
    with naming_numbers(values, name) as given:
        array = check_array(
            given, dtype=np.float64, allow_nd=True, ensure_2d=False, input_name=name
        )
    if array.ndim != n_dims:
        raise ValueError(
            f"{name} should have {n_dims} dimensions, got shape {array.shape}."
        )
    return array


def _find_extent(
    classifier: Any, positions: tuple[int, ...]
) -> tuple[float, float, float, float]:
    """Edges of a map in pixels: a cell at the middle of the patch of each position."""
    edges = []
    for n, size, stride in zip(positions, classifier.kernel_size_, classifier.stride_):
        first = (size - stride) / 2 - 0.5
        edges.append((first, first + n * stride))
    (top, bottom), (left, right) = edges
    return left, right, bottom, top


def _to_picture(image: np.ndarray) -> np.ndarray:
    """From 0 to 1, of shape (height, width) or (height, width, 3)."""
    shades = image.transpose(1, 2, 0) if len(image) == 3 else image.mean(axis=0)
    spread = np.ptp(shades)
    return (shades - shades.min()) / (spread or 1)
