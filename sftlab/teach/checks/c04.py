"""Checks of chapter 04: the heavy ball, its stable rate, a schedule, clipping by the global norm, AdamW."""

import math

import torch

from ..compare import Wrong, call, draw, expect, expect_close, expect_repeatable


def heavy_ball(answer) -> None:
    """theta - eta g + beta (theta - before)."""
    theta, before, g, eta, beta = draw(5), draw(5, seed=1), draw(5, seed=2), 0.3, 0.8
    move = theta - before
    right = theta - eta * g + beta * move
    suspects = {
        "the sign of the last move is wrong: it brakes instead of rolling on. The move is theta - before.": (
            theta - eta * g - beta * move
        ),
        "the sign of the gradient is wrong: that goes uphill.": theta + eta * g + beta * move,
        "the ball starts from `before`; the new point is the present one plus a step.": (
            before - eta * g + beta * move
        ),
        "that is the step, not the new point: add it to theta.": -eta * g + beta * move,
        "the last move is missing: that is plain gradient descent.": theta - eta * g,
        "the learning rate multiplies the last move, too; it belongs to the gradient alone.": (
            theta - eta * g + eta * beta * move
        ),
        "the learning rate multiplies the last move, too, with the wrong sign.": theta - eta * (g + beta * move),
        "the gradient is weighed by 1 - beta: that is an average of gradients, another form with another rate.": (
            theta - eta * (1 - beta) * g + beta * move
        ),
        "beta multiplies the whole point, not the move: without a gradient a ball at rest would leave.": (
            theta - eta * g + beta * theta
        ),
        "the learning rate is missing.": theta - g + beta * move,
    }
    expect_close(call(answer, theta, before, g, eta, beta), right, "the new point", suspects)
    expect_repeatable(answer, theta, before, g, eta, beta)
    expect_close(call(answer, theta, theta, g, eta, 0.0), theta - eta * g, "the new point for beta = 0")


def stable_rate(answer) -> None:
    """(2 (1 + beta) / L, L / mu) for f = 1/2 theta' A theta."""
    half, beta = draw(4, 4), 0.6
    A = half @ half.T + 0.5 * torch.eye(4)
    curvatures = torch.linalg.eigvalsh(A)
    mu, L = curvatures[0], curvatures[-1]
    found = call(answer, A, beta)
    expect(
        isinstance(found, tuple | list) and len(found) == 2,
        "`stable_rate` should return two numbers: the rate and the condition number.",
        "End with `return rate, kappa`.",
    )
    top = 2 * (1 + beta)
    suspects = {
        "beta is missing: that is the bound of plain gradient descent.": 2 / L,
        "the sign of beta is wrong: momentum widens the range, the factor is 1 + beta.": 2 * (1 - beta) / L,
        "the factor is 1 + beta, not 1 / (1 - beta): a step may be that long, but in the steep direction "
        "the signs alternate.": 2 / (1 - beta) / L,
        "that is half of the bound.": (1 + beta) / L,
        "L is the trace of A, the sum of the curvatures; take the greatest one.": top / A.trace(),
        "L is the Frobenius norm of A; take the greatest eigenvalue.": top / A.norm(),
        "L is the greatest entry on the diagonal; unless A is diagonal that is no eigenvalue.": top
        / A.diagonal().max(),
        "the smallest curvature decides nothing: the greatest diverges first.": top / mu,
        "that is the best rate of gradient descent, not the bound.": 2 / (L + mu),
        "L is the greatest entry of A; take the greatest eigenvalue.": top / A.max(),
    }
    expect_close(found[0], top / L, "the rate", suspects)
    suspects = {
        "it is upside down: greatest over smallest.": mu / L,
        "that is its root.": (L / mu).sqrt(),
        "that is its square: the condition number of A A.": (L / mu) ** 2,
        "it is taken from the diagonal of A; take the eigenvalues.": A.diagonal().max() / A.diagonal().min(),
        "that is the difference of the curvatures; it is a ratio.": L - mu,
    }
    expect_close(found[1], L / mu, "the condition number", suspects)
    for beta in (0.0, 0.9):
        diagonal = torch.diag(torch.tensor([3.0, 0.5, 8.0]).double())
        expect_close(call(answer, diagonal, beta)[0], (1 + beta) / 4, f"the rate for curvatures 3, 0.5, 8, beta {beta}")
    expect_close(call(answer, diagonal, 0.0)[1], 16.0, "the condition number for curvatures 3, 0.5, 8")


