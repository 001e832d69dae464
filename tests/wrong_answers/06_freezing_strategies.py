"""Wrong answers to the exercises of chapter 06."""

import torch

from sftlab.teach.mistakes import wrong


@wrong("06-memory", says="frozen ones have none")
def memory_of_full_training(sizes, trains):
    """Counts 16 bytes for every parameter, frozen or not."""
    return 16 * sum(sizes)


@wrong("06-memory", says="the frozen weights are missing")
def memory_of_trained_layers(sizes, trains):
    """Forgets that frozen weights lie in memory, too."""
    return 16 * sum(n for n, on in zip(sizes, trains, strict=True) if on)


@wrong("06-memory", says="*two* moments")
def memory_with_one_moment(sizes, trains):
    """Counts one moment: that is SGD with momentum, not AdamW."""
    return 4 * sum(sizes) + 8 * sum(n for n, on in zip(sizes, trains, strict=True) if on)


@wrong("06-memory", says="not bytes")
def memory_in_numbers(sizes, trains):
    """Counts numbers instead of bytes."""
    return sum(sizes) + 3 * sum(n for n, on in zip(sizes, trains, strict=True) if on)


@wrong("06-batch-norm", says="takes the unbiased one")
def batch_norm_biased(x, mean, var, training):
    """Moves the running variance towards the biased one."""
    if training:
        mu, s2 = x.mean(0), x.var(0, correction=0)
        return (x - mu) / (s2 + 1e-5).sqrt(), 0.9 * mean + 0.1 * mu, 0.9 * var + 0.1 * s2
    return (x - mean) / (var + 1e-5).sqrt(), mean, var


@wrong("06-batch-norm", says="0.9 and 0.1 are exchanged")
def batch_norm_backwards(x, mean, var, training):
    """Keeps a tenth of the running value instead of nine."""
    if training:
        mu, s2 = x.mean(0), x.var(0, correction=0)
        return (x - mu) / (s2 + 1e-5).sqrt(), 0.1 * mean + 0.9 * mu, 0.1 * var + 0.9 * x.var(0)
    return (x - mean) / (var + 1e-5).sqrt(), mean, var


@wrong("06-batch-norm", says="after eval mode")
def batch_norm_always_moving(x, mean, var, training):
    """Moves the statistics in eval mode, too."""
    new_mean, new_var = 0.9 * mean + 0.1 * x.mean(0), 0.9 * var + 0.1 * x.var(0)
    mu, s2 = (x.mean(0), x.var(0, correction=0)) if training else (mean, var)
    return (x - mu) / (s2 + 1e-5).sqrt(), new_mean, new_var


@wrong("06-batch-norm", says="those of the batch count")
def batch_norm_of_running_values(x, mean, var, training):
    """Normalises by the running statistics in train mode."""
    out = (x - mean) / (var + 1e-5).sqrt()
    if training:
        mean, var = 0.9 * mean + 0.1 * x.mean(0), 0.9 * var + 0.1 * x.var(0)
    return out, mean, var


@wrong("06-batch-norm", says="changes its input `mean`")
def batch_norm_in_place(x, mean, var, training):
    """Writes into the caller's running statistics."""
    mu, s2 = (x.mean(0), x.var(0, correction=0)) if training else (mean.clone(), var.clone())
    if training:
        mean.mul_(0.9).add_(0.1 * mu)
        var.mul_(0.9).add_(0.1 * x.var(0))
    return (x - mu) / (s2 + 1e-5).sqrt(), mean, var


@wrong("06-rates", says="order is reversed")
def rates_from_the_head(layers, lr, head_lr, decay):
    """Lists the rates from the head down."""
    return [head_lr, *(lr * decay**d for d in range(layers - 1))]


@wrong("06-rates", says="wrong way")
def rates_upside_down(layers, lr, head_lr, decay):
    """Lets the layer next to the input learn fastest."""
    return [*(lr * decay**d for d in range(layers - 1)), head_lr]


@wrong("06-rates", says="already decayed once")
def rates_off_by_one(layers, lr, head_lr, decay):
    """Counts the depth from the head, so that the topmost trunk layer is decayed once."""
    return [*(lr * decay ** (layers - 1 - i) for i in range(layers - 1)), head_lr]


