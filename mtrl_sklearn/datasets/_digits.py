"""Tasks made of scikit-learn's handwritten digits."""

from itertools import combinations
from numbers import Integral
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits
from sklearn.utils._param_validation import Interval, validate_params

from mtrl_sklearn.datasets._common import Seed, _constraints, _generator, _hide

# Corruptions of pixels with values from 0 to 16.
NOISE_STD = 5.0
BLUR_STD = 2.0  # in pixels
CONTRAST_FACTOR = 0.3
CONTRAST_NOISE_STD = 1.5
MAX_SHIFT = 1  # in pixels, along each axis

_validated = validate_params(
    {**_constraints, "n_new_tasks": [Interval(Integral, 0, None, closed="left")]},
    prefer_skip_nested_validation=True,
)


class DigitTasks(NamedTuple):
    """What :func:`make_digit_tasks` returns."""

    X: np.ndarray
    Y: np.ndarray
    Y_new: np.ndarray
    digits: np.ndarray


@_validated
def make_digit_tasks(
    n_tasks: int = 40,
    *,
    n_new_tasks: int = 20,
    missing_fraction: float = 0.5,
    random_state: "Seed" = None,
) -> DigitTasks:
    """Turn scikit-learn's handwritten digits into many binary tasks.

    Each task asks whether the digit belongs to a random five of the ten digits. No
    two tasks ask for the same split, nor for its complement.

    Parameters
    ----------
    n_tasks : int, default=40
        Number of source tasks.
    n_new_tasks : int, default=20
        Number of new tasks, from splits that no source task uses.
    missing_fraction : float in [0, 1), default=0.5
        Probability that a label of a source task is hidden, completely at random.
    random_state : int, RandomState instance or None, default=None
        Seed of splits and hidden labels.

    Returns
    -------
    X : ndarray of shape (1797, 64), float64
        Images of 8 x 8 pixels with values from 0 to 16, row by row.
    Y : ndarray of shape (1797, n_tasks), float64
        Labels 0.0 and 1.0 of the source tasks; NaN where not observed.
    Y_new : ndarray of shape (1797, n_new_tasks), float64
        Labels of the new tasks, nothing missing.
    digits : ndarray of shape (1797,), int
        The digit that each image shows.

    Raises
    ------
    ValueError
        If a parameter is out of range, or ``n_tasks + n_new_tasks > 126``.

    Examples
    --------
    >>> from mtrl_sklearn.datasets import make_digit_tasks
    >>> X, Y, Y_new, digits = make_digit_tasks(n_tasks=10, random_state=0)
    >>> X.shape, Y.shape, Y_new.shape, digits.shape
    ((1797, 64), (1797, 10), (1797, 20), (1797,))
    """
    n_splits = n_tasks + n_new_tasks
    if n_splits > 126:
        raise ValueError(
            f"n_tasks={n_tasks} and n_new_tasks={n_new_tasks} ask for {n_splits} "
            "splits, but ten digits have 126 splits into five and five. Pass numbers "
            "that add up to at most 126."
        )
    # Of a split and its complement, exactly one has digit 0 on its positive side.
    partners = np.array(list(combinations(range(1, 10), 4)))
    splits = (partners[:, :, None] == np.arange(10)).any(axis=1)
    splits[:, 0] = True

    rng = _generator(random_state, "splits")
    splits = rng.permutation(splits) ^ (rng.random((126, 1)) < 0.5)
    X, digits = load_digits(return_X_y=True)
    labels = splits.T[digits].astype(np.float64)
    Y, Y_new = labels[:, :n_tasks].copy(), labels[:, n_tasks:n_splits].copy()
    return DigitTasks(X, _hide(Y, missing_fraction, rng), Y_new, digits)


