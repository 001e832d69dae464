"""``sl.load``: the checkpoints of the course, and in the full profile any fitting model of the Hugging Face hub."""

import errno
import json
import os
import re
import shutil
from os import PathLike
from pathlib import Path

from torch import nn

from .. import assets, env
from ..errors import AssetError, SftlabError, UnknownName, disk_error
from ..model import loading
from . import torchvision_models
from .download import only_in_full
from .pickles import as_safetensors

# The models of the curriculum, each at one commit: what is measured today is what you get in a year.
PINS = {
    "google-bert/bert-base-uncased": "86b5e0934494bd15c9632b12f734a8a67f723594",
    "distilbert/distilbert-base-uncased": "12040accade4e8a0f71eabdb258fecc2e7e948be",
    "Helsinki-NLP/opus-mt-zh-en": "cf109095479db38d6df799875e34039d4938aaa6",
    "HuggingFaceTB/SmolLM2-135M": "93efa2f097d58c2a74874c7e644dbc9b0cee75a2",
    "Qwen/Qwen2.5-0.5B": "060db6499f32faf8b98477b0a26969ef7d8b9987",
}
PICKLED = ("Helsinki-NLP/opus-mt-zh-en",)  # has no safetensors at that commit: see pickles.py
# Only what is named here is fetched: no code, no weights of other frameworks, and no pickles but of those just named.
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
        revision: of a model of the hub: branch, tag or commit; default: the commit in :data:`PINS`, else main.

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
    if pretrained and name in PICKLED and (place / "pytorch_model.bin").is_file():
        place = _converted(name, place)
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
        revision: branch, tag or commit; default: the commit in :data:`PINS`, else the main branch.
        weights: False fetches configuration and tokenizer only.

    A break in the middle is taken up by the next call. Digests are taken at the first use and kept in the cache of the
    course (``digests``); from then on the files must have them, and the hub is not asked again for a commit that is
    complete.

    Raises:
        UnknownName: no such repository or revision, or not for you.
        AssetError: the profile is tiny; the hub is out of reach and its cache does not have the files; a file is
            truncated or altered; the disk is full.
    """
    only_in_full(f"{name!r} is a model of the Hugging Face hub")
    from huggingface_hub import constants, errors, snapshot_download

    revision = revision or PINS.get(name)
    at = f" at revision {revision!r}" if revision else ""
    record = _record(name, revision, weights)
    if (found := _complete(name, revision, record)) is not None:
        return found
    wanted = FACTS + WEIGHTS * weights + ["pytorch_model.bin"] * (weights and name in PICKLED)
    try:
        found = Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
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
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise disk_error(Path(constants.HF_HUB_CACHE), error) from error
        raise AssetError(_out_of_reach(name, at, f"{type(error).__name__}: {error}")) from error
    _check(name, found, {})
    record = _record(name, found.name, weights)
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        part = record.with_name(f"{record.name}.{os.getpid()}.part")
        part.write_text(json.dumps({path.name: assets.sha256(path) for path in _files(found)}, indent=1))
        os.replace(part, record)
    except OSError as error:
        raise disk_error(record.parent, error) from error
    return found


def _record(name: str, commit: str | None, weights: bool) -> Path:
    """Where the digests of a repository's files stand, once they were all there."""
    short = f"{name.replace('/', '--')}@{commit}{'' if weights else ', no weights'}.json"
    return assets.cache_root() / "digests" / short


def _complete(name: str, commit: str | None, record: Path) -> Path | None:
    """The folder of a commit that was complete before, checked; None if it was not, or files are gone."""
    from huggingface_hub import constants

    place = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "snapshots" / (commit or "")
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not all((place / file).is_file() for file in known):
        return None
    _check(name, place, known)
    return place


def _files(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_file())


def _check(name: str, place: Path, known: dict[str, str]) -> None:
    """Each file has its recorded digest; or that in the name of its blob, which the hub gives to large files."""
    for path in _files(place):
        blob = path.resolve().name
        expected = known.get(path.name) or (blob if re.fullmatch("[0-9a-f]{64}", blob) else None)
        if expected and (found := assets.sha256(path)) != expected:
            raise AssetError(
                f"{name}: {path.name} is truncated or altered ({path.stat().st_size:,} bytes).\n"
                f"  expected sha256 {expected}\n  found    sha256 {found}\n"
                f"Delete {path.resolve()}{f' and {path}' if path.is_symlink() else ''}: it is then fetched again."
            )


def _converted(name: str, place: Path) -> Path:
    """A folder with the same facts and safetensors, in the cache of the course."""
    target = assets.cache_root() / "converted" / f"{name.replace('/', '--')}@{place.name}"
    as_safetensors(place / "pytorch_model.bin", target / "model.safetensors")
    try:
        for path in _files(place):
            if path.suffix != ".bin":
                shutil.copyfile(path, target / path.name)
    except OSError as error:
        raise disk_error(target, error) from error
    return target


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
