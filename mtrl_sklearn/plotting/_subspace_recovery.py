"""How far learned directions are from the true ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from mtrl_sklearn._arrays.validation import naming_numbers
from mtrl_sklearn._training.representation import Representation
from mtrl_sklearn.metrics import principal_angles
from mtrl_sklearn.plotting._common import (
    check_estimator,
    get_axes,
    require_matplotlib,
    set_x_ticks,
    tidy,
)
from mtrl_sklearn.plotting._curves import (
    check_curves,
    cycle_styles,
    draw_curves,
    grows_geometrically,
    name_curves,
    note_of_band,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

Measure = Literal["distance", "angles"]

# Name, largest value and distance of ticks on the vertical axis.
SCALES: dict[str, tuple[str, float, float]] = {
    "distance": ("subspace distance", 1, 0.2),
    "angles": ("principal angle (degrees)", 90, 15),
}
MANY_PLACES = 12  # more than so many on a linear axis get round numbers as ticks
MARGIN = 0.03  # of the vertical axis, so that markers at its ends are whole


class SubspaceRecoveryDisplay:
    """Distance or angles between learned and true directions; 0 is full recovery.

    Against the number of tasks, samples or iterations, or, for a single representation,
    each principal angle. Repeats are drawn as their mean with a band from the lowest to
    the highest. The horizontal axis is logarithmic where the gaps between its numbers
    double at least, as those of 1, 4, 16 do.

    Parameters
    ----------
    x : array-like of shape (n_x,)
        Numbers of what was varied.
    distances : array-like of shape (n_x,) or (n_x, n_repeats), or dict of such arrays
        What was measured, NaN where unknown; a dict has one curve per name.
    x_name : str, default="tasks"
        What ``x`` counts, on the horizontal axis.
    measure : {"distance", "angles"}, default="distance"
        "distance" is the sine of the largest principal angle, see
        `mtrl_sklearn.metrics.subspace_distance`; "angles" are in degrees.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D
        One per curve.

    Raises
    ------
    ValueError
        If shapes do not fit together, ``measure`` is unknown, or a value is out of the
        range of the measure.

    Examples
    --------
    >>> from sklearn.base import clone
    >>> from mtrl_sklearn import MultiTaskReLURepresentation
    >>> from mtrl_sklearn.datasets import make_subspace_tasks
    >>> from mtrl_sklearn.plotting import SubspaceRecoveryDisplay
    >>> X, Y, components, _ = make_subspace_tasks(random_state=0)
    >>> quick = MultiTaskReLURepresentation(
    ...     64, algorithm="one_step", n_components=4, random_state=0
    ... )
    >>> n_tasks = [1, 8, 64]
    >>> fits = [clone(quick).fit(X, Y[:, :n]) for n in n_tasks]
    >>> display = SubspaceRecoveryDisplay.from_estimators(fits, components, x=n_tasks)
    >>> one, some, many = display.distances[""].ravel()
    >>> bool(one > some > many)
    True
    """

    ax_: Axes
    figure_: Figure | SubFigure
    lines_: list[Line2D]

    def __init__(
        self,
        x: ArrayLike,
        distances: ArrayLike | Mapping[str, ArrayLike],
        *,
        x_name: str = "tasks",
        measure: Measure = "distance",
    ):
        if measure not in list(SCALES):
            raise ValueError(
                f"measure should be one of {list(SCALES)}, got {measure!r}."
            )
        self.x, self.distances = check_curves(x, distances, "x", "distances")
        self.x_name = x_name
        self.measure = measure
        _, largest, _ = SCALES[measure]
        for values in self.distances.values():
            known = values[~np.isnan(values)]
            if ((known < 0) | (known > largest * (1 + 1e-6))).any():
                raise ValueError(
                    f"distances should be from 0 to {largest:g} for measure="
                    f"{measure!r}, got values from {known.min():g} to "
                    f"{known.max():g}. Distances are sines, angles are in degrees."
                )

    @classmethod
    def from_predictions(
        cls,
        x: ArrayLike,
        distances: ArrayLike | Mapping[str, ArrayLike],
        *,
        x_name: str = "tasks",
        measure: Measure = "distance",
        ax: Axes | None = None,
    ) -> SubspaceRecoveryDisplay:
        """Plot what was measured.

        Parameters
        ----------
        x, distances, x_name, measure
            As for the class.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        display : SubspaceRecoveryDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            As for the class.
        """
        require_matplotlib(f"{cls.__name__}.from_predictions")
        return cls(x, distances, x_name=x_name, measure=measure).plot(ax)

    @classmethod
    def from_estimators(
        cls,
        estimators: Sequence[Any],
        components: ArrayLike,
        *,
        x: ArrayLike,
        x_name: str = "tasks",
        measure: Measure = "distance",
        ax: Axes | None = None,
    ) -> SubspaceRecoveryDisplay:
        """Measure and plot how well several representations found the directions.

        As many leading directions of each are compared as there are true ones. Where
        the rank of a representation is lower, the directions that it lacks count as
        orthogonal.

        Parameters
        ----------
        estimators : sequence of MultiTaskReLURepresentation, or of sequences of them
            Fitted: one for each entry of ``x``, or as many repeats for each. Another
            `Representation` needs ``components_`` and ``n_features_in_``.
        components : array-like of shape (n_components, n_features)
            The true directions, as rows.
        x : array-like of shape (n_x,)
            Numbers of what was varied.
        x_name : str, default="tasks"
            What ``x`` counts.
        measure : {"distance", "angles"}, default="distance"
            One curve of distances, or one curve for each principal angle.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        display : SubspaceRecoveryDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If one is an estimator without these.
        NotFittedError
            If one is not fitted.
        ValueError
            If numbers of estimators, repeats or features do not fit together.
        """
        require_matplotlib(f"{cls.__name__}.from_estimators")
        if not isinstance(estimators, Sequence | np.ndarray):
            raise TypeError(
                "estimators should be a sequence with an entry for each number in x, "
                f"got {type(estimators).__name__}. For one alone use from_estimator."
            )
        repeats = [
            list(fits) if isinstance(fits, Sequence | np.ndarray) else [fits]
            for fits in estimators
        ]
        counts = sorted(set(map(len, repeats)))
        if len(counts) != 1 or counts[0] == 0:
            raise ValueError(
                f"estimators has {len(repeats)} entries, with {counts} repeats each. "
                "Pass one entry for each number in x, with as many repeats in each."
            )
        angles = np.array(  # (n_x, n_repeats, n_components)
            [[_angles(fit, components, "estimators") for fit in r] for r in repeats]
        )
        distances: np.ndarray | dict[str, np.ndarray]
        if measure == "angles":
            distances = {
                f"angle {k + 1}": np.rad2deg(angles[..., k])
                for k in range(angles.shape[-1])
            }
        else:
            distances = np.sin(angles[..., -1])
        return cls(x, distances, x_name=x_name, measure=measure).plot(ax)

    @classmethod
    def from_estimator(
        cls,
        representation: Representation,
        components: ArrayLike,
        *,
        ax: Axes | None = None,
    ) -> SubspaceRecoveryDisplay:
        """Plot each principal angle between learned and true directions.

        Parameters
        ----------
        representation : MultiTaskReLURepresentation
            Fitted; or another `Representation` with ``components_`` and
            ``n_features_in_``.
        components : array-like of shape (n_components, n_features)
            The true directions, as rows.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        display : SubspaceRecoveryDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If it is an estimator without these.
        NotFittedError
            If it is not fitted.
        ValueError
            If numbers of features differ.
        """
        require_matplotlib(f"{cls.__name__}.from_estimator")
        angles = np.rad2deg(_angles(representation, components, "representation"))
        place = np.arange(1, len(angles) + 1)
        name = "principal direction, best first"
        return cls(place, angles, x_name=name, measure="angles").plot(ax)

    def plot(self, ax: Axes | None = None) -> SubspaceRecoveryDisplay:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        self : SubspaceRecoveryDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = get_axes(ax, self)
        from matplotlib.ticker import MultipleLocator

        self.ax_, self.figure_ = ax, ax.figure
        doubles = grows_geometrically(self.x)
        if doubles:
            ax.set_xscale("log", base=2)
        styles = cycle_styles(len(self.distances))
        self.lines_ = draw_curves(ax, self.x, self.distances, styles)
        name, largest, step = SCALES[self.measure]
        ax.set_ylim(-MARGIN * largest, (1 + MARGIN) * largest)
        ax.yaxis.set_major_locator(MultipleLocator(step))
        ax.set_xlabel(str(self.x_name) + note_of_band(self.distances, "repeats"))
        ax.set_ylabel(name)
        tidy(ax)
        name_curves(ax, self.lines_)
        if doubles or len(self.x) <= MANY_PLACES:
            set_x_ticks(ax, np.unique(self.x))
        return self


def _angles(
    representation: Representation, components: ArrayLike, name: str
) -> np.ndarray:
    """Principal angles in radians, ascending, as many as there are true directions.

    The leading right singular vectors of the hidden weights are the ``components_``.
    """
    attributes = ("components_", "n_features_in_")
    check_estimator(representation, name, "MultiTaskReLURepresentation", attributes)
    basis, n_features = (getattr(representation, name) for name in attributes)
    with naming_numbers(components, "components") as given:
        true = check_array(given, dtype=np.float64, input_name="components")
    if true.shape[1] != n_features:
        raise ValueError(
            f"components has {true.shape[1]} features, but {name} was fitted on "
            f"{n_features}. Pass the true directions as rows."
        )
    n_true = np.linalg.matrix_rank(true)
    found = principal_angles(basis[:n_true], true)
    return np.pad(found, (0, n_true - len(found)), constant_values=np.pi / 2)
