"""Chinese-English sentence pairs: everyday life, which `translator` was trained on, and cooking, which is new."""

from collections.abc import Sequence

from ..assets import find_asset
from ..errors import bad_data
from ..tasks.language import Seq2Seq
from .headlines import read_rows

SPLITS = ("train", "val", "test", "compositions")


def splits(domain: str) -> dict[str, list[dict]]:
    """``train``, ``val``, ``test`` and ``compositions`` of ``"general"`` or ``"cooking"``.

    Every example has ``zh``, ``en``, ``manner`` (plain, spoken, formal or note) and ``origin``: ``written`` for the
    course, derived from a ``grammar``, or a ``variation`` of a written one. ``val`` and ``test`` are written.
    ``compositions`` are grammar rows with a verb and a noun, named in ``pair``, that stand together in no training row.

    Raises:
        AssetError: a file is missing or altered.

    >>> {name: len(rows) for name, rows in splits("cooking").items()}
    {'train': 2025, 'val': 75, 'test': 150, 'compositions': 250}
    """
    folder = find_asset("zh_en") / domain
    return {name: read_rows(folder / f"{name}.csv") for name in SPLITS}


def zh_en() -> Seq2Seq:
    """Translate everyday sentences from Chinese: 11,020 / 150 / 250 pairs, and 250 compositions.

    3,020 training pairs are written, 5,000 derived from a grammar, 3,000 variations of written ones (``origin``).
    `translator` was pretrained on such rows: this task measures what fine-tuning makes it forget.

    Raises:
        AssetError: a file is missing or altered.

    >>> task = zh_en()
    >>> {split: len(task.examples(split)) for split in task.splits}
    {'train': 11020, 'val': 150, 'test': 250, 'compositions': 250}
    """
    return Seq2Seq(splits("general"), source="zh", target="en", name="zh-en")


def zh_en_cooking() -> Seq2Seq:
    """Translate recipes and kitchen advice from Chinese: 2,025 / 75 / 150 pairs, and 250 compositions.

    525 training pairs are written, 900 derived from a grammar, 600 variations of written ones (``origin``).

    Raises:
        AssetError: a file is missing or altered.

    >>> zh_en_cooking().examples("test")[0]["origin"]
    'written'
    """
    return Seq2Seq(splits("cooking"), source="zh", target="en", name="zh-en-cooking")


def translation_scores(translations: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """BLEU and chrF of a whole set of translations, 0 to 100, by sacrebleu with its default settings.

    BLEU counts runs of one to four words that the reference has too, chrF runs of one to six letters; both are of the
    whole set, not means over sentences.

    Args:
        translations: what the model wrote.
        references: one right translation for each, in the same order.

    Raises:
        BadData: no translations, or not as many as references.
        ImportError: sacrebleu is not installed; the message names the extra.

    >>> translation_scores(["the cat sat on the mat"], ["the cat sat on the mat"])     # doctest: +SKIP
    {'bleu': 100.0, 'chrf': 100.0}
    """
    if not translations or len(translations) != len(references):
        raise bad_data("translations", [f"{len(translations)} of them for {len(references)} references"])
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError as error:
        raise ImportError('BLEU and chrF need sacrebleu: pip install "sftlab[text]"') from error
    scores = {"bleu": BLEU(), "chrf": CHRF()}
    return {name: score.corpus_score(list(translations), [list(references)]).score for name, score in scores.items()}
