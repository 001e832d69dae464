"""Sound to text: one loss over all alignments (CTC)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from ..data.collate import length_mask
from ..errors import SftlabError, bad_data, unknown
from .inputs import TensorInput
from .task import IGNORE, LossSum
from .values import TargetTask


@dataclass(frozen=True)
class AudioInput(TensorInput):
    """Samples [time], or frames [time, features], padded with zeros; the model is called with an ``attention_mask``.

    ``alone=True`` calls it for one example at a time, without padding: for models whose outputs padding changes in
    spite of the mask, such as wav2vec2 with a group norm (P33).

    >>> batch = AudioInput().collate([{"input": torch.ones(2)}, {"input": torch.ones(1)}], model=None)
    >>> batch["input"].tolist(), batch["attention_mask"].tolist()
    ([[1.0, 1.0], [1.0, 0.0]], [[1, 1], [1, 0]])
    """

    column: str = "audio"
    alone: bool = False
    one_shape = False

    def length(self, item: dict) -> int:
        return len(item["input"])

    def collate(self, items: Sequence[dict], model) -> dict:
        rows = [item["input"] for item in items]
        return {"input": pad_sequence(rows, batch_first=True), "attention_mask": length_mask([len(x) for x in rows])}

    def call(self, model, inputs: dict):
        audio, mask = inputs["input"], inputs["attention_mask"]
        if not self.alone:
            return model(audio, attention_mask=mask)
        each = [
            model(a[None, :n], attention_mask=m[None, :n]) for a, m, n in zip(audio, mask, mask.sum(1), strict=True)
        ]
        return pad_sequence([getattr(out, "logits", out)[0] for out in each], batch_first=True)


class CTC(TargetTask):
    """Transcripts of sound: minus the log-probability over all alignments, summed; the count is that of characters.

    The model gives [batch, frames, classes] and says by ``output_lengths(lengths)``, or transformers'
    ``_get_feat_extract_output_lengths``, how many frames come of an input; without either, as many as go in.

    Args:
        splits: ``{"audio": [time], "transcript": "turn left"}``.
        label_names: the characters, the space among them; the task puts the blank before them, as class 0.

    Raises: BadData for unknown characters and, once the model is known, transcripts that do not fit into its frames.

    Source: Graves et al. (2006), Connectionist temporal classification.

    >>> CTC({"train": [{"audio": torch.zeros(9), "transcript": "ab"}]}, "ab ").label_names
    ['<blank>', 'a', 'b', ' ']
    """

    kind, label_column = "speech recognition", "transcript"
    metric_names = ("wer", "cer")

    def __init__(self, splits, label_names, inputs=None, name: str = "own data"):
        if wrong := [c for c in label_names if len(c) != 1]:
            raise bad_data(name, [f"label_names must be single characters, found {wrong[:5]}"])
        super().__init__(splits, ["<blank>", *label_names], inputs or AudioInput(), name)
        self.cacheable = not self.inputs.alone  # stored outputs are handed out for a whole batch at once

    def target(self, example: dict) -> torch.Tensor:
        text = example.get("transcript")
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"'transcript' must be text that is not empty, found {text!r}")
        if wrong := [c for c in text if c not in self._id]:
            raise unknown("character", wrong[0], self.label_names[1:])
        return torch.tensor([self._id[c] for c in text])

    def frames(self, model, items: Sequence[dict]) -> list[int]:
        """Output frames of the model for each item."""
        lengths = torch.tensor([self.inputs.length(item) for item in items])
        of = getattr(model, "output_lengths", None) or getattr(model, "_get_feat_extract_output_lengths", None)
        return [int(n) for n in (of(lengths) if of else lengths)]

    def encode(self, examples: Sequence[dict], model, labelled: bool = True) -> list[dict]:
        items, wrong = super().encode(examples, model, labelled), []
        for item, frames in zip(items, self.frames(model, items), strict=True):
            text = item.get("labels", torch.ones(1))
            need = len(text) + int((text[1:] == text[:-1]).sum())  # a blank between equal ones
            if frames < need:
                wrong.append(f"[{item['index']}]: needs {need} frames and gets {frames}: the loss would be infinite")
        if wrong:
            raise bad_data(self.name, wrong)
        return items

    def collate(self, items: Sequence[dict], model) -> dict:
        return {**super().collate(items, model), "frames": self.frames(model, items)}

    def logits(self, model, batch: dict) -> list[torch.Tensor]:
        """One tensor for each example, [its frames, classes], without the padding."""
        out, frames = super().logits(model, batch), batch["frames"]
        if out.dim() != 3 or out.shape[1] < max(frames) or out.shape[2] != len(self.label_names):
            raise SftlabError(f"the model gave {list(out.shape)}, not {[len(out), max(frames), len(self.label_names)]}")
        return [row[:n] for row, n in zip(out, frames, strict=True)]

    def loss_of(self, logits: list[torch.Tensor], batch: dict) -> LossSum:
        labels, known = batch["labels"], batch["labels"] != IGNORE
        scores = pad_sequence([row.float().log_softmax(dim=-1) for row in logits])  # [frames, batch, classes]
        frames = torch.tensor(batch["frames"], device=labels.device)
        loss = F.ctc_loss(scores, labels[known], frames, known.sum(dim=1), reduction="none")
        return LossSum(loss.sum(), known.sum())

    def decode(self, logits: list[torch.Tensor], batch: dict) -> tuple:
        true = ["".join(self.label_names[c] for c in row if c != IGNORE) for row in batch["labels"].tolist()]
        return [self.read({}, row) for row in logits], true

    def metrics(self, predicted, true) -> dict[str, float]:
        """Edits of the whole set divided by its words and by its characters."""
        from torchmetrics.functional.text import char_error_rate, word_error_rate

        return {"wer": float(word_error_rate(predicted, true)), "cer": float(char_error_rate(predicted, true))}

    def read(self, item: dict, row: torch.Tensor) -> str:
        """Greedy: the best class of each frame, repeats merged, blanks dropped."""
        return "".join(self.label_names[c] for c in row.argmax(dim=-1).unique_consecutive().tolist() if c)