@wrong("06-rates", says="same *factor*")
def rates_linear(layers, lr, head_lr, decay):
    """Subtracts the same amount from layer to layer."""
    return [*(lr * (1 - decay * (layers - 2 - i)) for i in range(layers - 1)), head_lr]


@wrong("06-freeze", says="is frozen and in train mode")
def freeze_without_eval(model, names):
    """Turns gradients off and leaves BatchNorm and dropout in train mode."""
    model.train()
    for name, child in model.named_children():
        child.requires_grad_(name not in names)
        if name in names:
            child.zero_grad()
    return [p for p in model.parameters() if p.requires_grad]


@wrong("06-freeze", says="trains and is in eval mode")
def freeze_all_modes(model, names):
    """Puts the whole model into eval mode: what trains loses its dropout and its BatchNorm updates."""
    model.eval()
    for name, child in model.named_children():
        child.requires_grad_(name not in names)
    model.zero_grad()
    return [p for p in model.parameters() if p.requires_grad]


@wrong("06-freeze", says="which is frozen")
def freeze_in_the_optimizer(model, names):
    """Returns all parameters, so that weight decay and momentum reach the frozen ones."""
    for name, child in model.named_children():
        child.requires_grad_(name not in names).train(name not in names)
    model.zero_grad()
    return list(model.parameters())


@wrong("06-freeze", says="should train, and is frozen")
def freeze_by_prefix(model, names):
    """Compares the beginnings of names: layer1 is the beginning of layer10, too."""
    trains = []
    for name, child in model.named_children():
        frozen = any(name.startswith(other) for other in names)
        child.requires_grad_(not frozen).train(not frozen)
        child.zero_grad()
        trains += [] if frozen else child.parameters()
    return trains


@wrong("06-freeze", says="`head.weight` should train, and is frozen")
def freeze_without_thawing(model, names):
    """Freezes what is named, and leaves frozen what another plan froze."""
    for name, child in model.named_children():
        child.train(name not in names)
        if name in names:
            child.requires_grad_(False).zero_grad()
    return [p for name, c in model.named_children() if name not in names for p in c.parameters()]


@wrong("06-freeze", says="still has a gradient from before")
def freeze_with_old_gradients(model, names):
    """Leaves the gradients of the last step where they are."""
    for name, child in model.named_children():
        child.requires_grad_(name not in names).train(name not in names)
    return [p for p in model.parameters() if p.requires_grad]


@wrong("06-l2-sp", says="halves are missing")
def l2_sp_without_halves(parameters, start, alpha, beta):
    """Forgets the factor one half."""
    away = sum((p - start[n]).square().sum() for n, p in parameters.items() if n in start)
    return alpha * away + beta * sum(p.square().sum() for n, p in parameters.items() if n not in start)


@wrong("06-l2-sp", says="towards its start")
def l2_sp_as_weight_decay(parameters, start, alpha, beta):
    """Pulls everything towards 0: that is weight decay."""
    return sum((alpha if n in start else beta) / 2 * p.square().sum() for n, p in parameters.items())


@wrong("06-l2-sp", says="the head is missing")
def l2_sp_without_head(parameters, start, alpha, beta):
    """Leaves out what has no start."""
    return alpha / 2 * sum((parameters[n] - s).square().sum() for n, s in start.items() if n in parameters)


@wrong("06-l2-sp", says="that is the distance itself")
def l2_sp_of_norms(parameters, start, alpha, beta):
    """Takes the distance instead of its square."""
    trunk = torch.cat([(p - start[n]).flatten() for n, p in parameters.items() if n in start])
    head = [p.flatten() for n, p in parameters.items() if n not in start]
    return alpha / 2 * trunk.norm() + beta / 2 * (torch.cat(head).norm() if head else 0)


@wrong("06-l2-sp", says="detached")
def l2_sp_as_a_number(parameters, start, alpha, beta):
    """Computes the right number outside of the graph."""
    with torch.no_grad():
        pulls = [(alpha, p - start[n]) if n in start else (beta, p) for n, p in parameters.items()]
        return sum(strength / 2 * away.square().sum() for strength, away in pulls)
