"""Wrong answers to the exercises of chapter 04."""

import math

import torch

from sftlab.teach.mistakes import wrong


@wrong("04-heavy-ball", says="it brakes")
def ball_that_brakes(theta, before, g, eta, beta):
    """Takes the difference the wrong way round, so that the last move is subtracted."""
    return theta - eta * g + beta * (before - theta)


@wrong("04-heavy-ball", says="goes uphill")
def ball_uphill(theta, before, g, eta, beta):
    """Adds the gradient."""
    return theta + eta * g + beta * (theta - before)


@wrong("04-heavy-ball", says="rate multiplies the last move")
def ball_velocity_is_the_move(theta, before, g, eta, beta):
    """Takes the last move for the velocity of torch's form, and scales it by the rate again."""
    return theta - eta * (g + beta * (theta - before))


@wrong("04-heavy-ball", says="weighed by 1 - beta")
def ball_as_an_average(theta, before, g, eta, beta):
    """Mixes it with the form that averages gradients."""
    return theta - eta * (1 - beta) * g + beta * (theta - before)


@wrong("04-heavy-ball", says="changes its input `theta`")
def ball_in_place(theta, before, g, eta, beta):
    """Moves the caller's theta."""
    move = theta - before
    theta -= eta * g
    theta += beta * move
    return theta


@wrong("04-heavy-ball", says="the step, not the new point")
def ball_step_only(theta, before, g, eta, beta):
    """Returns the step instead of the point."""
    return -eta * g + beta * (theta - before)


@wrong("04-stable-rate", says="beta is missing")
def rate_of_plain_descent(A, beta):
    """Gives the bound of plain gradient descent."""
    curvatures = torch.linalg.eigvalsh(A)
    return 2 / curvatures[-1], curvatures[-1] / curvatures[0]


@wrong("04-stable-rate", says="momentum widens the range")
def rate_narrowed(A, beta):
    """Believes that momentum makes the stable range smaller."""
    curvatures = torch.linalg.eigvalsh(A)
    return 2 * (1 - beta) / curvatures[-1], curvatures[-1] / curvatures[0]


@wrong("04-stable-rate", says="on the diagonal")
def rate_from_the_diagonal(A, beta):
    """Takes the entries of the diagonal for the curvatures."""
    curvatures = A.diagonal().sort().values
    return 2 * (1 + beta) / curvatures[-1], curvatures[-1] / curvatures[0]


@wrong("04-stable-rate", says="Frobenius norm")
def rate_from_the_norm(A, beta):
    """Takes the Frobenius norm, which is what `A.norm()` computes, for the spectral norm."""
    curvatures = torch.linalg.eigvalsh(A)
    return 2 * (1 + beta) / A.norm(), curvatures[-1] / curvatures[0]


@wrong("04-stable-rate", says="upside down")
def rate_condition_inverted(A, beta):
    """Divides the smallest curvature by the greatest."""
    curvatures = torch.linalg.eigvalsh(A)
    return 2 * (1 + beta) / curvatures[-1], curvatures[0] / curvatures[-1]


@wrong("04-stable-rate", says="two numbers")
def rate_alone(A, beta):
    """Returns the rate only."""
    return 2 * (1 + beta) / torch.linalg.eigvalsh(A)[-1]


@wrong("04-schedule", says="first step has a rate of 0")
def rate_from_zero(step, steps, warmup, peak):
    """Counts the steps of warm-up from 0, so that the first batch is wasted."""
    if step < warmup:
        return peak * step / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


@wrong("04-schedule", says="cosine runs over all steps")
def rate_that_jumps(step, steps, warmup, peak):
    """Lets the cosine run over all steps; it jumps down where warm-up ends."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * step / steps))


@wrong("04-schedule", says="goes down to -1")
def rate_below_zero(step, steps, warmup, peak):
    """Takes the bare cosine: the second half climbs the loss."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * math.cos(math.pi * (step - warmup) / (steps - warmup))


