"""The learner's function as the grader's check sees it: each call goes to the process of the submission.

Gradients go there, too: ``backward`` through a result asks that process for the gradients of the inputs. Only data
travels, so the check, its comparisons and its verdict stay out of the submission's reach.
"""

import inspect

import torch

from .compare import NotWritten, Wrong, same
from .sandbox import Box
from .wire import decode, encode


class LearnerError(Exception):
    """An error that the learner's code raised in its process."""

    def __init__(self, facts: dict):
        super().__init__(str(facts.get("message", "")))
        self.kind = str(facts.get("kind", "an error"))
        line = facts.get("line")
        self.line = (line[0], str(line[1])) if isinstance(line, list) and len(line) == 2 else None


class RemoteFunction:
    """Call it like the function it stands for."""

    def __init__(self, box: Box, name: str, parameters: list | None):
        self._box, self._calls, self.__name__ = box, 0, name
        if parameters is None:
            return
        try:
            self.__signature__ = inspect.Signature(
                [
                    inspect.Parameter(str(n), inspect._ParameterKind(kind), default=... if has else inspect._empty)
                    for n, kind, has in parameters
                ]
            )
        except (TypeError, ValueError):
            pass  # a process that lies about it gains nothing

    def __call__(self, *inputs, **keywords):
        self._calls += 1
        handle = str(self._calls)
        leaves: list[torch.Tensor] = []
        trees = {"inputs": encode(inputs, leaves), "keywords": encode(keywords, leaves)}
        reply = _answer(self._box.ask({"call": {**trees, "handle": handle}}))
        self._repeat_changes(inputs, decode(reply.get("inputs")))
        attached: list[torch.Tensor] = []
        decode(reply.get("result"), lambda t, grad: attached.append(t) if grad else None)
        linked = iter(())
        if attached and leaves and torch.is_grad_enabled():
            linked = iter(_Link.apply(self._box, handle, attached, *leaves))
        elif attached:
            linked = iter([t.requires_grad_() if t.is_floating_point() else t for t in attached])
        return decode(reply.get("result"), lambda t, grad: next(linked) if grad else t)

    @staticmethod
    def _repeat_changes(inputs: tuple, after) -> None:
        """What the code did to its inputs there is done to them here, where the check looks."""
        if not isinstance(after, list) or len(after) != len(inputs):
            raise Wrong("The submission's process did not answer the call properly.")
        for mine, theirs in zip(inputs, after, strict=True):
            if same(mine, theirs) or type(mine) is not type(theirs):
                continue
            if isinstance(mine, torch.Tensor):
                mine.data = theirs.to(mine.dtype)
            elif isinstance(mine, list):
                mine[:] = theirs
            elif isinstance(mine, dict):
                mine.clear()
                mine.update(theirs)
            elif hasattr(mine, "flags") and mine.shape == theirs.shape:  # a NumPy array
                mine[...] = theirs


class _Link(torch.autograd.Function):
    @staticmethod
    def forward(ctx, box, handle, outputs, *leaves):
        ctx.box, ctx.handle = box, handle
        return tuple(t.clone() for t in outputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *gradients):
        reply = _answer(ctx.box.ask({"vjp": ctx.handle, "gradients": encode(list(gradients))}))
        return (None, None, None, *decode(reply.get("gradients")))


def load(box: Box, cells: list, answer: str):
    """Run the cells of a submission in its box, and return its answer: a function to call, or a value.

    Raises:
        NotWritten: the name that the check needs is not defined; the message says what is.
        LearnerError: the exercise's cell raised an error.
    """
    reply = _answer(box.ask({"cells": cells, "answer": answer}))
    if "missing" in reply:
        there = ", ".join(f"`{str(n)[:60]}`" for n in list(reply["missing"])[:5]) or "nothing"
        raise NotWritten(f"The exercise's cell defines {there}, and not `{answer}`: was it renamed?")
    if "function" in reply:
        parameters = reply.get("parameters")
        return RemoteFunction(box, str(reply["function"])[:60], parameters if isinstance(parameters, list) else None)
    return decode(reply.get("value"))


def _answer(reply: dict) -> dict:
    if "error" in reply:
        facts = reply["error"] if isinstance(reply["error"], dict) else {}
        if facts.get("kind") == "NotImplementedError":
            raise NotImplementedError
        raise LearnerError(facts)
    return reply
