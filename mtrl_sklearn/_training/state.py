"""State of a fit as named arrays, all that a later call needs to go on."""

import numpy as np
import torch

State = dict[str, np.ndarray]


def cast_state(state: State | None, dtype: torch.dtype) -> State | None:
    """A state whose arrays of numbers have a dtype; scalars and sums stay."""
    if state is None:
        return None
    name = str(dtype).removeprefix("torch.")
    return {
        key: array.astype(name, copy=False)
        if array.ndim and array.dtype.kind == "f" and not key.startswith(MOMENTS)
        else array
        for key, array in state.items()
    }


# Keys of a state that hold moments begin so.
MOMENTS = "moments."
