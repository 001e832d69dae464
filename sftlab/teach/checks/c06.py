"""Checks of chapter 06: memory of training, BatchNorm in two modes, layer-wise rates, freezing, L2-SP."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from ..compare import a_kind, call, draw, expect, expect_attached, expect_close


def memory(answer) -> None:
    """Bytes of weights, gradients and AdamW's moments in float32, from layer sizes and which layers train."""
    sizes, trains = [5000, 300, 20], [False, True, True]
    total, trained = 5320, 320
    right = 4 * total + 12 * trained
    suspects = {
        "every parameter has a gradient and two moments there; frozen ones have none.": 16 * total,
        "the frozen weights are missing: they do not train, but the forward pass needs them.": 16 * trained,
        "the flags are read the wrong way round: gradients and moments belong to the layers that train.": (
            4 * total + 12 * (total - trained)
        ),
        "something of 4 bytes for each trained parameter is missing: a gradient and *two* moments make 12.": (
            4 * total + 8 * trained
        ),
        "only the gradients are added; AdamW keeps two moments, 8 bytes, for each trained parameter.": (
            4 * total + 4 * trained
        ),
        "these are numbers, not bytes: a float32 has 4 bytes.": total + 3 * trained,
        "the weights themselves are missing.": 12 * trained,
        "that is the number of parameters.": total,
    }
    expect_close(call(answer, sizes, trains), right, "the memory", suspects)
    expect_close(call(answer, [7, 3], [False, False]), 40, "the memory where nothing trains (10 weights)")
    expect_close(call(answer, [7, 3], [True, True]), 160, "the memory where all of 10 weights train")


def batch_norm(answer) -> None:
    """(output, running mean, running variance) of a BatchNorm without weight and bias, in train and eval mode."""
    x, mean, var = 2 * draw(6, 3) + 1, draw(3, seed=1), draw(3, seed=2).abs() + 0.5
    norm = nn.BatchNorm1d(3, affine=False).double()
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(var)
    stored, mu, biased, unbiased = norm.eval()(x), x.mean(0), x.var(0, correction=0), x.var(0)
    what = "in eval mode the output"
    suspects = {
        "it is normalised by the batch; in eval mode the running statistics count.": norm.train()(x),
        "it is divided by the variance; divide by its square root.": (x - mean) / (var + 1e-5),
    }
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(var)
    found = _three(call(answer, x, mean, var, False))
    expect_close(found[0], stored, what, suspects)
    for name, value, before, moved in (
        ("mean", found[1], mean, 0.9 * mean + 0.1 * mu),
        ("variance", found[2], var, 0.9 * var + 0.1 * unbiased),
    ):
        expect_close(
            value,
            before,
            f"the running {name} after eval mode",
            {"it has moved. In eval mode the running statistics are read, never written.": moved},
        )
    out = norm.train()(x)
    found = _three(call(answer, x, mean, var, True))
    suspects = {
        "it is normalised by the running statistics; in train mode those of the batch count.": stored,
        "the batch is divided by the unbiased deviation (n - 1); BatchNorm normalises by the biased one (n).": (
            (x - mu) / (unbiased + 1e-5).sqrt()
        ),
        "it is normalised by the statistics after their update; in train mode those of the batch count.": (
            (x - norm.running_mean) / (norm.running_var + 1e-5).sqrt()
        ),
        "it is divided by the variance; divide by its square root.": (x - mu) / (biased + 1e-5),
        "the statistics are those of each sample (over dim 1); BatchNorm takes them of each channel, over dim 0.": (
            F.layer_norm(x, (3,))
        ),
    }
    expect_close(found[0], out, "in train mode the output", suspects)
    backwards = "0.9 and 0.1 are exchanged: the running value keeps 0.9 of itself and takes 0.1 of the batch."
    suspects = {
        backwards: 0.1 * mean + 0.9 * mu,
        "it is that of the batch alone; it should move there by a tenth of the way.": mu,
        "it did not move. In train mode it takes a tenth of the batch's, whether parameters are frozen or not.": mean,
    }
    expect_close(found[1], norm.running_mean, "the running mean after train mode", suspects)
    suspects = {
        "the batch's variance is the biased one (n); the running variance takes the unbiased one (n - 1).": (
            0.9 * var + 0.1 * biased
        ),
        backwards: 0.1 * var + 0.9 * unbiased,
        "it is that of the batch alone; it should move there by a tenth of the way.": unbiased,
        "it did not move. In train mode it takes a tenth of the batch's, whether parameters are frozen or not.": var,
    }
    expect_close(found[2], norm.running_var, "the running variance after train mode", suspects)


