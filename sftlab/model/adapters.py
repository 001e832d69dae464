"""Adapters (LoRA and friends) through peft: put in below the head, and folded in again if that is exact."""

import copy
import re
from collections.abc import Sequence

import torch
from torch import nn

from .. import env
from ..errors import SftlabError
from .layers import layer_map

# They read the weights of the linear layers inside instead of calling them: an adapter there would do nothing.
CLOSED = (nn.MultiheadAttention, nn.TransformerEncoderLayer)


def add_adapters(
    model: nn.Module, config=None, *, r: int = 8, alpha: float = 16, targets: Sequence[str] | str | None = None,
    seed: int | None = None,
) -> nn.Module:  # fmt: skip
    """Put adapters into the trunk, in place. The head gets none: it stays an ordinary layer, trained and saved (P15).

    Args:
        model: any module with its head as the last layer.
        config: a configuration of peft for another kind (``IA3Config()``, ``LoHaConfig()``, ...); default: LoRA.
        r, alpha: rank and scale of LoRA; the product of the two small matrices is multiplied by alpha / r.
        targets: names (or ends of names) of the modules to adapt, or one pattern for the whole name; default: all
            linear layers of the trunk.
        seed: of the new weights; default: the seed of ``sl.start``. The caller's random state is left alone.

    Returns:
        nn.Module: ``model``; its logits are what they were. Train it with :func:`sftlab.lora`.

    Raises:
        SftlabError: peft is not installed; nothing to adapt; adapters are there already; a setting of ``config``
            that would train something besides the adapters.

    Source: Hu et al. (2022), LoRA.

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> [name for name, _ in add_adapters(net, r=2).named_parameters()][:3]     # doctest: +SKIP
    ['0.base_layer.weight', '0.base_layer.bias', '0.lora_A.default.weight']
    """
    try:
        import peft
    except ImportError as error:
        raise SftlabError("adapters need peft: pip install 'sftlab[peft]'") from error
    if adapter_parameters(model):
        raise SftlabError(f"{type(model).__name__} has adapters already; sl.merge_adapters folds them in first.")
    config = copy.deepcopy(config) or peft.LoraConfig(r=r, lora_alpha=alpha)
    for setting, none in {"bias": "none", "modules_to_save": None, "trainable_token_indices": None}.items():
        if getattr(config, setting, none) not in (none, []):
            raise SftlabError(f"{setting}={getattr(config, setting)!r}: adapters only, please; a plan trains the rest.")
    names = _targets(model, targets or config.target_modules)
    config.target_modules = "|".join(map(re.escape, names))  # one pattern: a list would match ends of names
    if getattr(config, "feedforward_modules", ()) is None:
        config.feedforward_modules = set()  # (IA)3: scale what comes out, everywhere
    modes = {name: model.get_submodule(name).training for name in names}
    with torch.random.fork_rng(devices={p.device for p in model.parameters() if p.is_cuda}):
        torch.manual_seed(env.current().seed if seed is None else seed)
        peft.inject_adapter_in_model(config, model)
    for name, mode in modes.items():
        model.get_submodule(name).train(mode)
    for parameter in layer_map(model)[-1].module.parameters():
        parameter.requires_grad_(True)
    return model


def adapter_parameters(model: nn.Module) -> set[int]:
    """The ids of all parameters of adapters, by the lists that peft's layers keep of them."""
    return {
        id(parameter)
        for module in model.modules()
        for name in getattr(module, "adapter_layer_names", ())
        if (part := getattr(module, name, None)) is not None
        for parameter in part.parameters()
    }


def merge_adapters(model: nn.Module, batch=None) -> nn.Module:
    """A copy of the model, in eval mode, with its adapters folded into the weights: the architecture of before (P16).

    Args:
        model: with adapters; it is not changed.
        batch: what to compare the logits on: a collated batch, the model's keyword arguments, or a tensor; default:
            random token ids, for a model that begins with an embedding.

    Raises:
        SftlabError: no adapters; a matrix to fold into is tied to another layer, which would change too; the logits
            differ by more than 1e-5 of the greatest.

    >>> plain = merge_adapters(model)     # doctest: +SKIP
    """
    merged = copy.deepcopy(model).eval()
    adapted = [name for name, module in merged.named_modules() if hasattr(module, "get_base_layer")]
    if not adapted:
        raise SftlabError(f"{type(model).__name__} has no adapters to merge.")
    names = list(merged.named_parameters(remove_duplicate=False))
    for name in adapted:
        inside = {id(p) for p in merged.get_submodule(name).get_base_layer().parameters(recurse=False)}
        tied = [other for other, p in names if id(p) in inside and not other.startswith(f"{name}.")]
        if tied:
            raise SftlabError(
                f"{name!r} shares its matrix with {tied[0]!r}: folding the adapter in would change both. Keep the "
                "adapters, or give the two layers weights of their own before sl.add_adapters."
            )
    inputs = _probe(merged) if batch is None else batch
    with torch.no_grad():
        before = _logits(merged, inputs)
        for name in adapted:
            layer = merged.get_submodule(name)
            layer.merge(safe_merge=True)
            parent, _, child = name.rpartition(".")
            setattr(merged.get_submodule(parent), child, layer.get_base_layer())
        after = _logits(merged, inputs)
    error = float((before - after).abs().max() / before.abs().max().clamp(min=1e-30))
    if not error <= 1e-5:
        raise SftlabError(f"not merged: the logits would differ by {error:.1e} of the greatest, more than 1e-5.")
    merged.__dict__.pop("peft_config", None)
    return merged


def _targets(model: nn.Module, wanted) -> list[str]:
    closed = [layer_map(model)[-1].module, *(m for m in model.modules() if isinstance(m, CLOSED))]
    closed = {id(part) for module in closed for part in module.modules()}
    open_ = {name: module for name, module in model.named_modules() if name and id(module) not in closed}
    if wanted in (None, "all-linear"):
        found = [n for n, m in open_.items() if isinstance(m, nn.Linear) or type(m).__name__ == "Conv1D"]
    elif isinstance(wanted, str):
        found = [name for name in open_ if re.fullmatch(wanted, name)]
    else:
        found = [name for name in open_ if any(f".{name}".endswith(f".{end}") for end in wanted)]
    if not found:
        what = "linear layer" if wanted is None else f"module {wanted!r}"
        raise SftlabError(
            f"{type(model).__name__} has no {what} below its head that an adapter can go into (inside "
            "nn.MultiheadAttention and nn.TransformerEncoderLayer it would have no effect). Name others with targets=."
        )
    return found


def _probe(model: nn.Module) -> dict:
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            ids = torch.randint(module.num_embeddings, (2, 8), generator=torch.Generator().manual_seed(0))
            ids = ids.to(module.weight.device)
            return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    raise SftlabError("merge_adapters needs a batch to compare logits on: sl.merge_adapters(model, batch)")


def _logits(model: nn.Module, batch) -> torch.Tensor:
    inputs = batch.get("inputs", batch) if isinstance(batch, dict) else {"input": batch}
    output = model(inputs["input"]) if set(inputs) == {"input"} else model(**inputs)
    return getattr(output, "logits", output).float()
