"""Which numbers a fit computes with."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple

import numpy as np
import torch

from mtrl_sklearn._arrays.rows import torch_dtype, working_dtype
from mtrl_sklearn._arrays.threads import SharedContext
from mtrl_sklearn._warnings import warn_user

PRECISIONS = {"auto", "float32", "tf32", "bfloat16"}


class Precision(NamedTuple):
    """Dtypes of a fit."""

    parameters: torch.dtype  # weights, moments of the optimiser, the loss
    products: torch.dtype  # factors of matrix products
    allow_tf32: bool  # products of float32 on a GPU may round their factors


def resolve_precision(precision: str, dtype: np.dtype, device: str) -> Precision:
    """Dtypes that a parameter ``precision`` stands for.

    Parameters
    ----------
    precision : {"auto", "float32", "tf32", "bfloat16"}
    dtype : numpy.dtype
        Of the inputs, which "auto" follows.
    device : str

    Warns
    -----
    UserWarning
        If the device has no products of bfloat16: those of float32 are used.
    """
    own = torch_dtype(working_dtype(dtype))
    parameters = own if precision == "auto" else torch.float32
    products = parameters
    if precision == "bfloat16":
        if has_bfloat16_products(device):
            products = torch.bfloat16
        else:
            warn_user(
                f"precision='bfloat16' would be slow here: device {device!r} has no "
                "products of bfloat16. Those of float32 are used; set "
                "precision='float32' to say so.",
            )
    return Precision(parameters, products, precision == "tf32")


def has_bfloat16_products(device: str) -> bool:
    """Whether a device multiplies matrices of bfloat16 in its hardware.

    False for processors where torch does not tell, as its older releases do not.
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if not hasattr(torch.cpu, "get_capabilities"):
        return False
    features = torch.cpu.get_capabilities()
    return any(features.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


@contextmanager
def _tf32() -> Iterator[None]:
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    matmul.allow_tf32 = True
    try:
        yield
    finally:
        matmul.allow_tf32 = before


_shared_tf32 = SharedContext(_tf32)


def tf32_allowed(allow: bool, device: str) -> AbstractContextManager:
    """Context in which products of float32 on a GPU may use tf32, if wanted there."""
    on_gpu = torch.device(device).type == "cuda"
    return _shared_tf32 if allow and on_gpu else nullcontext()


def resolve_device(device: str) -> str:
    """Name of the torch device that ``device`` stands for.

    Raises
    ------
    ValueError
        If torch does not know the device, or this machine lacks it.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device={device!r} cannot be used here ({reason}). Pass 'auto' or 'cpu'."
        ) from None
    return device
