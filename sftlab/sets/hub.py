"""Models by name: the course's own checkpoints, and in the full profile those of the Hugging Face hub."""

from os import PathLike
from pathlib import Path

from torch import nn

from .. import env
from ..errors import AssetError, UnknownName
from ..model import loading

# Configuration, tokenizer, weights as safetensors (in one file or several); never pickles, never code.
WANTED = ["*.json", "*.safetensors", "*.model", "*.spm", "*.txt", "*.jinja"]
KINDS = (*loading.TEXTS, "token tagging", *loading.WHOLE)


def load(
    name: str, task, seed: int | None = None, *, folder: str | PathLike | None = None, pretrained: bool = True,
    dropout: float = 0.1, revision: str | None = None,
) -> nn.Module:  # fmt: skip
    """Load a pretrained model and put a new head for ``task`` on it; a language model keeps its own.

    A name with a slash is one of the Hugging Face hub, such as ``"google-bert/bert-base-uncased"``: in the profile
    ``full`` it is downloaded once into the hub's own cache (``HF_HOME``, ``HF_ENDPOINT`` and ``HF_HUB_OFFLINE``
    count), safetensors only, and no code of the repository runs.

    Args:
        name: a checkpoint of the course, such as ``"minilm"``, ``"glyphnet"``, ``"scenes"`` or ``"translator"``, or
            ``OWNER/NAME`` on the hub, for texts, tokens, language models and translators.
        task: gives the kind of head and the number of its outputs.
        seed: of the new head (and of the trunk if ``pretrained`` is False); default: the seed of ``sl.start``.
        folder: take the files from this folder; with a ``name`` of the course they must have its digests.
        pretrained: False gives the same architecture with random weights, for the comparison with "from scratch".
        dropout: on what the head sees.
        revision: on the hub: a commit, tag or branch; name a commit to get the same files tomorrow.

    Returns:
        nn.Module: in eval mode, on the CPU, float32. It carries ``name``, ``loading`` (which checkpoint keys were
        used, left over, or new), and what its inputs need: ``tokenizer`` and ``max_tokens``, or ``image_size``,
        ``mean`` and ``std``. From the hub also ``revision``, the commit.

    Raises:
        UnknownName: no such checkpoint, or none for this kind of task.
        AssetError: the files are missing or damaged, cannot be fetched, are pickles, or the profile is ``tiny``.
        MissingWeights: the checkpoint lacks weights of the trunk, or has them in another shape (P14).

    >>> import sftlab as sl
    >>> model = sl.load("minilm", sl.task("headlines"), seed=0)     # doctest: +SKIP
    >>> sorted({p.dtype for p in model.parameters()})               # doctest: +SKIP
    [torch.float32]
    """
    if "/" not in name:
        if revision is not None:
            raise ValueError(f"revision is for models of the hub; {name!r} is one of the course")
        return loading.load(name, task, seed, folder=folder, pretrained=pretrained, dropout=dropout)
    seed = env.current().seed if seed is None else seed
    if task.kind not in KINDS:
        raise UnknownName(f"{name!r}: from the hub come models for {', '.join(KINDS)}, not for {task.kind}.")
    place = Path(folder) if folder is not None else fetch(name, revision)
    model = loading.build(place, task, seed, {}, pretrained, dropout)
    model.name, model.revision = name, place.name
    return model


def fetch(name: str, revision: str | None = None) -> Path:
    """The folder of the hub's cache that holds a model's files; they are downloaded if they are not there.

    Raises:
        AssetError: the profile is not ``full``; the hub cannot be reached and has not been before; no such model or
            revision; its weights are pickles.
    """
    if env.current().profile != "full":
        raise AssetError(
            f"{name!r} is a model of the Hugging Face hub, and the profile 'tiny' fetches nothing. "
            "Set SFTLAB_PROFILE=full before you start Python, or call sl.start(profile='full')."
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        place = Path(snapshot_download(name, revision=revision, allow_patterns=WANTED))
    except (OSError, HFValidationError) as error:  # all of the hub's errors of connection, name and revision
        raise AssetError(
            f"{name!r} could not be fetched from the Hugging Face hub ({type(error).__name__}: "
            f"{str(error).splitlines()[0]}).\nCheck the name and the connection (HF_HUB_OFFLINE forbids one), or name "
            "a folder that holds its files: sl.load(..., folder=...)."
        ) from error
    if not list(place.glob("*.safetensors")):
        raise AssetError(
            f"{name!r} ({place.name[:7]}) has no safetensors file. Pickled weights can run code and are never loaded: "
            "look for a revision with safetensors, often refs/pr/..., and name it with revision=."
        )
    return place