def _add_noise(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return images + NOISE_STD * rng.standard_normal(images.shape)


def _blur(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return gaussian_filter(images, sigma=(0, BLUR_STD, BLUR_STD))


def _lower_contrast(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    means = images.mean(axis=(1, 2), keepdims=True)
    faint = means + CONTRAST_FACTOR * (images - means)
    # Without noise a linear method would simply undo it.
    return faint + CONTRAST_NOISE_STD * rng.standard_normal(images.shape)


def _shift(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move each image by its own offset along both axes; zeros come in."""
    n_images, height, width = images.shape
    margin = (MAX_SHIFT, MAX_SHIFT)
    padded = np.pad(images, [(0, 0), margin, margin])
    windows = sliding_window_view(padded, (height, width), axis=(1, 2))
    rows, columns = rng.integers(2 * MAX_SHIFT + 1, size=(2, n_images))
    return windows[np.arange(n_images), rows, columns]


_CORRUPTIONS = {
    "clean": lambda images, rng: images,
    "noise": _add_noise,
    "blur": _blur,
    "contrast": _lower_contrast,
    "shift": _shift,
}


class CorruptedDigits(NamedTuple):
    """What :func:`make_corrupted_digits` returns."""

    X: np.ndarray
    y: np.ndarray
    tasks: np.ndarray


@_validated
def make_corrupted_digits(
    n_samples_per_task: int = 200, *, random_state: "Seed" = None
) -> CorruptedDigits:
    """Turn scikit-learn's handwritten digits into five sources of unlike quality.

    All tasks ask for the digit, so they share the label space. Each has images of
    its own, under its own corruption:

    - "clean": as they are;
    - "noise": Gaussian noise on each pixel;
    - "blur": a Gaussian filter;
    - "contrast": pixels drawn towards the mean of their image, and a little noise,
      without which nothing would be lost;
    - "shift": moved by up to one pixel along each axis, at random for each image;
      what leaves the frame is lost.

    Parameters
    ----------
    n_samples_per_task : int, default=200
        Number of images of each task, at most 359.
    random_state : int, RandomState instance or None, default=None
        Seed of the choice of images and of the corruptions.

    Returns
    -------
    X : ndarray of shape (5 * n_samples_per_task, 1, 8, 8), float32
        Images of one channel with values from 0 to 16, one task after the other.
    y : ndarray of shape (5 * n_samples_per_task,), int
        The digit that each image shows.
    tasks : ndarray of shape (5 * n_samples_per_task,), str
        Name of the corruption.

    Raises
    ------
    ValueError
        If a parameter is out of range, or there are not images enough.

    Examples
    --------
    >>> from mtrl_sklearn.datasets import make_corrupted_digits
    >>> X, y, tasks = make_corrupted_digits(50, random_state=0)
    >>> X.shape, y.shape
    ((250, 1, 8, 8), (250,))
    >>> tasks[::50].tolist()
    ['clean', 'noise', 'blur', 'contrast', 'shift']
    """
    bunch = load_digits()
    images, digits = bunch.images, bunch.target
    n_tasks, n_images = len(_CORRUPTIONS), len(images)
    if n_tasks * n_samples_per_task > n_images:
        raise ValueError(
            f"n_samples_per_task={n_samples_per_task} asks for "
            f"{n_tasks * n_samples_per_task} different images for {n_tasks} tasks, "
            f"but there are {n_images}. Pass n_samples_per_task <= "
            f"{n_images // n_tasks}."
        )
    rng = _generator(random_state, "corruptions")
    chosen = rng.permutation(n_images)[: n_tasks * n_samples_per_task]
    parts = np.split(images[chosen], n_tasks)
    corrupted = [
        corrupt(part, rng) for corrupt, part in zip(_CORRUPTIONS.values(), parts)
    ]
    X = np.clip(np.concatenate(corrupted), 0, 16).astype(np.float32)[:, None]
    tasks = np.repeat(list(_CORRUPTIONS), n_samples_per_task)
    return CorruptedDigits(X, digits[chosen], tasks)
