"""Comparing a learner's answer with the right one, and saying which of the usual mistakes it is.

A check is a function of the learner's object that raises :class:`Wrong`; the functions here raise it with a message
that says what is wrong, how it shows and where to look.
"""

import inspect
import math
from collections.abc import Mapping

import numpy as np
import torch

from .diagnose import mistake, shape_mistake, shown


class Wrong(Exception):
    """An answer that is not right yet: what is wrong and how it shows; ``look`` says where to look."""

    def __init__(self, what: str, look: str = ""):
        super().__init__(what)
        self.look = look


class NotWritten(Wrong):
    """The stub is still there."""


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal numbers in float64 from a generator of their own; the global random state is left alone.

    >>> bool((draw(2, 3) == draw(2, 3)).all())
    True
    """
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def call(answer, *inputs, **keywords):
    """Return ``answer(*inputs, **keywords)``, as the learner's function.

    Raises:
        NotWritten: the answer is None or `...`, or it returns that, or it raises NotImplementedError.
        Wrong: it is no function, takes other arguments, or changes one of its inputs.
    """
    if answer is None or answer is ...:
        raise NotWritten("There is no answer yet: the stub is still there.")
    if not callable(answer):
        raise Wrong(
            f"The check needs a function, and got {a_kind(answer)}.",
            "Hand over the function itself, without parentheses: `f`, not `f(x)`.",
        )
    name = getattr(answer, "__name__", "answer")
    parameters = _fitting_parameters(answer, name, inputs, keywords)
    names = [*parameters, *(f"argument {i + 1}" for i in range(len(parameters), len(inputs)))]
    given = dict(zip(names, inputs, strict=False))
    given.update(keywords)
    before = {key: _copy(value) for key, value in given.items()}
    try:
        result = answer(*inputs, **keywords)
    except NotImplementedError:
        raise NotWritten(f"`{name}` is not written yet: it raises NotImplementedError.") from None
    if result is None or result is ...:
        raise NotWritten(
            f"`{name}` returns {'`...`' if result is ... else 'None'}: "
            "the stub is still there, or the line with `return` is missing."
        )
    for key, value in given.items():
        if not same(before[key], value):
            raise Wrong(
                f"`{name}` changes its input `{key}`: after the call it is not what it was before.",
                "Look for operations in place: names that end in `_`, `+=`, `x[...] = ...`, `append`, `sort`, `pop`.",
            )
    return result


def expect(condition: bool, what: str, look: str = "") -> None:
    """Raise :class:`Wrong` unless the condition holds."""
    if not condition:
        raise Wrong(what, look)


def expect_close(found, expected, what: str = "the result", suspects: Mapping | None = None, count: int = 0, tol=1e-5):
    """Raise :class:`Wrong` unless found equals expected, with the usual mistake that explains the difference.

    Args:
        found: a tensor, an array, a number or a list of numbers.
        expected: the right tensor or number.
        what: what is compared, in the words of the exercise.
        suspects: reason -> what a learner gets who makes that mistake; tried first.
        count: the number of samples, to tell a sum from a mean.
        tol: allowed difference, relative to the largest expected value (at least to 1).

    >>> expect_close(torch.tensor(6.0), 2.0, "the loss", count=3)
    Traceback (most recent call last):
    sftlab.teach.compare.Wrong: The loss is 6, expected 2: that is 3 times as much, a sum instead of a mean.
    """
    found, expected = _as_tensor(found, what), torch.as_tensor(expected).detach().double().cpu()
    allowed = tol * max(1.0, expected.abs().max().item() if expected.numel() else 1.0)

    def near(value) -> bool:
        value = torch.as_tensor(value).detach().double().cpu()
        return value.shape == found.shape and bool(((found == value) | ((found - value).abs() <= allowed)).all())

    if near(expected):
        return
    for message, value in (suspects or {}).items():
        if near(value):
            same = found.shape == expected.shape
            raise Wrong(_capital(f"{shown(found, expected, what) if same else what}: {message}"))
    if not torch.isfinite(found).all() and torch.isfinite(expected).all():
        bad = "NaN" if found.isnan().any() else "infinity"
        said = f"{_capital(what)} {'contains' if found.dim() else 'is'} {bad}"
        raise Wrong(f"{said}; every value should be finite.", "Division by 0, log(0), exp(800)?")
    if found.shape != expected.shape:
        said, look = shape_mistake(found, expected, what, allowed)
    else:
        said, look = mistake(found, expected, what, count, near)
    raise Wrong(_capital(said), look)


def expect_equal(found, expected: list, what: str, suspects: Mapping | None = None) -> None:
    """Raise :class:`Wrong` unless the lists are equal, with the usual mistake that gives this one.

    Args:
        found: a list, a tuple or a tensor; tuples in it count as lists.
        expected: the right list.
        what: what is compared, with its verb: "the labels are".
        suspects: reason -> what a learner gets who makes that mistake.

    >>> expect_equal([1, 2], [0, 1], "the places are", {"places start at 0.": [1, 2]})
    Traceback (most recent call last):
    sftlab.teach.compare.Wrong: The places are [1, 2], expected [0, 1]: places start at 0.
    """
    found = as_list(found)
    if found == expected:
        return
    said = _capital(f"{what} {found}, expected {expected}")
    for reason, value in (suspects or {}).items():
        if found == value:
            raise Wrong(f"{said}: {reason}")
    raise Wrong(f"{said}.")


def as_list(found) -> list:
    """A learner's list, tuple or tensor as a list of plain values and lists.

    Raises:
        Wrong: it is something else.

    >>> as_list((torch.tensor(3), (1, 2)))
    [3, [1, 2]]
    """
    if isinstance(found, torch.Tensor):
        found = torch.atleast_1d(found).tolist()
    if not isinstance(found, list | tuple):
        raise Wrong(f"A list is wanted, and {a_kind(found)} came back.")
    return [_plain(x) for x in found]


def _plain(value):
    if isinstance(value, list | tuple):
        return [_plain(x) for x in value]
    return value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value


def expect_attached(result, name: str) -> None:
    """Raise :class:`Wrong` unless gradients can flow through the result."""
    if not isinstance(result, torch.Tensor):
        raise Wrong(
            f"`{name}` returns {a_kind(result)}, not a tensor: no gradient can flow through it.",
            "`.item()`, `float(...)`, `math.log` and NumPy leave the graph; torch's own operations stay in it.",
        )
    if not result.requires_grad:
        raise Wrong(
            f"The result of `{name}` is detached from its input: `backward()` would not reach it.",
            "Look for `.detach()`, `.data`, `.item()`, `torch.tensor(...)` around a tensor, and `torch.no_grad()`.",
        )


def expect_repeatable(answer, *inputs) -> None:
    """Raise :class:`Wrong` if two calls with the same input differ."""
    first, second = call(answer, *inputs), call(answer, *inputs)
    if not same(first, second):
        name = getattr(answer, "__name__", "answer")
        raise Wrong(
            f"Two calls of `{name}` with the same input give different results.",
            "Something random is left (dropout, `rand`), or something outside the function keeps a memory.",
        )


def expect_shape(found, shape: tuple, what: str = "the result") -> None:
    """Raise :class:`Wrong` unless found has this shape."""
    found = _as_tensor(found, what)
    if found.shape != tuple(shape):
        raise Wrong(f"{_capital(what)} has shape {list(found.shape)}, expected {list(shape)}.")


def _fitting_parameters(answer, name: str, inputs: tuple, keywords: dict) -> list[str]:
    try:
        signature = inspect.signature(answer)
    except (TypeError, ValueError):  # some built-in functions do not tell
        return []
    try:
        signature.bind(*inputs, **keywords)
    except TypeError as error:
        raise Wrong(
            f"`{name}{signature}` cannot be called with {len(inputs) + len(keywords)} arguments: {error}.",
            "Leave the first line of the stub, with the names in parentheses, as it was.",
        ) from None
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in signature.parameters.values() if p.kind in kinds]


def _as_tensor(found, what: str) -> torch.Tensor:
    if isinstance(found, torch.Tensor):
        tensor = found
    elif isinstance(found, bool) or not isinstance(found, int | float | np.ndarray | np.generic | list | tuple):
        raise Wrong(f"{_capital(what)} is {a_kind(found)}; expected a tensor or a number.")
    else:
        try:
            tensor = torch.stack(tuple(found)) if _tensors(found) else torch.as_tensor(np.asarray(found, dtype=float))
        except (TypeError, ValueError, RuntimeError):
            raise Wrong(f"{_capital(what)} is {a_kind(found)} that does not hold numbers of one shape.") from None
    if tensor.is_complex() or tensor.dtype == torch.bool:
        kind = str(tensor.dtype).removeprefix("torch.")
        raise Wrong(f"{_capital(what)} has the type {kind}; expected numbers.", "Is a comparison left in it?")
    return tensor.detach().double().cpu()


def _tensors(found) -> bool:
    return isinstance(found, list | tuple) and bool(found) and all(isinstance(x, torch.Tensor) for x in found)


def _copy(value):
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, list | tuple):
        return [_copy(x) for x in value]
    if isinstance(value, set):
        return set(value)
    return {k: _copy(v) for k, v in value.items()} if isinstance(value, dict) else value


def same(a, b) -> bool:
    """Equal in every bit that counts: values and shapes of tensors, arrays and containers; NaN equals NaN."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b, equal_nan=a.dtype.kind in "fc" and b.dtype.kind in "fc")
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, set) and isinstance(b, set):
        return a == b
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    # Models, tokenisers and the like are compared by identity alone: their own == may do anything.
    return a is b or (isinstance(a, int | float | str) and isinstance(b, int | float | str) and a == b)


def a_kind(value) -> str:
    """What a learner's value is, with its article, for messages; the same for an object of another process.

    >>> a_kind(3), a_kind("three")
    ('an int', 'a str')
    """
    kind = type(value).__name__ if not isinstance(value, type) else f"class {value.__name__}"
    kind = getattr(value, "kind_name", kind)  # see wire.py
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"


def a_shape(value) -> str:
    """The shape of a learner's tensor, for messages; of anything else what it is.

    >>> a_shape(torch.zeros(2, 3)), a_shape(3)
    ('[2, 3]', 'an int')
    """
    return str(list(value.shape)) if isinstance(value, torch.Tensor) else a_kind(value)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
