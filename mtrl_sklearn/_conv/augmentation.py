"""Images changed at random while they are learned from, as their labels allow."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

FLIP, SHIFT = "flip", "shift"
NAMES = (FLIP, SHIFT)

# A shift is by up to one part in so many of the height and of the width.
SHARE_OF_SHIFTS = 8


def read_augment(
    augment: Any, input_shape: tuple[int, ...], solver: str
) -> tuple[str, ...]:
    """Names of the changes, in the order of `NAMES`.

    Parameters
    ----------
    augment : str, sequence of str or None
        The parameter of the estimator.
    input_shape : tuple of int
    solver : str
        That the caller asked for, or "auto".

    Raises
    ------
    ValueError
        If a name is not known, inputs are no images, or all rows are taken at once.
    """
    names = [augment] if isinstance(augment, str) else list(augment or [])
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ValueError(
            f"augment={augment!r} holds {unknown[0]!r}. Pass None, or some of "
            f"{', '.join(map(repr, NAMES))}."
        )
    if names and len(input_shape) != 3:
        raise ValueError(
            f"augment={augment!r} changes images, but inputs have the shape "
            f"{input_shape}. Pass X of shape (n_samples, channels, height, width) or "
            "input_shape=(channels, height, width), or set augment=None."
        )
    if names and solver == "gd":
        raise ValueError(
            f"augment={augment!r} draws new images in each epoch, and solver='gd' "
            "compares its losses on the same ones. Set solver='adam', or augment=None."
        )
    return tuple(name for name in NAMES if name in names)


def augment_images(
    X: Tensor,
    names: Sequence[str],
    input_shape: tuple[int, ...],
    generator: torch.Generator,
    n_rows: int,
    places: Tensor | slice,
) -> Tensor:
    """Each image flipped left to right by chance, or shifted by some pixels, or both.

    What a shift uncovers takes the values at the edge.

    Parameters
    ----------
    X : Tensor of shape (n_here, channels * height * width)
    names : sequence of {"flip", "shift"}
    input_shape : tuple (channels, height, width)
    generator : torch.Generator
        The same on all ranks, which draw for all rows of a batch.
    n_rows : int
        Rows of the batch on all ranks.
    places : int64 Tensor of shape (n_here,), or slice
        Of the rows that are here, within the batch.

    Returns
    -------
    Tensor of shape (n_here, channels * height * width)
    """
    channels, height, width = input_shape
    device = X.device

    def draw(low: int, high: int) -> Tensor:
        """Numbers from low to high of the rows that are here, (n_here, 1)."""
        size = (n_rows,)
        drawn = torch.randint(
            low, high + 1, size, generator=generator, device=generator.device
        )
        return drawn.to(device)[places, None]

    rows = torch.arange(height, device=device).expand(len(X), -1)
    columns = torch.arange(width, device=device).expand(len(X), -1)
    if SHIFT in names:
        down, right = height // SHARE_OF_SHIFTS, width // SHARE_OF_SHIFTS
        rows = (rows + draw(-down, down)).clamp(0, height - 1)
        columns = (columns + draw(-right, right)).clamp(0, width - 1)
    if FLIP in names:
        columns = torch.where(draw(0, 1) == 1, width - 1 - columns, columns)
    taken = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)[:, None]
    images = X.view(len(X), channels, height * width)
    return images.gather(2, taken.expand(-1, channels, -1)).flatten(1)
