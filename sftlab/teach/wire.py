"""Messages between the grader and the process of a submission: JSON, never pickles, and never more than is allowed.

What comes from a submission is only data. Objects that are neither numbers, texts, arrays nor containers of these
arrive as :class:`Opaque`, which knows no more than the name of their class.
"""

import base64
import json
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
import torch

LIMIT = 64 * 2**20  # bytes of a message
_DTYPES = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64 complex128".split()


class NotPlain(TypeError):
    """A value that cannot be sent as data."""


class Broken(Exception):
    """The other side has ended, or what it says is no message."""


class Opaque:
    """Stands for an object of the other process."""

    def __init__(self, kind_name: str):
        self.kind_name = kind_name


def send(stream: BinaryIO, message: dict) -> None:
    """Write one message.

    Raises:
        Broken: it is too large, or nobody reads it.
    """
    data = json.dumps(message).encode()
    if len(data) > LIMIT:
        raise Broken(f"a message of more than {LIMIT >> 20} MB")
    try:
        stream.write(len(data).to_bytes(8, "big") + data)
        stream.flush()
    except (OSError, ValueError) as error:
        raise Broken(str(error)) from None


def receive(stream: BinaryIO) -> dict:
    """Read one message.

    Raises:
        Broken: the stream has ended, or holds something else.
    """
    try:
        head = stream.read(8)
        size = int.from_bytes(head, "big")
        if len(head) < 8 or size > LIMIT:
            raise Broken("no message" if len(head) < 8 else f"a message of more than {LIMIT >> 20} MB")
        data = stream.read(size)
        message = json.loads(data) if len(data) == size else None
    except (OSError, ValueError, RecursionError) as error:
        raise Broken(str(error)) from None
    if not isinstance(message, dict):
        raise Broken("no message")
    return message


def encode(value, tensors: list | None = None, opaque: bool = False):
    """A value as JSON.

    Args:
        value: None, numbers, texts, tensors, arrays, and lists, tuples, sets and dicts of them.
        tensors: collects the tensors that require a gradient, in order.
        opaque: let other objects arrive as :class:`Opaque`.

    Raises:
        NotPlain: another object, and not ``opaque``.

    >>> decode(encode({"z": (1, 2.5, None)}))
    {'z': (1, 2.5, None)}
    """
    kind = type(value)  # exactly: a subclass may do anything
    if value is None or kind in (bool, float, str) or (kind is int and abs(value) < 2**63):
        return value
    if kind in (list, tuple, set):
        return {kind.__name__: [encode(x, tensors, opaque) for x in value]}
    if kind is dict:
        return {"dict": [[encode(k, None, opaque), encode(v, tensors, opaque)] for k, v in value.items()]}
    if isinstance(value, torch.Tensor) and value.layout is torch.strided and str(value.dtype)[6:] in _DTYPES:
        if value.requires_grad and tensors is not None:
            tensors.append(value)
        data = value.detach().cpu().contiguous().resolve_conj().resolve_neg()
        raw = data.flatten().view(torch.uint8).numpy().tobytes() if data.numel() else b""
        shape = [str(value.dtype)[6:], list(value.shape), base64.b64encode(raw).decode()]
        return {"tensor": shape, "grad": bool(value.requires_grad)}
    if isinstance(value, np.ndarray | np.generic) and value.dtype.name in _DTYPES:
        return {"array": encode(torch.from_numpy(np.array(value)))["tensor"], "scalar": isinstance(value, np.generic)}
    if value is ...:
        return {"ellipsis": True}
    if not opaque:
        raise NotPlain(kind.__name__)
    return {"object": str(kind.__name__)[:60]}


def decode(tree, tensor: Callable[[torch.Tensor, bool], torch.Tensor] = lambda t, grad: t, depth: int = 0):
    """The value of what :func:`encode` returned; ``tensor`` gets each tensor and whether it requires a gradient.

    Raises:
        Broken: it is of another form.
    """
    if depth > 50:
        raise Broken("nested too deeply")
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    try:
        if "list" in tree:
            return [decode(x, tensor, depth + 1) for x in tree["list"]]
        if "tuple" in tree:
            return tuple(decode(x, tensor, depth + 1) for x in tree["tuple"])
        if "set" in tree:
            return {decode(x, tensor, depth + 1) for x in tree["set"]}
        if "dict" in tree:
            return {decode(k): decode(v, tensor, depth + 1) for k, v in tree["dict"]}
        if "tensor" in tree:
            return tensor(_tensor(*tree["tensor"]), bool(tree["grad"]))
        if "array" in tree:
            array = _tensor(*tree["array"]).numpy()
            return array[()] if tree["scalar"] else array
        return ... if "ellipsis" in tree else Opaque(str(tree["object"]))
    except Broken:
        raise
    except Exception as error:  # whatever a hostile process may have sent
        raise Broken(f"a value that cannot be read: {type(error).__name__}") from None


def _tensor(dtype: str, shape: list, data: str) -> torch.Tensor:
    raw = bytearray(base64.b64decode(data, validate=True))
    kind = getattr(torch, dtype) if dtype in _DTYPES else None
    if kind is None or len(shape) > 16 or any(type(n) is not int or n < 0 for n in shape):
        raise Broken("a tensor of an unknown kind")
    count = int(np.prod(shape, dtype=object)) if shape else 1
    if count * kind.itemsize != len(raw):
        raise Broken("a tensor of another size than it says")
    return (torch.frombuffer(raw, dtype=kind) if count else torch.empty(0, dtype=kind)).reshape(shape)
