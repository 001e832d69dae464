"""Sound to text: one loss over all alignments (CTC)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from ..data.collate import length_mask, pad
from ..errors import SftlabError, bad_data, unknown
from .inputs import TensorInput
from .task import IGNORE, LossSum, Task
from .values import Reading


@dataclass(frozen=True)
class AudioInput(TensorInput):
    """Samples [time], or frames [time, features], padded with zeros; the model is called with an ``attention_mask``.

    Args:
        alone: call the model with one example at a time, without padding: for models whose outputs padding changes,
            such as wav2vec2 with a group norm (P33).

    >>> batch = AudioInput().collate([{"audio": torch.ones(3)}, {"audio": torch.ones(1)}], model=None)
    >>> batch["audio"].tolist(), batch["attention_mask"].tolist()
    ([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]], [[1, 1, 1], [1, 0, 0]])
    """

    column: str = "audio"
    alone: bool = False

    def problems(self, example: dict) -> str | None:
        if found := super().problems(example):
            return found
        shape = example[self.column].shape
        return None if len(shape) in (1, 2) and min(shape) else f"{self.column!r} must be [time] or [time, features]"

    def encode(self, examples: Sequence[dict], model) -> list[dict]:
        return [{"audio": example[self.column]} for example in examples]

    def length(self, item: dict) -> int:
        return len(item["audio"])

    def collate(self, items: Sequence[dict], model) -> dict:
        rows = [item["audio"] for item in items]
        return {"audio": pad_sequence(rows, batch_first=True), "attention_mask": length_mask(list(map(len, rows)))}

    def call(self, model, inputs: dict):
        return model(inputs["audio"], attention_mask=inputs["attention_mask"])


class CTC(Task):
    """Transcripts from sound: minus the log-probability of all alignments, summed; the count is that of characters.

    The model gives [batch, frames, classes], and says by ``output_lengths(lengths)``, or transformers'
    ``_get_feat_extract_output_lengths``, how many frames come of an input; without either, as many as it gets.

    Args:
        splits: ``{"audio": [time], "transcript": "turn left"}``.
        label_names: the characters, with the space if there is one; the task puts the blank before them, as class 0.
        inputs: :class:`AudioInput`.

    Raises:
        BadData: unknown characters, and (when the model is known) transcripts that do not fit into the frames.

    Source: Graves et al. (2006), Connectionist temporal classification.

    >>> task = CTC({"train": [{"audio": torch.zeros(9), "transcript": "ab"}]}, "ab ")
    >>> task.label_names, task.needs("aab")     # equal neighbours need a blank between them
    (['<blank>', 'a', 'b', ' '], 4)
    """

    kind = "speech recognition"
    metric_names = ("wer", "cer")
    label_column = "transcript"

    def __init__(self, splits, label_names, inputs=None, name: str = "own data"):
        if wrong := [c for c in label_names if len(c) != 1]:
            raise bad_data(name, [f"label_names must be single characters, found {wrong[:5]}"])
        super().__init__(splits, ["<blank>", *label_names], inputs or AudioInput(), name)

    def label_problem(self, example: dict) -> str | None:
        text = example.get("transcript")
        if not isinstance(text, str) or not text:
            return f"'transcript' must be text, found {text!r}"
        wrong = [c for c in text if c not in self._id]
        return str(unknown("character", wrong[0], self.label_names[1:])) + f" In {text!r}." if wrong else None

    @staticmethod
    def needs(text: str) -> int:
        """Frames that a transcript needs at least."""
        return len(text) + sum(a == b for a, b in zip(text, text[1:], strict=False))

    def frames(self, model, lengths: Sequence[int]) -> list[int]:
        """Output frames of the model for inputs of these lengths."""
        of = getattr(model, "output_lengths", None) or getattr(model, "_get_feat_extract_output_lengths", None)
        return [int(n) for n in (of(torch.tensor(lengths)) if of else lengths)]

    def encode(self, examples: Sequence[dict], model, labelled: bool = True) -> list[dict]:
        items = super().encode(examples, model, labelled)
        frames = self.frames(model, [self.inputs.length(item) for item in items])
        needed = [self.needs(x["transcript"]) if labelled else 1 for x in examples]
        wrong = [
            f"[{i}]: the transcript needs {need} frames and the model gives {have}: the loss would be infinite"
            for i, (have, need) in enumerate(zip(frames, needed, strict=True))
            if have < need
        ]
        if wrong:
            raise bad_data(self.name, wrong)
        return items

    def add_labels(self, item: dict, example: dict) -> dict:
        return {**item, "labels": [self._id[c] for c in example["transcript"]]}

    def collate_labels(self, items: Sequence[dict]) -> torch.Tensor:
        return pad([item["labels"] for item in items], IGNORE)

    def collate(self, items: Sequence[dict], model) -> dict:
        return {**super().collate(items, model), "frames": self.frames(model, [self.inputs.length(x) for x in items])}

    def logits(self, model, batch: dict) -> list[torch.Tensor]:
        """One tensor for each example, [its frames, classes], without the padding."""
        inputs, frames = batch["inputs"], batch["frames"]
        if not self.inputs.alone:
            out = super().logits(model, batch)
        else:
            lengths = inputs["attention_mask"].sum(dim=1).tolist()
            each = [{k: v[i : i + 1, :n] for k, v in inputs.items()} for i, n in enumerate(lengths)]
            out = [super(CTC, self).logits(model, {"inputs": one})[0] for one in each]
        if out[0].dim() != 2 or max(frames) > max(map(len, out)):
            raise SftlabError(f"the model gave {[list(row.shape) for row in out][:3]}, expected frames: {frames[:3]}")
        return [row[:n] for row, n in zip(out, frames, strict=True)]

    def loss_of(self, logits: list[torch.Tensor], batch: dict) -> LossSum:
        labels = batch["labels"]
        known = labels != IGNORE
        scores = pad_sequence([row.float().log_softmax(dim=-1) for row in logits])  # [frames, batch, classes]
        frames = torch.tensor(batch["frames"], device=labels.device)
        loss = F.ctc_loss(scores, labels[known], frames, known.sum(dim=1), reduction="none", zero_infinity=False)
        return LossSum(loss.sum(), known.sum())

    def decode(self, logits: list[torch.Tensor], batch: dict) -> tuple:
        true = ["".join(self.label_names[c] for c in row if c != IGNORE) for row in batch["labels"].tolist()]
        return [self.text(row) for row in logits], true

    def text(self, row: torch.Tensor) -> str:
        """Greedy decoding: the best class of each frame, repeats merged, blanks dropped."""
        return "".join(self.label_names[c] for c in row.argmax(dim=-1).unique_consecutive().tolist() if c)

    def metrics(self, predicted, true) -> dict[str, float]:
        """Edits of the whole set divided by its words and characters."""
        from torchmetrics.functional.text import char_error_rate, word_error_rate

        return {"wer": float(word_error_rate(predicted, true)), "cer": float(char_error_rate(predicted, true))}

    def read(self, item: dict, row: torch.Tensor) -> Reading:
        """The text, and the mean over the frames of the best class's probability."""
        return Reading(self.text(row), float(row.float().softmax(dim=-1).amax(dim=-1).mean()))