def schedule(answer) -> None:
    """Linear warm-up over `warmup` steps, then half a cosine from peak towards 0 at step `steps`."""
    steps, warmup, peak = 20, 5, 0.4

    def cosine(share, turns=1.0):
        return peak * 0.5 * (1 + math.cos(turns * math.pi * share))

    def whole(rise, fall):
        return torch.tensor([rise(t) if t < warmup else fall(t) for t in range(steps)], dtype=torch.float64)

    def rise(t):
        return peak * (t + 1) / warmup

    def fall(t):
        return cosine((t - warmup) / (steps - warmup))

    found = torch.tensor([_number(call(answer, t, steps, warmup, peak), t) for t in range(steps)], dtype=torch.float64)
    suspects = {
        "the first step has a rate of 0 and does nothing; in warm-up step t the rate is (t + 1) / warmup.": whole(
            lambda t: peak * t / warmup, fall
        ),
        "the rate jumps after warm-up: the cosine runs over all steps; let it begin where warm-up ends.": whole(
            rise, lambda t: cosine(t / steps)
        ),
        "the rate jumps after warm-up: what is left are steps - warmup steps, and you divide by all of them.": whole(
            rise, lambda t: cosine((t - warmup) / steps)
        ),
        "the cosine runs over a whole turn: it falls and rises again. Half a turn ends at pi.": whole(
            rise, lambda t: cosine((t - warmup) / (steps - warmup), 2)
        ),
        "the cosine runs over a quarter only and ends at half of the peak.": whole(
            rise, lambda t: cosine((t - warmup) / (steps - warmup), 0.5)
        ),
        "the cosine itself goes down to -1, and so does the rate: shift and halve it, (1 + cos) / 2.": whole(
            rise, lambda t: peak * math.cos(math.pi * (t - warmup) / (steps - warmup))
        ),
        "after warm-up the rate falls along a line, not along a cosine.": whole(
            rise, lambda t: peak * (1 - (t - warmup) / (steps - warmup))
        ),
        "after warm-up the rate stays; the cosine is missing.": whole(rise, lambda t: peak),
        "the cosine reaches 0 in the last step, which then does nothing; it would reach 0 in step `steps`.": whole(
            rise, lambda t: cosine((t - warmup) / (steps - 1 - warmup))
        ),
        "the peak is missing: these are the rates for a peak of 1.": whole(rise, fall) / peak,
        "there is no warm-up in it.": torch.tensor([cosine(t / steps) for t in range(steps)], dtype=torch.float64),
    }
    expect_close(found, whole(rise, fall), "the rate over 20 steps, 5 of them warm-up,", suspects)
    first = call(answer, 0, 10, 0, peak)  # a warm-up of 0 steps must not be divided by
    expect_close(_number(first, 0), peak, "the rate of step 0 without warm-up")
    expect_close(_number(call(answer, 5, 10, 0, peak), 5), peak / 2, "the rate in the middle without warm-up")


def clip(answer) -> None:
    """One common factor min(1, limit / norm of all)."""
    grads, limit = [3 * draw(2, 3), draw(4, seed=1), 0.1 * draw(1, seed=2)], 1.5
    norm = torch.cat([g.flatten() for g in grads]).norm()
    flat = torch.cat([g.flatten() for g in grads])

    def joined(parts):
        return torch.cat([part.flatten() for part in parts])

    found = _list(call(answer, grads, limit), grads)
    squares = sum(g.square().sum() for g in grads)
    suspects = {
        "each tensor is clipped by its own norm: that changes the direction of the step. One norm, one factor.": joined(
            [g * min(1.0, (limit / g.norm()).item()) for g in grads]
        ),
        "each number is cut on its own: that changes the direction of the step.": flat.clamp(-limit, limit),
        "the root is missing: the norm is the root of the sum of the squares.": flat * limit / squares,
        "the norms of the tensors are added; add their squares, and take the root once.": (
            flat * limit / sum(g.norm() for g in grads)
        ),
        "the factor comes from the longest tensor, not from all numbers together.": (
            flat * limit / max(g.norm() for g in grads)
        ),
        "nothing is clipped.": flat,
        "the gradient has length 1 now; it should have the length of the limit.": flat / norm,
        "the factor is upside down: limit / norm.": flat * norm / limit,
    }
    expect_close(joined(found), flat * limit / norm, "the clipped gradient (all tensors in a row)", suspects)
    short = [g / 100 for g in grads]
    found = _list(call(answer, short, limit), short)
    suspects = {
        "a short gradient is made longer: the factor may not exceed 1.": flat * limit / norm,
    }
    expect_close(joined(found), joined(short), "a gradient that is shorter than the limit", suspects)
    zeros = [torch.zeros(3).double(), torch.zeros(2, 2).double()]
    found = joined(_list(call(answer, zeros, limit), zeros))
    expect(
        bool(found.isfinite().all()),
        "A gradient of zeros becomes NaN.",
        "limit / 0 is infinity, and infinity * 0 is NaN: let the factor be at most 1 before you multiply.",
    )
    expect_close(found, torch.zeros(7), "a gradient of zeros")