def rates(answer) -> None:
    """Rates of layers from input to output: the last is the head, the one below has lr, each further down x decay."""
    lr, head_lr, decay = 0.08, 0.3, 0.5
    right = [0.01, 0.02, 0.04, 0.08, 0.3]
    suspects = {
        "the order is reversed: the list runs from input to output, so the head comes last.": right[::-1],
        "the decay runs the wrong way: the layer next to the input should learn most slowly.": (
            [0.08, 0.04, 0.02, 0.01, 0.3]
        ),
        "the topmost trunk layer is already decayed once; it should have `lr` itself.": [0.005, 0.01, 0.02, 0.04, 0.3],
        "the head has the rate of the trunk; it has `head_lr`.": [0.01, 0.02, 0.04, 0.08, 0.08],
        "the head takes part in the decay; it has `head_lr`, and the layer below it `lr`.": (
            [0.005, 0.01, 0.02, 0.04, 0.08]
        ),
        "the decay starts from `head_lr`; the layer below the head has `lr`.": [lr * 0.3 / 0.08 / 2**d for d in (4, 3)]
        + [0.075, 0.15, 0.3],
        "all trunk layers have the same rate: the decay is missing.": [0.08] * 4 + [0.3],
        "the rate falls by the same amount from layer to layer; it should fall by the same *factor*.": (
            [lr * (1 - decay * d) for d in (3, 2, 1, 0)] + [0.3]
        ),
    }
    found = call(answer, 5, lr, head_lr, decay)
    expect(
        isinstance(found, list | tuple | torch.Tensor) and len(found) == 5,
        f"`layer_rates` should return 5 rates for 5 layers, and returns {_count(found)}.",
        "One rate for each layer, the head included.",
    )
    expect_close(found, torch.tensor(right, dtype=torch.float64), "the list of rates", suspects, tol=1e-7)
    equal = torch.tensor([0.1, 0.1, 0.2], dtype=torch.float64)
    expect_close(call(answer, 3, 0.1, 0.2, 1.0), equal, "the list of rates without decay (a factor of 1)")
    expect_close(call(answer, 2, 0.1, 0.2, 0.5), equal[1:], "the list of rates of one trunk layer and a head")


def freeze(answer) -> None:
    """Freeze the children of these names, thaw all others, set the modes, return what trains."""
    model = _network()
    x, y = draw(8, 4).float(), torch.tensor([0, 1] * 4)
    F.cross_entropy(model(x), y).backward()  # gradients from before
    model.eval()
    model.head.requires_grad_(False)  # left over from another plan
    names = ["layer1"]
    found = call(answer, model, names)
    expect(
        isinstance(found, list | tuple) and all(isinstance(p, nn.Parameter) for p in found),
        "`freeze` should return a list of the parameters that train.",
        "`list(...)` of a generator, and parameters only, not their names.",
    )
    inside = {id(p): name for name, p in model.named_parameters()}
    frozen = {name: p for name, p in model.named_parameters() if name.split(".")[0] in names}
    others = {name: p for name, p in model.named_parameters() if name not in frozen}
    for name, p in frozen.items():
        expect(not p.requires_grad, f"`{name}` should be frozen, and still asks for a gradient.", "`requires_grad_`")
    for name, p in others.items():
        look = "Names that begin alike (`layer1`, `layer10`) are different layers. And what another plan froze, thaw."
        expect(p.requires_grad, f"`{name}` should train, and is frozen.", look)
    returned = {inside.get(id(p)) for p in found}
    more, less = sorted(map(str, returned - others.keys())), sorted(others.keys() - returned)
    expect(
        not more,
        f"The returned list holds `{more[0] if more else ''}`, which is frozen.",
        "What stays in the optimizer can be moved by momentum and weight decay.",
    )
    expect(not less, f"The returned list lacks `{less[0] if less else ''}`, which should train.")
    expect(len(found) == len(returned), "The returned list holds a parameter twice.")
    for name, module in model.named_modules():
        child = name.split(".")[0]
        if child in names:
            expect(
                not module.training,
                f"`{name}` ({type(module).__name__}) is frozen and in train mode.",
                "BatchNorm would go on moving its statistics, dropout would go on drawing: `eval()`.",
            )
        elif name:
            expect(module.training, f"`{name}` ({type(module).__name__}) trains and is in eval mode.", "`train()`")
    for name, p in frozen.items():
        expect(
            p.grad is None or not p.grad.any(),
            f"`{name}` still has a gradient from before: an optimizer made earlier would apply it.",
            "`p.grad = None`",
        )
    before = copy.deepcopy(model.state_dict())
    F.cross_entropy(model(x), y).backward()
    with torch.no_grad():  # a step by hand: importing torch's optimizers costs more than the whole check
        for p in found:
            p -= 0.1 * p.grad
    for name, value in model.state_dict().items():
        if name.split(".")[0] in names:
            expect(torch.equal(value, before[name]), f"One training step changed `{name}`, which is frozen.")