@wrong("04-schedule", says="whole turn")
def rate_whole_turn(step, steps, warmup, peak):
    """Lets the cosine make a whole turn, so that the rate ends where it began."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(2 * math.pi * (step - warmup) / (steps - warmup)))


@wrong("04-schedule", says="division by zero")
def rate_needs_warmup(step, steps, warmup, peak):
    """Takes a minimum of both parts and divides by a warm-up of 0."""
    rise = (step + 1) / warmup
    fall = 0.5 * (1 + math.cos(math.pi * max(0, step - warmup) / (steps - warmup)))
    return peak * min(rise, fall)


@wrong("04-clip", says="by its own norm")
def clip_each(grads, limit):
    """Clips each tensor by itself, which turns the step."""
    return [g * (limit / g.norm()).clamp(max=1.0) for g in grads]


@wrong("04-clip", says="cut on its own")
def clip_values(grads, limit):
    """Clips the entries instead of the norm."""
    return [g.clamp(-limit, limit) for g in grads]


@wrong("04-clip", says="made longer")
def clip_always(grads, limit):
    """Scales every gradient to the limit, short ones too."""
    norm = sum(g.square().sum() for g in grads).sqrt()
    return [g * limit / norm for g in grads]


@wrong("04-clip", says="norms of the tensors are added")
def clip_sum_of_norms(grads, limit):
    """Adds the norms of the tensors instead of their squares."""
    norm = sum(g.norm() for g in grads)
    return [g * (limit / norm).clamp(max=1.0) for g in grads]


@wrong("04-clip", says="changes its input `grads`")
def clip_in_place(grads, limit):
    """Multiplies the caller's gradients."""
    factor = (limit / sum(g.square().sum() for g in grads).sqrt()).clamp(max=1.0)
    return [g.mul_(factor) for g in grads]


@wrong("04-clip", says="zeros becomes NaN")
def clip_minimum_of_tensors(grads, limit):
    """Multiplies by limit / norm first: 0 times infinity where there is no gradient."""
    norm = sum(g.square().sum() for g in grads).sqrt()
    return [torch.where(norm < limit, g, g * limit / norm) if norm > 0 else g * (limit / norm) for g in grads]


@wrong("04-adamw", says="Adam with L2")
def adamw_as_l2(theta, gradients, eta, decay):
    """Adds the decay to the gradient, where it is divided by the root of v."""
    m, v = torch.zeros_like(theta), torch.zeros_like(theta)
    for t, g in enumerate(gradients, start=1):
        g = g + decay * theta
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        theta = theta - eta * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    return theta


@wrong("04-adamw", says="bias correction is missing")
def adamw_uncorrected(theta, gradients, eta, decay):
    """Forgets the bias correction."""
    m, v = torch.zeros_like(theta), torch.zeros_like(theta)
    for g in gradients:
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        theta = theta * (1 - eta * decay) - eta * m / (v.sqrt() + 1e-8)
    return theta


@wrong("04-adamw", says="contains NaN")
def adamw_from_zero(theta, gradients, eta, decay):
    """Counts the steps from 0, so that the first correction divides by 0."""
    m, v = torch.zeros_like(theta), torch.zeros_like(theta)
    for t, g in enumerate(gradients):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        theta = theta * (1 - eta * decay) - eta * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    return theta


@wrong("04-adamw", says="new in every step")
def adamw_without_memory(theta, gradients, eta, decay):
    """Creates the averages in the loop, as an optimizer that is created for each batch does."""
    for g in gradients:
        m, v = 0.1 * g, 0.001 * g**2
        theta = theta * (1 - eta * decay) - eta * (m / 0.1) / ((v / 0.001).sqrt() + 1e-8)
    return theta


@wrong("04-adamw", says="not multiplied by eta")
def adamw_decay_without_rate(theta, gradients, eta, decay):
    """Shrinks by the decay itself, as the first printed form of the paper's algorithm may be read."""
    m, v = torch.zeros_like(theta), torch.zeros_like(theta)
    for t, g in enumerate(gradients, start=1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        theta = theta * (1 - decay) - eta * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    return theta


@wrong("04-adamw", says="inside of the root")
def adamw_epsilon_inside(theta, gradients, eta, decay):
    """Adds epsilon before the root."""
    m, v = torch.zeros_like(theta), torch.zeros_like(theta)
    for t, g in enumerate(gradients, start=1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        theta = theta * (1 - eta * decay) - eta * (m / (1 - 0.9**t)) / (v / (1 - 0.999**t) + 1e-8).sqrt()
    return theta


@wrong("04-adamw", says="corrected averages are stored")
def adamw_corrects_twice(theta, gradients, eta, decay):
    """Stores the corrected averages."""
    m, v = torch.zeros_like(theta), torch.zeros_like(theta)
    for t, g in enumerate(gradients, start=1):
        m, v = (0.9 * m + 0.1 * g) / (1 - 0.9**t), (0.999 * v + 0.001 * g**2) / (1 - 0.999**t)
        theta = theta * (1 - eta * decay) - eta * m / (v.sqrt() + 1e-8)
    return theta


@wrong("04-adamw", says="changes its input `theta`")
def adamw_in_place(theta, gradients, eta, decay):
    """Changes the caller's weights."""
    m, v = torch.zeros_like(theta), torch.zeros_like(theta)
    for t, g in enumerate(gradients, start=1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        theta *= 1 - eta * decay
        theta -= eta * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    return theta
