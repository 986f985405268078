"""Plain values as JSON and back: what a question gives to an answer, and what an answer may give back.

Nothing is ever unpickled, so the bytes that a hostile process writes can at worst be refused.
"""

import base64
import math
from typing import Any

import numpy as np
import torch

LIMIT = 32_000_000  # bytes that one answer may hold
_DTYPES = {
    name: np.dtype(name)
    for name in "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()
}


class NotPlain(ValueError):
    """A value that cannot travel; the message says what it is."""


def encode(value: Any) -> Any:
    """What `json.dumps` takes. Raises `NotPlain` for other kinds, for too much, and for what holds itself."""
    try:
        return _encode(value, [LIMIT])
    except RecursionError:
        raise NotPlain("something nested too deeply") from None


def _encode(value: Any, left: list[int]) -> Any:
    if isinstance(value, torch.Tensor) and (value.layout != torch.strided or value.is_meta):
        raise NotPlain("a tensor without ordinary storage")
    left[0] -= 8 + (len(value) if isinstance(value, (str, bytes)) else getattr(value, "nbytes", 0))
    if left[0] < 0:
        raise NotPlain(f"more than {LIMIT // 1_000_000} MB")
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        value = value.item()  # an array without axes is a number, to numpy's own functions too
    if value is None or isinstance(value, (bool, float, str)):
        return value
    if isinstance(value, int):
        if value.bit_length() > 10_000:  # Python refuses to write longer ones in decimals
            raise NotPlain("an int of more than 3,000 digits")
        return int(value)
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().resolve_conj().resolve_neg()
        if value.dtype == torch.bfloat16:
            return {"tensor": ["bfloat16", *_raw(value.view(torch.int16).numpy())[1:]]}
        return {"tensor": _raw(value.numpy())}
    if isinstance(value, np.ndarray):
        return {"array": _raw(value)}
    if isinstance(value, dict):
        return {"dict": [[_encode(key, left), _encode(item, left)] for key, item in value.items()]}
    for kind in (list, tuple, set):
        if isinstance(value, kind):
            return {kind.__name__: [_encode(item, left) for item in value]}
    name = type(value).__name__
    raise NotPlain(f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}")


def _raw(array: np.ndarray) -> list:
    if array.dtype.name not in _DTYPES:
        raise NotPlain(f"an array of dtype {array.dtype.name}")
    data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    return [array.dtype.name, list(array.shape), base64.b64encode(data).decode()]


def decode(plain: Any) -> Any:
    """The value that `encode` took. ValueError for anything that `encode` cannot have written."""
    if plain is None or isinstance(plain, (bool, int, float, str)):
        return plain
    try:
        ((kind, content),) = plain.items()
        if kind == "bytes":
            return base64.b64decode(content, validate=True)
        if kind == "tensor" and content[0] == "bfloat16":
            return torch.from_numpy(_array("int16", *content[1:])).view(torch.bfloat16)
        if kind == "tensor":
            return torch.from_numpy(_array(*content))
        if kind == "array":
            return _array(*content)
        if kind == "dict":
            return {decode(key): decode(item) for key, item in content}
        return {"list": list, "tuple": tuple, "set": set}[kind](map(decode, content))
    except Exception as error:  # whatever a forged value may lead to, MemoryError among it
        raise ValueError(f"not a plain value: {type(error).__name__}") from None


def _array(dtype: str, shape: list[int], data: str) -> np.ndarray:
    raw = base64.b64decode(data, validate=True)
    if min(shape, default=0) < 0 or math.prod(shape) * _DTYPES[dtype].itemsize != len(raw):
        raise ValueError("the shape does not fit the data")
    return np.frombuffer(raw, _DTYPES[dtype].newbyteorder("<")).reshape(shape).astype(_DTYPES[dtype])