def l2_sp(answer) -> None:
    """alpha/2 times the squared distance of what has a start, plus beta/2 times the squared norm of the rest."""
    start = {"conv": draw(2, 3, seed=1), "norm": draw(3, seed=2)}
    parameters = {
        "conv": start["conv"] + draw(2, 3, seed=3),
        "norm": start["norm"] + draw(3, seed=4),
        "head": draw(4, seed=5),
    }
    alpha, beta = 0.7, 0.2
    away = sum((parameters[name] - start[name]).square().sum() for name in start)
    size = sum(parameters[name].square().sum() for name in start)
    head = parameters["head"].square().sum()
    right = alpha / 2 * away + beta / 2 * head
    mean = sum((parameters[name] - start[name]).square().mean() for name in start)
    suspects = {
        "the halves are missing: alpha / 2 and beta / 2, so that the gradient is alpha times the distance.": (
            alpha * away + beta * head
        ),
        "what has a start is pulled towards 0; it should be pulled towards its start.": (
            alpha / 2 * size + beta / 2 * head
        ),
        "the head is missing: what has no start is pulled towards 0, with beta.": alpha / 2 * away,
        "the head is pulled with alpha; it has beta.": alpha / 2 * (away + head),
        "alpha and beta are exchanged.": beta / 2 * away + alpha / 2 * head,
        "that is the distance itself; the penalty has its square.": alpha / 2 * away.sqrt() + beta / 2 * head.sqrt(),
        "it is the mean over the entries of a tensor; the penalty sums over all of them.": (
            alpha / 2 * mean + beta / 2 * parameters["head"].square().mean()
        ),
        "the absolute differences are summed (L1); L2 sums their squares.": (
            alpha / 2 * sum((parameters[n] - start[n]).abs().sum() for n in start)
            + beta / 2 * parameters["head"].abs().sum()
        ),
    }
    expect_close(call(answer, parameters, start, alpha, beta), right, "the penalty", suspects)
    leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    result = call(answer, leaves, start, alpha, beta)
    expect_attached(result, getattr(answer, "__name__", "answer"))
    wanted = {
        "conv": alpha * (parameters["conv"] - start["conv"]),
        "norm": alpha * (parameters["norm"] - start["norm"]),
    }
    wanted["head"] = beta * parameters["head"]
    found = torch.autograd.grad(result, list(leaves.values()), allow_unused=True)
    for (name, leaf), gradient in zip(leaves.items(), found, strict=True):
        gradient = torch.zeros_like(leaf) if gradient is None else gradient
        expect_close(
            gradient,
            wanted[name],
            f"the gradient of `{name}`",
            {"no gradient arrives: it is detached on the way.": torch.zeros_like(leaf)},
        )
    at_start = {name: value.clone() for name, value in start.items()}
    expect_close(call(answer, at_start, start, alpha, beta), 0.0, "the penalty of a trunk that has not moved, no head,")


def _network() -> nn.Module:
    def layer(inputs):
        return nn.Sequential(nn.Linear(inputs, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer1, self.layer10, self.head = layer(4), layer(6), nn.Linear(6, 2)

        def forward(self, x):
            return self.head(self.layer10(self.layer1(x)))

    torch.manual_seed(0)
    return Network()


def _three(found) -> tuple:
    expect(
        isinstance(found, tuple | list) and len(found) == 3,
        "`batch_norm` should return three values: the output, the running mean and the running variance.",
        "End with `return out, mean, var`.",
    )
    return tuple(found)


def _count(found) -> str:
    return f"{len(found)}" if hasattr(found, "__len__") else a_kind(found)


CHECKS = {
    "06-memory": memory,
    "06-batch-norm": batch_norm,
    "06-rates": rates,
    "06-freeze": freeze,
    "06-l2-sp": l2_sp,
}
INSIDE = {"06-freeze"}
