"""Checks of chapter 03: a stable softmax, a gradient, a masked loss, a weighted binary loss, focal loss."""

import math

import torch
import torch.nn.functional as F

from ..compare import Wrong, call, draw, expect, expect_attached, expect_close, expect_repeatable


def softmax(answer) -> None:
    """Probabilities over the last axis, for logits of any size."""
    z = draw(3, 3)  # square, so that a wrong axis does not show in the shape
    suspects = {
        "the columns sum to 1, the rows do not: normalise over the last axis (dim=-1).": z.softmax(dim=0),
        "all entries together sum to 1; each row should.": z.flatten().softmax(0).reshape(3, 3),
        "these are the logarithms of the probabilities.": z.log_softmax(dim=1),
        "each logit has a sigmoid of its own; a softmax divides by the sum over the row.": z.sigmoid(),
        "`exp` is there, but not the division by the sum of the row.": z.exp(),
        "the maximum is subtracted, but not the division by the sum of the row.": (z - z.amax(1, keepdim=True)).exp(),
    }
    expect_close(call(answer, z), z.softmax(dim=1), "the softmax", suspects)
    expect_repeatable(answer, z)
    for logit in (1000.0, -1000.0):
        found = _finite(
            call(answer, torch.tensor([[logit, logit - 1, 0.0]]).double()),
            f"with a logit of {logit:g} your result",
            "exp(1000) overflows, and a row in which every exp is 0 gives 0 / 0. Subtract something first.",
        )
        expect_close(found, torch.tensor([[logit, logit - 1, 0.0]]).double().softmax(1), f"the softmax of {logit:g}")
    rows = torch.tensor([[0.0, 1.0], [-2000.0, -2001.0]]).double()
    found = _finite(
        call(answer, rows),
        "with rows near 0 and near -2000 in one tensor your result",
        "One maximum for the whole tensor is not enough: each row needs its own.",
    )
    expect_close(found, rows.softmax(1), "the softmax of two rows, near 0 and near -2000")
    half = torch.tensor([12.0, 11.0, 0.0], dtype=torch.float16)
    found = _finite(
        call(answer, half), "with 16-bit logits your result", "In 16 bits exp overflows above 11.1. Subtract first."
    )
    expect_close(found, half.softmax(0), "the softmax of one row of 16-bit logits", tol=5e-3)
    deep = draw(2, 3, 4)
    suspects = {
        "that is the softmax over dim=1, the last axis only where there are two: write dim=-1.": deep.softmax(1)
    }
    expect_close(call(answer, deep), deep.softmax(-1), "the softmax of logits [2, 3, 4]", suspects)


def gradient(answer) -> None:
    """Gradient with respect to z of mean_i -sum_k q_ik ln softmax(z_i / T)_k."""
    z, q, T, N = draw(4, 3), draw(4, 3, seed=1).softmax(1), 2.5, 4
    p = (z / T).softmax(1)
    right = (p - q) / (T * N)
    suspects = {
        "the sign is wrong: it is predicted minus wanted, p - q.": -right,
        "the inner derivative is missing: the softmax sees z / T, so the chain rule gives a factor 1 / T.": right * T,
        "the inner derivative is 1 / T, not T.": (p - q) * T / N,
        "it is the gradient of the sum; the loss is a mean over the N rows.": right * N,
        "it is the gradient of the sum, and the factor 1 / T is missing.": p - q,
        "it is divided by all N * C entries; the loss is a mean over the N rows and a sum over the classes.": right / 3,
        "the probabilities are those of z, not of z / T.": (z.softmax(1) - q) / (T * N),
        "the probabilities are those of z, not of z / T, and the factor 1 / T is missing.": (z.softmax(1) - q) / N,
        "that is p, not p - q: what pulls up the wanted classes is missing.": p / (T * N),
        "the probabilities sum to 1 over the columns; each row is one distribution (dim=1).": (
            ((z / T).softmax(0) - q) / (T * N)
        ),
    }
    expect_close(call(answer, z, q, T), right, "the gradient", suspects, count=N)
    expect_repeatable(answer, z, q, T)
    one_hot = F.one_hot(torch.tensor([1, 0]), 3).double()
    large = torch.tensor([[900.0, 0.0, 0.0], [900.0, 0.0, 0.0]]).double()
    found = _finite(
        call(answer, large, one_hot, 1.0), "with a logit of 900 your gradient", "Use the softmax that never overflows."
    )
    expect_close(found, (large.softmax(1) - one_hot) / 2, "the gradient for one certain mistake and one certain hit")


