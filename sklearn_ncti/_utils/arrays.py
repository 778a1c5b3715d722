"""Common functions for arrays on the host and tensors on a CUDA device.

Feature matrices are numpy arrays, or torch tensors on a CUDA device, which stay there. Tensors on
the CPU, tensors on devices without float64, and arrays of other libraries are converted to numpy.
For tensors on the CPU, the conversion copies nothing.
"""

import sys
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.utils._array_api import _convert_to_numpy, get_namespace
from sklearn.utils._array_api import device as array_device

try:
    from sklearn.utils._array_api import check_same_namespace
except ImportError:  # scikit-learn before 1.9 has no such check

    def check_same_namespace(X: Any, estimator: Any, *, attribute: str, method: str) -> None:
        """Do nothing."""


def is_tensor(X: Any) -> bool:
    """Return whether `X` is a torch tensor, without importing torch."""
    # A tensor exists only if torch is already imported.
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(X, torch.Tensor)


def stays_on_device(X: Any) -> bool:
    """Return whether computations with `X` stay on its device."""
    return is_tensor(X) and X.device.type == "cuda"


def namespace(X: Any) -> Any:
    """Return the module whose functions accept `X`, torch or numpy."""
    return sys.modules["torch"] if is_tensor(X) else np


def to_host(X: Any) -> Any:
    """Return tensors as numpy arrays, and with array API dispatch arrays of other libraries."""
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
    """Return numpy `values` on the device of `X`."""
    if not is_tensor(X):
        return values
    return sys.modules["torch"].from_numpy(np.ascontiguousarray(values)).to(X.device)


def zeros_on_device_of(shape: tuple[int, ...], X: Any) -> Any:
    """Return float64 zeros on the device of `X`."""
    if is_tensor(X):
        torch = sys.modules["torch"]
        return torch.zeros(shape, dtype=torch.float64, device=X.device)
    return np.zeros(shape)


def as_float64(X: Any) -> Any:
    """Return `X` in float64, without a copy if it already is."""
    return X.double() if is_tensor(X) else X.astype(np.float64, copy=False)


def as_float32(X: Any) -> Any:
    """Return `X` rounded to float32."""
    return X.float() if is_tensor(X) else X.astype(np.float32)


def like_input(values: Any, X: Any) -> Any:
    """Return `values` as the type of array that scikit-learn returns for the input `X`.

    With array API dispatch, numbers become an array of the library and on the device of `X`.
    Otherwise, and for other values, the result is a numpy array.
    """
    dispatched = get_config()["array_api_dispatch"] and _is_array(X)
    if not dispatched or (isinstance(values, np.ndarray) and values.dtype.kind not in "biuf"):
        return to_host(values)
    if is_tensor(values) and is_tensor(X):
        return values
    return get_namespace(X)[0].asarray(to_host(values), device=array_device(X))


def check_tensor(X: Any, least_rows: int) -> Any:
    """Return a tensor as a matrix of floating type, or raise a ValueError."""
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
        # Sparse matrices and arrays of other libraries are rejected or converted later.
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
