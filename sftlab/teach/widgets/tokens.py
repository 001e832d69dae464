"""The tokenizer explorer: any text is cut by a WordPiece tokenizer in the browser, as the Hugging Face one does it."""

import base64
import zlib
from html import escape
from pathlib import Path

import traitlets

from ...errors import SftlabError
from .base import Widget, script, style


def pack(vocabulary: list[str]) -> str:
    """A vocabulary as one short string, which ``readVocabulary`` in tokens.js reads.

    >>> len(pack(["cat", "dog"] * 1000)) < 100
    True
    """
    return base64.b64encode(zlib.compress("\n".join(vocabulary).encode(), 9)).decode()


class TokenizerExplorer(Widget):
    """The widget of :func:`tokenizer_explorer`; ``text`` and ``length`` are what the reader has set."""

    _esm = script("tokens")
    _css = style("tokens")
    vocabulary = traitlets.Unicode().tag(sync=True)
    lower = traitlets.Bool(True).tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)
    length = traitlets.Int(16).tag(sync=True)
    tokenizer = None

    def encode(self) -> tuple[list[str], list[int], list[int]]:
        """Pieces, ids and attention mask of the present text, by the Hugging Face tokenizer itself."""
        found = self.tokenizer(self.text, truncation=True, max_length=self.length, padding="max_length")
        pieces = self.tokenizer.convert_ids_to_tokens(found["input_ids"])
        return pieces, list(found["input_ids"]), list(found["attention_mask"])

    def static(self) -> str:
        """Pieces, ids and mask as a table."""
        pieces, ids, mask = self.encode()
        rows = "".join(
            f"<tr><td><code>{escape(p)}</code></td><td>{i}</td><td>{m}</td></tr>"
            for p, i, m in zip(pieces, ids, mask, strict=True)
        )
        return (
            f"<p>The text <q>{escape(self.text)}</q> as {self.length} pieces:</p><table><thead><tr><th>piece</th>"
            f"<th>id</th><th>attention mask</th></tr></thead><tbody>{rows}</tbody></table>"
        )


def tokenizer_explorer(
    text: str = "Fine-tuning unfreezes embeddings: the café's naïve re-tokenizer learned it.",
    tokenizer=None,
    length: int = 32,
) -> TokenizerExplorer:
    """Type a text and see its pieces, ids, padding and attention mask; equal to the Hugging Face tokenizer.

    Args:
        text: what stands there at first.
        tokenizer: a fast tokenizer of the BERT kind (WordPiece); default: that of ``minilm``.
        length: all texts are cut and padded to it, 4 to 64.

    Raises:
        SftlabError: the tokenizer is not WordPiece with BERT's rules, which are the ones this widget knows.
        AssetError: ``minilm`` is not installed and no tokenizer was given.
        ValueError: ``length`` out of range.

    >>> tokenizer_explorer("Hello!", length=6).encode()[0]     # doctest: +SKIP
    ['[CLS]', 'hello', '!', '[SEP]', '[PAD]', '[PAD]']
    """
    if not 4 <= length <= 64:
        raise ValueError(f"length must lie between 4 and 64, not {length}")
    if tokenizer is None:
        from transformers import AutoTokenizer

        from ...assets import find_asset

        tokenizer = AutoTokenizer.from_pretrained(str(Path(find_asset("minilm"))))
    rules = getattr(tokenizer, "backend_tokenizer", None)
    kinds = [type(getattr(rules, part, None)).__name__ for part in ("model", "normalizer", "pre_tokenizer")]
    if kinds != ["WordPiece", "BertNormalizer", "BertPreTokenizer"]:
        raise SftlabError(
            f"the tokenizer explorer knows WordPiece with BERT's rules; {type(tokenizer).__name__} has "
            f"{', '.join(kinds)}. Give it a BERT-like tokenizer, or none for that of minilm."
        )
    by_id = {i: word for word, i in tokenizer.get_vocab().items()}
    vocabulary = [by_id.get(i, "") for i in range(max(by_id) + 1)]
    widget = TokenizerExplorer(
        vocabulary=pack(vocabulary), lower=bool(rules.normalizer.lowercase), text=text, length=length
    )  # fmt: skip
    widget.tokenizer = tokenizer
    return widget