def masked_loss(answer) -> None:
    """(sum of the losses, number of the labels) of a batch in which labels of -100 do not count."""
    z = draw(3, 4, 5)
    labels = torch.tensor([[1, 0, 4, 2], [3, -100, -100, -100], [2, 2, -100, -100]])
    kept = labels != -100
    each = F.cross_entropy(z.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="none").reshape(3, 4)
    total, count = _pair(call(answer, z, labels))
    guessed = F.cross_entropy(z.flatten(0, 1), labels.clamp(min=0).flatten(), reduction="sum")
    right = each.sum()
    suspects = {
        "that is the mean over the tokens; return the sum, and leave the division to the caller.": right / 7,
        "that is the mean of the sentence means: short sentences weigh as much as long ones. "
        "Return the sum over the tokens.": (each.sum(1) / kept.sum(1)).mean(),
        "that is the sum of the sentence means. Return the sum over the tokens.": ((each.sum(1) / kept.sum(1)).sum()),
        "it includes the masked positions, as if -100 were class 0.": guessed,
        "the sign is wrong: a loss is minus the logarithm.": -right,
        "that is minus the sum of the logits of the labels: logsumexp, the normalising term, is missing.": -(
            z.gather(2, labels.clamp(min=0)[..., None])[..., 0][kept].sum()
        ),
    }
    expect_close(total, right, "the sum of the losses", suspects)
    counts = {
        "that is all positions; the masked ones do not count.": 12.0,
        "that is the number of sentences. Count the labels.": 3.0,
        "those are the masked positions. Count the others.": 5.0,
    }
    expect_close(count, 7.0, "the count", counts)
    padded = z.clone()
    padded[~kept] = float("inf")  # what a model writes at padding must not matter, however bad it is
    spoilt, _ = _pair(call(answer, padded, labels))
    _finite(
        spoilt,
        "with infinite logits at masked positions the sum",
        "Multiplying by 0 does not remove them: 0 * inf is NaN. Choose the positions first, or use `where`.",
    )
    expect_close(spoilt, right, "the sum with infinite logits at masked positions")
    leaf = z.clone().requires_grad_()
    total, _ = _pair(call(answer, leaf, labels))
    expect_attached(total, getattr(answer, "__name__", "answer"))
    (found,) = torch.autograd.grad(total, leaf)
    wanted = torch.where(kept[..., None], z.softmax(-1) - F.one_hot(labels.clamp(min=0), 5), 0.0)
    expect_close(found, wanted, "the gradient of the sum")
    total, count = _pair(call(answer, z, torch.full_like(labels, -100)))
    expect_close(total, 0.0, "the sum where every label is masked (it may not divide by the count)")
    expect_close(count, 0.0, "the count where every label is masked")


def weighted_bce(answer) -> None:
    """Mean over all entries of -[w y ln p + (1 - y) ln(1 - p)], p = sigmoid(z)."""
    z, w = draw(4, 2), 3.0
    y = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, 1.0]]).double()
    right = F.binary_cross_entropy_with_logits(z, y, pos_weight=torch.tensor(w).double())
    yes, no = y * F.softplus(-z), (1 - y) * F.softplus(z)
    suspects = {
        "the second term, (1 - y) ln(1 - p), is missing: a 'no' costs nothing.": (w * yes).mean(),
        "the first term, y ln p, is missing: a 'yes' costs nothing.": no.mean(),
        "the weight is missing.": (yes + no).mean(),
        "the weight multiplies both terms; it belongs to the first, to the 'yes'.": (w * (yes + no)).mean(),
        "the weight stands at the second term; it belongs to the first, to the 'yes'.": (yes + w * no).mean(),
        "it is the sum over the entries; the mean is wanted.": (w * yes + no).sum(),
        "it is summed over the labels and averaged over the samples; the mean over all entries is wanted.": (
            (w * yes + no).sum(1).mean()
        ),
        "it is divided by the sum of the weights; here the mean divides by the number of entries.": (
            (w * yes + no).sum() / (w * y + 1 - y).sum()
        ),
        "z is taken for a logit of a softmax over the labels; each label has a sigmoid of its own.": (
            -(w * y * z.log_softmax(1) + (1 - y) * (-z.softmax(1)).log1p()).mean()
        ),
        "the sigmoid is applied twice: the loss from logits wants z itself.": F.binary_cross_entropy_with_logits(
            z.sigmoid(), y, pos_weight=torch.tensor(w).double()
        ),
    }
    expect_close(call(answer, z, y, w), right, "the loss", suspects, count=8)
    expect_repeatable(answer, z, y, w)
    for logit in (1000.0, -1000.0):
        for label in (1.0, 0.0):
            z, y = torch.tensor([[logit]]).double().requires_grad_(), torch.tensor([[label]]).double()
            wanted = F.binary_cross_entropy_with_logits(z, y, pos_weight=torch.tensor(w).double())
            result = call(answer, z, y, w)
            _finite(
                result,
                f"for z = {logit:g} and y = {label:g} the loss",
                "ln p and ln(1 - p) are log(0) there. Write each as a softplus of z or of -z, before any sigmoid.",
            )
            expect_attached(result, getattr(answer, "__name__", "answer"))
            expect(
                not wanted > 500 or result.item() > 200,
                f"The loss for z = {logit:g} and y = {label:g} is {result.item():.4g}, expected {wanted.item():.4g}: "
                "something hides how wrong the answer is.",
                "A small number inside the logarithm, or a clamp? Work from z, and neither is needed.",
            )
            expect_close(result, wanted, f"the loss for z = {logit:g} and y = {label:g}")
            (slope,) = torch.autograd.grad(result, z)
            wanted = (w if label else 1) * (float(logit > 0) - label)
            expect_close(slope, torch.tensor([[wanted]]).double(), f"the gradient for z = {logit:g} and y = {label:g}")


