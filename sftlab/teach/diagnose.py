"""Which of the usual mistakes explains a wrong number: each is tried on the right one."""

import math
from collections.abc import Callable

import torch


def mistake(found: torch.Tensor, expected: torch.Tensor, what: str, count: int, near: Callable) -> tuple[str, str]:
    """What is wrong with found, which has the shape of expected, and where to look.

    Args:
        found, expected: float64.
        what: what is compared.
        count: the number of samples, or 0.
        near: tells whether found equals a value.

    >>> found, expected = torch.tensor([-1.0, -2.0]).double(), torch.tensor([1.0, 2.0]).double()
    >>> mistake(found, expected, "the loss", 0, lambda value: torch.allclose(found, value))[0]
    'the loss at [1] is -2, expected 2: it has the wrong sign.'
    """
    said = shown(found, expected, what)
    for value, reason, look in _usual(expected, count):
        if near(value) and not torch.allclose(value, expected):
            return f"{said}: {reason}", look
    difference = (found - expected).abs()
    differ = difference > 1e-5 * max(1.0, expected.abs().max().item())
    wrong = int(differ.sum())
    if found.numel() > 1 and torch.allclose(found.flatten().sort()[0], expected.flatten().sort()[0]):
        return f"{said}: these are the right values in the wrong order.", "Which axis, which index?"
    if found.numel() > 1 and wrong > 1:
        ratio = found[expected != 0] / expected[expected != 0]
        if ratio.numel() > 1 and (ratio - ratio[0]).abs().max() <= 1e-4 * ratio[0].abs():
            return f"{said}: everywhere {ratio[0].item():.4g} times as much.", "Which factor is too many, or missing?"
        offset = found - expected
        if (offset - offset.flatten()[0]).abs().max() <= 1e-5 * max(1.0, offset.abs().max().item()):
            return f"{said}: everywhere {offset.flatten()[0].item():+.4g}.", "Which term is too many, or missing?"
    if difference.max() <= 0.02 * max(expected.abs().max().item(), 1e-12):
        return (
            f"{said}: close, but not equal.",
            "Is something rounded, of low precision, or added (an epsilon)?",
        )
    if 0 < wrong < found.numel():
        return (
            f"{said}; {wrong} of {found.numel()} values are wrong, the others right.",
            "What is special about these?",
        )
    return f"{said}.", "Compute one value by hand on the smallest input, and compare line by line."


def shape_mistake(found: torch.Tensor, expected: torch.Tensor, what: str, allowed: float) -> tuple[str, str]:
    """What is wrong with found, whose shape is not that of expected, and where to look.

    >>> shape_mistake(torch.ones(3), torch.tensor(3.0), "the loss", 1e-5)
    ('the loss has shape [3], expected []: its sum is the expected number.', 'The last step, the sum, is missing.')
    """
    shapes = f"{what} has shape {list(found.shape)}, expected {list(expected.shape)}"
    if not expected.dim() and found.numel() > 1:
        for name, value in (("mean", found.mean()), ("sum", found.sum())):
            if abs(value - expected) <= allowed:
                return (
                    f"{shapes}: its {name} is the expected number.",
                    f"The last step, the {name}, is missing.",
                )
        return f"{shapes}: one number is wanted, not {found.numel()}.", "Is a sum or a mean missing?"
    if not found.dim() and expected.numel() > 1:
        return f"{shapes}: you return one number.", "Is there a `sum()`, `mean()` or `max()` without `dim`?"
    if found.squeeze().shape == expected.squeeze().shape:
        more = found.dim() > expected.dim()
        return (
            f"{shapes}: an axis of length 1 too {'many' if more else 'few'}.",
            "`keepdim`, `squeeze`, `[:, 0]`?",
        )
    if found.dim() == 2 and found.shape == expected.T.shape:
        return f"{shapes}: rows and columns are exchanged.", "Which factor has to be transposed?"
    if found.numel() == expected.numel():
        return f"{shapes}: the values are as many, but laid out otherwise.", "`reshape`, `flatten`?"
    return f"{shapes}.", "Print the shape after every line and find the first that surprises you."


def shown(found: torch.Tensor, expected: torch.Tensor, what: str) -> str:
    """The largest difference in words."""
    if not found.dim():
        return f"{what} is {found.item():.4g}, expected {expected.item():.4g}"
    at = tuple(int(i) for i in torch.unravel_index((found - expected).abs().argmax(), found.shape))
    return f"{what} at {list(at)} is {found[at].item():.4g}, expected {expected[at].item():.4g}"


def _usual(expected: torch.Tensor, count: int):
    """Pairs of what a mistake gives and its name, the most common first."""
    if count > 1:
        yield expected * count, f"that is {count} times as much, a sum instead of a mean.", ""
        yield expected / count, f"that is {count} times too small: divided by the number of samples twice.", ""
        yield -expected * count, "the wrong sign, and a sum instead of a mean.", ""
    yield -expected, "it has the wrong sign.", "Where does the minus of the formula stand?"
    if expected.dim() == 2 and expected.shape[0] == expected.shape[1]:
        yield expected.T, "rows and columns are exchanged.", "Which of the two factors has to be transposed?"
    yield expected / math.log(2), "that is a logarithm to base 2.", "The course uses the natural logarithm: `log`."
    yield expected / math.log(10), "that is a logarithm to base 10.", "The course uses the natural logarithm: `log`."
    yield expected.exp(), "that is exp of the expected value: a logarithm is missing.", ""
    if (expected > 0).all():
        yield expected.log(), "that is the logarithm of the expected value.", "A logarithm too many, or exp missing."
        yield expected.sqrt(), "that is its square root.", ""
    yield expected**2, "that is its square.", ""
    yield expected * 2, "that is twice as much.", "Is a factor 1/2 missing, or something added twice?"
    yield expected / 2, "that is half as much.", "Is there a factor 1/2 too many?"
    yield 1 - expected, "that is 1 minus the expected value.", "Is it the share of the others?"
    for axis in range(expected.dim()):
        yield expected.flip(axis), f"the order along dim {axis} is reversed.", ""
    yield (
        torch.zeros_like(expected),
        "everything is 0.",
        "Is the result overwritten, or rounded?",
    )