def adamw(answer) -> None:
    """theta after T steps of AdamW, as torch computes it."""
    theta, eta, decay = 2 * draw(4), 0.05, 0.3
    G = draw(12, 4, seed=1) * torch.tensor([1.0, 30.0, 1e-3, 1e-8]).double()
    right = _adamw(theta, G, eta, decay)
    suspects = {
        "the decay stands in the gradient, where it is divided by the root of v: that is Adam with L2.": _adamw(
            theta, G, eta, decay, l2=True
        ),
        "the bias correction is missing: the first steps are about three times too long.": _adamw(
            theta, G, eta, decay, correct=False
        ),
        "the decay is missing: that is Adam.": _adamw(theta, G, eta, 0.0),
        "the decay is not multiplied by eta: theta shrinks by 1 - eta * decay in a step.": _adamw(
            theta, G, eta, decay / eta
        ),
        "the averages are new in every step, so each step is eta times a sign.": _adamw(
            theta, G, eta, decay, forget=True
        ),
        "epsilon stands inside of the root, where its root counts: 1e-4 instead of 1e-8.": _adamw(
            theta, G, eta, decay, inside=True
        ),
        "the counter runs one step ahead: in the first step t is 1.": _adamw(theta, G, eta, decay, first=2),
        "the corrected averages are stored, so the correction is applied again and again.": _adamw(
            theta, G, eta, decay, store=True
        ),
        "the root of v is missing.": _adamw(theta, G, eta, decay, root=False),
        "theta is shrunk after the step, and the step with it; torch shrinks first.": _adamw(
            theta, G, eta, decay, last=True
        ),
        "beta1 and beta2 are exchanged.": _adamw(theta, G, eta, decay, betas=(0.999, 0.9)),
        "the sign of the step is wrong: that goes uphill.": _adamw(theta, -G, eta, decay),
        "the decay makes theta grow: the factor is 1 - eta * decay.": _adamw(theta, G, eta, -decay),
    }
    found = call(answer, theta, G, eta, decay)
    if isinstance(found, torch.Tensor) and found.isnan().any():
        raise Wrong(
            "Theta contains NaN.", "In the first step t is 1, not 0: 1 - 0.9 ** 0 is 0, and 0 / 0 is not a number."
        )
    expect_close(found, right, "theta after 12 steps", suspects)
    expect_repeatable(answer, theta, G, eta, decay)


def _adamw(
    theta, G, eta, decay, l2=False, correct=True, forget=False, inside=False, first=1, store=False, root=True,
    last=False, betas=(0.9, 0.999),
):  # fmt: skip
    """AdamW, or one of the usual mistakes in it."""
    m, v = torch.zeros_like(theta), torch.zeros_like(theta)
    for t, g in enumerate(G, start=first):
        if forget:
            m, v, t = 0 * m, 0 * v, 1
        g = g + decay * theta if l2 else g
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g**2
        a, b = (m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)) if correct else (m, v)
        if store:
            m, v = a, b
        below = (b + 1e-8).sqrt() if inside else (b.sqrt() if root else b) + 1e-8
        shrink = 1.0 if l2 else 1 - eta * decay
        theta = (theta - eta * a / below) * shrink if last else theta * shrink - eta * a / below
    return theta


def _number(found, step: int) -> float:
    value = found.item() if isinstance(found, torch.Tensor) and found.numel() == 1 else found
    expect(
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value),
        f"The rate of step {step} should be one finite number.",
    )
    return float(value)


def _list(found, grads: list) -> list:
    expect(
        isinstance(found, list | tuple) and all(isinstance(part, torch.Tensor) for part in found),
        "`clip` should return a list of tensors.",
        "Build a new list, `[... for g in grads]`.",
    )
    shapes, wanted = [list(part.shape) for part in found], [list(part.shape) for part in grads]
    expect(shapes == wanted, f"The tensors have the shapes {shapes}, expected {wanted}: as they came in.")
    return list(found)


CHECKS = {
    "04-heavy-ball": heavy_ball,
    "04-stable-rate": stable_rate,
    "04-schedule": schedule,
    "04-clip": clip,
    "04-adamw": adamw,
}
INSIDE: set[str] = set()