def focal_loss(answer) -> None:
    """Mean of -(1 - p_y)^gamma ln p_y, with a finite gradient for any logits and any gamma >= 0."""
    z, y, N = draw(4, 3), torch.tensor([0, 2, 1, 1]), 4
    log_p = z.log_softmax(1)[torch.arange(N), y]
    p = log_p.exp()
    right = -((1 - p) ** 2 * log_p).mean()
    suspects = {
        "the sign is wrong: a loss is minus the logarithm.": -right,
        "the factor is p to the power gamma: it should be 1 - p, small where p is large.": -(p**2 * log_p).mean(),
        "the factor (1 - p) to the power gamma is missing: that is cross-entropy.": -log_p.mean(),
        "it is the sum; the mean over the samples is wanted.": right * N,
        "it is divided by the sum of the factors; the mean over the samples is wanted.": (
            -((1 - p) ** 2 * log_p).sum() / ((1 - p) ** 2).sum()
        ),
        "gamma multiplies 1 - p; it is a power.": -(2 * (1 - p) * log_p).mean(),
        "there is no logarithm of p.": ((1 - p) ** 2 * p).mean(),
        "the factor multiplies the mean loss; each sample has its own.": -((1 - p) ** 2).mean() * log_p.mean(),
        "the probabilities sum to 1 over the samples; each row is one distribution (dim=1).": _focal_over_samples(z, y),
    }
    expect_close(call(answer, z, y, 2.0), right, "the loss for gamma 2", suspects, count=N)
    expect_repeatable(answer, z, y, 2.0)
    expect_close(call(answer, z, y, 0.0), F.cross_entropy(z, y), "the loss for gamma 0, which is cross-entropy,")
    leaf = z.clone().requires_grad_()
    result = call(answer, leaf, y, 2.0)
    expect_attached(result, getattr(answer, "__name__", "answer"))
    (found,) = torch.autograd.grad(result, leaf)
    pull = ((1 - p) ** 2 - 2 * p * (1 - p) * log_p)[:, None]  # by the chain rule, with dp/dz = p (y - p)
    plain = (z.softmax(1) - F.one_hot(y, 3)) / N
    expect_close(
        found,
        pull * plain,
        "the gradient",
        {
            "the loss is right, but its gradient is not: the factor (1 - p)^gamma is detached (`detach`, `no_grad`, "
            "`.item()`), so autograd takes it for a constant.": (1 - p)[:, None] ** 2 * plain
        },
        count=N,
    )
    large = torch.tensor([[1000.0, 0.0, 0.0], [0.0, 1000.0, 0.0]]).double()
    y = torch.tensor([0, 0])
    for gamma in (2.0, 0.5, 0.0):
        leaf = large.clone().requires_grad_()
        result = call(answer, leaf, y, gamma)
        found = _finite(
            result,
            f"for logits of 1000 and gamma {gamma:g} the loss",
            "ln p is log(0) for the certain mistake: take `log_softmax`, and p as its exp.",
        )
        expect_close(found, 500.0, f"the loss of a certain hit and a certain mistake (1000) for gamma {gamma:g}")
        (slope,) = torch.autograd.grad(result, leaf)
        _finite(
            slope,
            f"for logits of 1000 and gamma {gamma:g} the gradient",
            "Where p rounds to 1, the slope of (1 - p)^gamma is infinite for gamma < 1, and inf * 0 is NaN. "
            "Write it as exp(gamma * ln(1 - p)), with ln(1 - p) from the logits of the other classes.",
        )
        wanted = torch.tensor([[0.0, 0.0, 0.0], [-0.5, 0.5, 0.0]]).double()
        expect_close(slope, wanted, f"the gradient for a certain hit and a certain mistake, gamma {gamma:g}", tol=1e-4)


def _focal_over_samples(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    log_p = z.log_softmax(0)[torch.arange(len(y)), y]
    return -((1 - log_p.exp()) ** 2 * log_p).mean()


def _finite(found, what: str, look: str):
    """Return found; raise Wrong with a hint of its own if it is a tensor with NaN or infinity."""
    if isinstance(found, float | torch.Tensor):
        value = torch.as_tensor(found)
        if not value.isfinite().all():
            raise Wrong(f"{what[:1].upper()}{what[1:]} contains {'NaN' if value.isnan().any() else 'infinity'}.", look)
    return found


def _pair(found) -> tuple:
    expect(
        isinstance(found, tuple | list) and len(found) == 2,
        "`masked_loss` should return two values: the sum of the losses and the number of labels.",
        "End with `return total, count`; the caller divides.",
    )
    total, count = found
    expect(
        isinstance(count, int | float | torch.Tensor) and math.isfinite(float(count)),
        "The second value, the count, is not a finite number.",
    )
    return total, count


CHECKS = {
    "03-softmax": softmax,
    "03-gradient": gradient,
    "03-masked-loss": masked_loss,
    "03-weighted-bce": weighted_bce,
    "03-focal": focal_loss,
}
INSIDE: set[str] = set()
