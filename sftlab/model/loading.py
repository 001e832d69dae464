"""Checked loading: float32 weights, every trunk weight accounted for, a seeded new head."""

from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import torch
from torch import nn

from .. import assets, env
from ..errors import AssetError, MissingWeights, UnknownName, few, unknown
from .heads import ImageClassifier, TextClassifier, TokenTagger, init_head

TEXTS = ("text classification", "text multi-label", "text regression")
HEADS = {**dict.fromkeys(TEXTS, TextClassifier), "token tagging": TokenTagger, "image classification": ImageClassifier}
WHOLE = {"sequence to sequence": "AutoModelForSeq2SeqLM", "causal language modelling": "AutoModelForCausalLM"}
SCENES = ("detection", "segmentation")
POOLERS = ("bert", "roberta", "xlm-roberta", "camembert", "mpnet")  # old task's; vectors are means (heads.mean_pool)


def load(
    name: str,
    task,
    seed: int | None = None,
    *,
    folder: str | PathLike | None = None,
    pretrained: bool = True,
    dropout: float = 0.1,
) -> nn.Module:
    """Load a pretrained model and put a new head for ``task`` on it; a language model keeps its own.

    Args:
        name: a checkpoint of the course, such as ``"minilm"``, ``"glyphnet"``, ``"scenes"`` or ``"translator"``.
        task: gives the kind of head and the number of its outputs.
        seed: of the new head (and of the trunk if ``pretrained`` is False); default: the seed of ``sl.start``.
        folder: take the files from this folder; with a ``name`` of the course they must have its digests.
        pretrained: False gives the same architecture with random weights, for the comparison with "from scratch".
        dropout: on what the head sees.

    Returns:
        nn.Module: in eval mode, on the CPU, float32. It carries ``name``, ``loading`` (which checkpoint keys were
        used, left over, or new), and what its inputs need: ``tokenizer`` and ``max_tokens``, or ``image_size``,
        ``mean`` and ``std``.

    Raises:
        UnknownName: no such checkpoint, or none for this kind of task.
        AssetError: the files are missing or damaged.
        MissingWeights: the checkpoint lacks weights of the trunk, or has them in another shape (P14).
    """
    seed = env.current().seed if seed is None else seed
    checkpoints = {n: about for n in assets.names() if (about := assets.card(n))["kind"] == "checkpoint"}
    if name not in checkpoints:
        raise unknown("model", name, checkpoints)
    facts = checkpoints[name]["facts"]
    if task.kind not in facts["tasks"]:
        fitting = [n for n, about in checkpoints.items() if task.kind in about["facts"]["tasks"]]
        raise UnknownName(f"{name!r} has no head for {task.kind}: it is for {', '.join(facts['tasks'])}. "
                          f"Known: {', '.join(fitting) or 'none'} for {task.kind}.")  # fmt: skip
    return assemble(name, assets.find_asset(name, folder), facts, task, seed, pretrained, dropout)


def assemble(name: str, place: Path, facts: dict, task, seed: int, pretrained: bool, dropout: float) -> nn.Module:
    """What :func:`load` returns, from the files in ``place``; ``facts`` say what the inputs need."""
    if task.kind in SCENES:
        from .pyramid import load_scenes

        model = load_scenes(place, task, seed, pretrained)
    elif task.kind in WHOLE:
        model, loading = load_trunk(place, seed=seed, pretrained=pretrained, auto=WHOLE[task.kind])
        model.loading = {**loading, "new": []}
    else:
        trunk, loading = load_trunk(place, seed=seed, pretrained=pretrained)
        with torch.random.fork_rng(devices=[]):
            model = HEADS[task.kind](trunk, len(task.label_names), dropout)
        init_head(model.head, seed)
        model.loading = {**loading, "new": ["head.weight", "head.bias"]}
    if "mean" not in facts:
        model.tokenizer, model.max_tokens = _tokenizer(place, getattr(model, "trunk", model), facts.get("max_tokens"))
    else:
        model.image_size = facts["image_size"]
        if task.kind not in SCENES:  # a detector and a dense predictor normalise their images themselves
            model.mean, model.std = facts["mean"], facts["std"]
    model.name = name
    return model.eval()


def load_trunk(place: Path, seed: int = 0, pretrained: bool = True, auto: str = "AutoModel") -> tuple[nn.Module, dict]:
    """Load a model of transformers from a folder, in float32, and account for every key.

    Args:
        auto: the class of transformers that picks the architecture; ``AutoModel`` has no head.

    Returns:
        (trunk, loading): ``loading["unused"]`` lists keys of the checkpoint that the trunk has no place for
        (the old task's head), ``loading["used"]`` counts the rest.

    Raises:
        AssetError: the folder has no readable configuration or safetensors file.
        MissingWeights: a weight of the trunk is missing or has another shape.
    """
    import transformers

    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            config = transformers.AutoConfig.from_pretrained(place, local_files_only=True, trust_remote_code=False)
            extra = {"add_pooling_layer": False} if config.model_type in POOLERS and auto == "AutoModel" else {}
            if not pretrained:
                trunk = getattr(transformers, auto).from_config(config, dtype=torch.float32, **extra)
                return trunk, {"used": 0, "unused": []}
            trunk, info = getattr(transformers, auto).from_pretrained(
                place, config=config, use_safetensors=True, local_files_only=True, output_loading_info=True,
                dtype=torch.float32,  # the checkpoint's own dtype is for serving, not for training (P13)
                ignore_mismatched_sizes=True,  # reported below, with every name, instead of the first one
                **extra,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise AssetError(f"{place} does not hold a checkpoint that transformers can read: {error}") from error
    missing = sorted(info["missing_keys"])
    reshaped = sorted(str(key) for key in info["mismatched_keys"])
    if missing or reshaped:
        raise MissingWeights(
            f"{place}: {len(missing)} weights of the trunk are missing and {len(reshaped)} have another shape, "
            "so they would be random.\n"
            f"  missing: {few(missing, 5)}\n  other shape: {few(reshaped, 5)}\n"
            f"  in the file without a place: {few(sorted(info['unexpected_keys']), 5)}\n"
            "The names in the file and in the architecture must agree: check config.json (model_type, sizes) and "
            "whether the file was saved with a prefix such as 'module.' or '_orig_mod.'."
        )
    unused = sorted(info["unexpected_keys"])
    return trunk, {"used": len(trunk.state_dict()), "unused": unused}


def _tokenizer(place: Path, trunk: nn.Module, asked: int | None):
    from transformers import AutoTokenizer

    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=True, trust_remote_code=False)
    limits = [asked, getattr(trunk.config, "max_position_embeddings", None), tokenizer.model_max_length]
    return tokenizer, min(limit for limit in limits if limit)


@contextmanager
def quiet_transformers():
    """Silence transformers' load report and bars: what they say is checked and raised above, not printed."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
