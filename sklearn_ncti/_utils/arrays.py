"""One set of names for arrays on the host and tensors on a CUDA device.

Feature matrices are numpy arrays, or torch tensors that already lie on a CUDA device and stay
there. Everything else (tensors on the CPU, on devices without float64, arrays of another
library) is brought to numpy, which costs nothing for tensors in the memory of the host.
"""

import sys
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.utils._array_api import _convert_to_numpy, get_namespace
from sklearn.utils._array_api import device as array_device

try:
    from sklearn.utils._array_api import check_same_namespace
except ImportError:  # scikit-learn before 1.9 has no such rule

    def check_same_namespace(X, estimator, *, attribute, method):
        """Do nothing."""


def is_tensor(X: Any) -> bool:
    """Whether `X` is a torch tensor, without importing torch."""
    # A tensor can only have been made where torch is imported already.
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(X, torch.Tensor)


def stays_on_device(X: Any) -> bool:
    """Whether `X` is computed with where it lies, instead of on the host."""
    return is_tensor(X) and X.device.type == "cuda"


def namespace(X: Any):
    """Return the module, torch or numpy, whose functions take `X`."""
    return sys.modules["torch"] if is_tensor(X) else np


def to_host(X: Any) -> Any:
    """Return tensors, and arrays of other libraries under array API dispatch, as numpy arrays."""
    if is_tensor(X):
        X = X.detach().cpu()
        # numpy has no bfloat16.
        return (X.float() if X.is_floating_point() and X.itemsize < 4 else X).numpy()
    if get_config()["array_api_dispatch"] and hasattr(X, "__array_namespace__"):
        return _convert_to_numpy(X, get_namespace(X)[0])
    return X


def _is_array(X: Any) -> bool:
    return is_tensor(X) or hasattr(X, "__array_namespace__")


def to_device_of(values: np.ndarray, X: Any) -> Any:
    """Return numpy `values` in the memory that `X` lies in."""
    if not is_tensor(X):
        return values
    return sys.modules["torch"].from_numpy(np.ascontiguousarray(values)).to(X.device)


def zeros_on_device_of(shape: tuple[int, ...], X: Any) -> Any:
    """Return float64 zeros in the memory that `X` lies in."""
    if is_tensor(X):
        torch = sys.modules["torch"]
        return torch.zeros(shape, dtype=torch.float64, device=X.device)
    return np.zeros(shape)


def as_float64(X: Any) -> Any:
    """Return `X` in float64; `X` itself where it is so already."""
    return X.double() if is_tensor(X) else X.astype(np.float64, copy=False)


def as_float32(X: Any) -> Any:
    """Return `X` rounded to float32."""
    return X.float() if is_tensor(X) else X.astype(np.float32)


def like_input(values: Any, X: Any) -> Any:
    """Return `values` as scikit-learn's rules have it for the input `X`.

    With array API dispatch switched on that is an array of the library and on the device of
    `X`, for numbers; otherwise a numpy array.
    """
    dispatched = get_config()["array_api_dispatch"] and _is_array(X)
    if not dispatched or (isinstance(values, np.ndarray) and values.dtype.kind not in "biuf"):
        return to_host(values)
    if is_tensor(values) and is_tensor(X):
        return values
    return get_namespace(X)[0].asarray(to_host(values), device=array_device(X))


def check_tensor(X: Any, least_rows: int) -> Any:
    """Return a tensor on a device as a matrix of floating type, or raise a ValueError."""
    if X.ndim != 2:
        raise ValueError(
            f"X must be a matrix of shape (n_samples, n_features), got a tensor of shape "
            f"{tuple(X.shape)}."
        )
    if len(X) < least_rows:
        raise ValueError(f"X has {len(X)} row(s), but at least {least_rows} are needed.")
    if X.is_complex():
        raise ValueError(f"Complex data not supported: X is a tensor of type {X.dtype}.")
    X = X.detach()
    check_whole_numbers(X)
    return X if X.is_floating_point() else X.double()


def check_whole_numbers(X: Any) -> None:
    """Raise a ValueError if `X` has whole numbers that float64 would round."""
    if is_tensor(X):
        whole = not (X.is_floating_point() or X.is_complex())
    else:
        # A sparse matrix or an array of another library is refused later, or is converted.
        X = X if hasattr(X, "dtype") else np.asarray(X)
        whole = isinstance(X, np.ndarray) and X.dtype.kind in "iu"
    if not whole or 0 in X.shape:
        return
    largest = max(int(X.max()), -int(X.min()))
    if largest > 2**53:
        raise ValueError(
            f"X has whole numbers as large as {largest:.3g}, and float64 rounds those beyond "
            "2**53, 9.01e+15. Subtract a constant from every feature first, or round them "
            "yourself with X.astype(float)."
        )
