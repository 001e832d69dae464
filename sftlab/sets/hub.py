"""``sl.load``: the checkpoints of the course, and in the full profile any fitting model of the Hugging Face hub."""

import json
import os
from os import PathLike
from pathlib import Path

from torch import nn

from .. import env
from ..errors import AssetError, SftlabError, UnknownName
from ..model import loading
from . import torchvision_models

# Only what is named here is fetched: no pickles, no code, no weights of other frameworks.
WEIGHTS = ["model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json"]
FACTS = [
    "config.json", "generation_config.json", "preprocessor_config.json", "chat_template.jinja",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.txt", "vocab.json", "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
    "source.spm", "target.spm",
]  # fmt: skip
KINDS = [*loading.HEADS, *loading.WHOLE]


def load(
    name: str,
    task,
    seed: int | None = None,
    *,
    folder: str | PathLike | None = None,
    pretrained: bool = True,
    dropout: float = 0.1,
    revision: str | None = None,
) -> nn.Module:
    """Load a pretrained model and put a new head for ``task`` on it; a language model keeps its own.

    Args:
        name: a checkpoint of the course, such as ``"minilm"``, ``"glyphnet"``, ``"scenes"`` or ``"translator"``; or,
            in the full profile, a model of the Hugging Face hub: ``"google-bert/bert-base-uncased"``, or one of
            torchvision: ``"torchvision/resnet50"``, ``"torchvision/fasterrcnn_resnet50_fpn"``. The hub's variables
            (``HF_HOME``, ``HF_HUB_CACHE``, ``HF_ENDPOINT``, ``HF_HUB_OFFLINE``, ``HF_TOKEN``) count as everywhere.
        task: gives the kind of head and the number of its outputs.
        seed: of the new head (and of the trunk if ``pretrained`` is False); default: the seed of ``sl.start``.
        folder: take the files from this folder, in any profile; with a ``name`` of the course they must have its
            digests.
        pretrained: False gives the same architecture with random weights, for the comparison with "from scratch".
        dropout: on what the head sees.
        revision: of a model of the hub: branch, tag or commit.

    Returns:
        nn.Module: in eval mode, on the CPU, float32. It carries ``name``, ``loading`` (which checkpoint keys were
        used, left over, or new), and what its inputs need: ``tokenizer`` and ``max_tokens``, or ``image_size``,
        ``mean`` and ``std``.

    Raises:
        UnknownName: no such checkpoint, repository or revision, or none for this kind of task.
        AssetError: the files are missing or damaged, cannot be fetched, or are not safetensors; the profile is tiny.
        MissingWeights: the checkpoint lacks weights of the trunk, or has them in another shape (P14).

    >>> import sftlab as sl
    >>> model = sl.load("minilm", sl.task("headlines"), seed=0)     # doctest: +SKIP
    >>> sorted({p.dtype for p in model.parameters()})               # doctest: +SKIP
    [torch.float32]
    """
    if "/" not in name:
        if revision is not None:
            raise UnknownName(f"{name!r} is a checkpoint of the course and has one version: leave `revision` out.")
        return loading.load(name, task, seed, folder=folder, pretrained=pretrained, dropout=dropout)
    if name.startswith(torchvision_models.PREFIX):
        if revision is not None or folder is not None:
            raise UnknownName(f"{name!r} has one version, in torch's cache: leave `revision` and `folder` out.")
        return torchvision_models.load(name, task, seed, pretrained, dropout)
    if task.kind not in KINDS:
        raise UnknownName(f"models of the hub are loaded for {', '.join(KINDS)}; this task is {task.kind}.")
    seed = env.current().seed if seed is None else seed
    place = Path(folder) if folder is not None else fetch(name, revision, pretrained)
    facts = _facts(name, place, task.kind)
    if pretrained and not any(place.glob("*.safetensors")):
        raise AssetError(
            f"{name} has no model.safetensors{f' at revision {revision}' if revision else ''}. Other files of weights, "
            "such as pytorch_model.bin, are pickles: they can run code and are never loaded. See whether the "
            'repository has a converted version (its pull requests: revision="refs/pr/1"), or take another model.'
        )
    from safetensors import SafetensorError

    try:
        model = loading.assemble(name, place, facts, task, seed, pretrained, dropout)
    except SftlabError:
        raise
    except (OSError, ValueError, ImportError, SafetensorError) as error:  # or a package that the tokenizer needs
        raise AssetError(f"{name}: {place} holds files that transformers cannot use: {error}") from error
    if "mean" not in facts:
        _check_tokens(model, name)
        set_padding(model.tokenizer)
    return model


def fetch(name: str, revision: str | None = None, weights: bool = True) -> Path:
    """The folder of a model of the hub, in the hub's own cache; fetched if it is not there.

    Args:
        name: ``"owner/name"``.
        revision: branch, tag or commit; default: the main branch.
        weights: False fetches configuration and tokenizer only.

    Raises:
        UnknownName: no such repository or revision, or not for you.
        AssetError: the profile is tiny; the hub is out of reach and its cache does not have the files.
    """
    if os.environ.get("SFTLAB_PROFILE") != "full":
        raise AssetError(
            f"{name!r} is a model of the Hugging Face hub, and the profile is tiny, which downloads nothing. "
            'Ask for the full profile: SFTLAB_PROFILE=full, or sl.start(profile="full").'
        )
    from huggingface_hub import constants, errors, snapshot_download

    at = f" at revision {revision!r}" if revision else ""
    try:
        with loading.quiet_transformers():
            found = snapshot_download(name, revision=revision, allow_patterns=FACTS + WEIGHTS * weights)
    except errors.GatedRepoError as error:
        raise UnknownName(
            f"{name} asks you to accept its terms first: do so on {constants.ENDPOINT}/{name}, then set HF_TOKEN."
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        raise UnknownName(
            f"the hub has no model {name!r}{at}, or it is private: look at {constants.ENDPOINT}/models. A name is "
            f"owner/name, such as 'google-bert/bert-base-uncased'."
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"{constants.ENDPOINT} cannot be reached"
        raise AssetError(_out_of_reach(name, at, f"{why}, and {constants.HF_HUB_CACHE} does not have it")) from error
    except OSError as error:  # errors of HTTP too
        raise AssetError(_out_of_reach(name, at, f"{type(error).__name__}: {error}")) from error
    return Path(found)


def _out_of_reach(name: str, at: str, why: str) -> str:
    return (
        f"{name}{at} could not be fetched from the Hugging Face hub ({why}).\n"
        "Check the connection; or use a mirror (HF_ENDPOINT); or copy the files into a folder and say "
        f'sl.load("{name}", task, folder=...); or stay in the tiny profile.'
    )


def _facts(name: str, place: Path, kind: str) -> dict:
    """What the inputs of the model need; raises if it cannot do a task of this kind."""
    config = _read(name, place / "config.json")
    if kind != "image classification":
        two_sided = bool(config.get("is_encoder_decoder"))
        if two_sided != (kind == "sequence to sequence"):
            sides = "an encoder with a decoder" if two_sided else "one stack of layers"
            raise UnknownName(f"{name} is {sides} ({config.get('model_type')}) and cannot do {kind} here.")
        return {"max_tokens": None}
    if "hidden_sizes" not in config:
        raise UnknownName(f"{name} ({config.get('model_type')}) is no network like ResNet: take microsoft/resnet-18.")
    seen = _read(name, place / "preprocessor_config.json")
    size = seen.get("crop_size") or seen.get("size") or 224
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge")
    return {"image_size": size, "mean": seen["image_mean"], "std": seen["image_std"]}


def _read(name: str, path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AssetError(f"{name}: {path} is missing or damaged: {error}") from error


def _check_tokens(model: nn.Module, name: str) -> None:
    """Every id of the tokenizer has a row in the embedding: else an index error would come in mid-training."""
    rows, tokens = getattr(model, "trunk", model).get_input_embeddings().num_embeddings, len(model.tokenizer)
    if tokens > rows:
        raise AssetError(f"{name}: the tokenizer has {tokens:,} tokens, the embedding {rows:,} rows: not one model.")


def set_padding(tokenizer) -> None:
    """Give a tokenizer a pad token that is not its end token; many causal language models come without one.

    What is padding is decided by length, never by id (P8), so that any token would do in this course. It must not be
    the end token all the same: whoever masks by id later would mask every end, and the model would never stop.
    """
    ends = {tokenizer.eos_token, None}
    if tokenizer.pad_token not in ends:
        return
    own = [str(token) for _, token in sorted(tokenizer.added_tokens_decoder.items())]
    template = str(tokenizer.chat_template or "")
    spare = [token for token in own if token not in template and token not in (tokenizer.bos_token, *ends)]
    named = [token for word in ("pad", "unused", "reserved") for token in spare if word in token.lower()]
    unk = [] if tokenizer.unk_token in (tokenizer.bos_token, *ends) else [tokenizer.unk_token]
    first = [token for token in tokenizer.convert_ids_to_tokens([0, 1, 2]) if token not in ends]
    tokenizer.pad_token = [*named, *unk, *reversed(spare), *first][0]
