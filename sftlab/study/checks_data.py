"""What can be seen in label masks and token ids."""

import torch

from ..errors import few
from .checks_base import check, fault, ok, warning
from .checks_program import Program


def _supervised(labels: torch.Tensor, ignore: int) -> torch.Tensor:
    return labels != ignore


@check("supervised labels", "P9, P11", spoils="loss")
def supervised_labels(program: Program):
    rows = [_supervised(b.class_labels, program.ignored).reshape(b.size, -1) for b in program.batches
            if b.class_labels is not None and b.class_labels.shape[:1] == (b.size,)]  # fmt: skip
    if not rows:
        return None
    counts = torch.cat([r.sum(1) for r in rows])
    places = sum(r.numel() for r in rows)
    empty = (counts == 0).nonzero().flatten().tolist()
    seen = f"{int(counts.sum())} labels of {places} places in {len(counts)} rows"
    if len(empty) == len(counts):
        return fault(f"no label in {len(counts)} rows: all are masked", "check the mask: does the template mark what "
                     "the assistant says ({% generation %})? is the prompt longer than the limit?")  # fmt: skip
    if empty:
        return warning(f"{seen}; {len(empty)} rows without any: {few(empty, 5)}",
                       "drop these rows, or cut the prompt instead of the answer")  # fmt: skip
    return ok(f"{seen}; least {int(counts.min())} per row")


@check("padding is learnt", "S13", needs="outputs")
def padding_is_learnt(program: Program):
    """Places that say a token: rows that end in labels which are all the padding token. Else: labels on padding."""
    table, pads = program.embedding, program.special("pad")
    if table is None or program.class_count != table.num_embeddings:
        return _labels_on_padding(program)
    if not pads:
        return None
    labels = [b.class_labels for b in program.batches if b.class_labels is not None and b.class_labels.dim() == 2]
    tails = [
        torch.isin(rows[:, -2:], torch.tensor(sorted(pads)).to(rows)).all(1) for rows in labels if rows.shape[1] > 1
    ]
    if not tails:
        return None
    found, rows = int(sum(tail.sum() for tail in tails)), sum(map(len, tails))
    if found:
        return fault(f"{found} of {rows} rows end in padding that has a label", "label padding with -100, "
                     "by length; a loss that counts it falls without anything being learnt")  # fmt: skip
    return ok(f"0 of {rows} rows end in labelled padding")


def _labels_on_padding(program: Program):
    """Where each token has a class: those that are padding have none."""
    batches = [(b, program.real(b)) for b in program.batches if b.class_labels is not None and b.ids is not None]
    batches = [(b, real) for b, real in batches if real is not None and b.class_labels.shape == b.ids.shape]
    # An encoder-decoder has labels of another text, which may be as long as the padded input by chance.
    if program.language or program.needs_labels or not batches or program.class_count is None:
        return None
    padding = sum(int((~real).sum()) for _, real in batches)
    found = sum(int((_supervised(b.class_labels, program.ignored) & ~real).sum()) for b, real in batches)
    if found:
        return fault(f"{found} of {padding} places of padding have a label", "label padding with -100, and with it "
                     "[CLS], [SEP] and the further pieces of a word: the loss pays for classes of no word")  # fmt: skip
    return ok(f"0 of {padding} places of padding have a label")


@check("end of text", "P8")
def end_of_text(program: Program):
    eos = program.special("eos")
    if not eos or not (program.language or program.needs_labels):
        return None
    shown = learnt = ended = rows = 0
    for batch in program.batches:
        if batch.class_labels is None or (program.language and batch.ids is None):
            return None
        labels = batch.class_labels
        learnt += sum(int((labels == i).sum()) for i in eos)
        ids = batch.ids if program.language else labels
        shown += sum(int((ids[:, 1:] == i).sum()) for i in eos)
        ended += int(sum((ids == i).any(1) for i in eos).clamp(max=1).sum())
        rows += batch.size
    if learnt:
        return ok(f"{learnt} end-of-text labels in {rows} rows")
    if program.language and shown:
        return fault(f"{shown} end-of-text tokens in the inputs, 0 in the labels",
                     "mask padding by length, not by id: give the tokenizer a padding token of its own")  # fmt: skip
    whole = program.language and all(program.real(b).all() for b in program.batches)  # chunks of a long text
    if whole or ended:
        return None
    return warning(f"no end-of-text token in {rows} rows", "append tokenizer.eos_token to every answer, "
                   "or the model never learns to stop")  # fmt: skip


@check("end of turn", "P9")
def end_of_turn(program: Program):
    special = set(getattr(program.tokenizer, "all_special_ids", None) or ())
    special |= set(getattr(program.tokenizer, "added_tokens_decoder", None) or ())
    special -= program.special("eos") | program.special("pad") | program.special("bos")
    if not program.language or not special:
        return None
    spans = cut = 0
    for batch in program.batches:
        seen = _supervised(batch.class_labels, program.ignored)
        ends = seen[:, :-1] & ~seen[:, 1:] & program.real(batch)[:, 1:]
        is_special = torch.isin(batch.ids, torch.tensor(sorted(special), device=batch.ids.device))
        closed = is_special | torch.isin(batch.ids, torch.tensor(sorted(program.special("eos"))).to(batch.ids))
        spans += int(ends.sum())
        cut += int((ends & is_special[:, 1:] & ~closed[:, :-1]).sum())  # an answer that ends with its end is whole
    if not spans:
        return None
    if cut * 2 > spans:
        return fault(f"{cut} of {spans} answers end before a special token that has no label",
                     "supervise the token that ends the turn, or the model never ends it")  # fmt: skip
    return ok(f"{cut} of {spans} answers stop short of a special token")


@check("start of text", "P10, P32")
def start_of_text(program: Program):
    bos, start = program.special("bos"), getattr(program.config, "decoder_start_token_id", None)
    found = rows = 0
    for batch in program.batches:
        if program.needs_labels and start is not None and batch.class_labels is not None:
            twice = (batch.class_labels[:, 0] == start).tolist()
        elif bos and batch.ids is not None and batch.ids.shape[1] > 1:
            real = program.real(batch)
            heads = [ids[keep][:2].tolist() for ids, keep in zip(batch.ids, real, strict=True)]
            twice = [len(head) == 2 and head[0] == head[1] and head[0] in bos for head in heads]
        else:
            return None
        found, rows = found + sum(twice), rows + len(twice)
    if not found:
        return ok(f"once at most, in {rows} rows")
    return fault(f"{found} of {rows} rows start with two start tokens", "tokenise templated text with "
                 "add_special_tokens=False; let the collator take the decoder's start from the labels")  # fmt: skip


@check("vocabulary", "S7", spoils="outputs")
def vocabulary(program: Program):
    table = program.embedding
    if table is None:
        return None
    ids = torch.cat([b.ids.flatten() for b in program.batches if b.ids is not None])
    if ids.is_floating_point() or int(ids.min()) < 0:
        return fault(f"token ids from {float(ids.min()):.3g} to {float(ids.max()):.3g}, {ids.dtype}",
                     "ids are names, not quantities: never scale or standardise them (S8)")  # fmt: skip
    rows, known = table.num_embeddings, _length(program.tokenizer)
    seen = f"greatest id {int(ids.max())}, tokenizer {known or 'not given'}, embedding {rows}"
    if int(ids.max()) >= rows or (known or 0) > rows:
        return fault(seen, "use the checkpoint's own tokenizer; after adding tokens: model.resize_token_embeddings("
                     "len(tokenizer))")  # fmt: skip
    unknown = getattr(program.tokenizer, "unk_token_id", None)
    share = float((ids == unknown).float().mean()) if unknown is not None else 0.0
    if known and known < 0.8 * rows:
        return warning(seen, "is this the tokenizer of the checkpoint, or one fitted again? ids would change meaning")
    if share > 0.2:
        return warning(f"{share:.0%} of the tokens are unknown to the tokenizer", "use the checkpoint's own tokenizer")
    return ok(seen)


def _length(tokenizer) -> int | None:
    return len(tokenizer) if hasattr(tokenizer, "__len__") else None


@check("truncation", "P11")
def truncation(program: Program):
    if program.task is not None:
        cut, rows = sum("cut_from" in item for item in program.items), len(program.items)
        limit = getattr(program.model, "max_tokens", None)
        if limit is None:
            return None
    else:
        limits = [getattr(program.tokenizer, "model_max_length", None),
                  getattr(program.config, "max_position_embeddings", None)]  # fmt: skip
        limit = min((x for x in limits if isinstance(x, int) and x < 10**6), default=None)
        real = [program.real(b) for b in program.batches if b.ids is not None]
        if limit is None or not real:
            return None
        lengths = torch.cat([r.sum(1) for r in real])
        if program.language and int(lengths.min()) == int(lengths.max()):
            return None  # a long text in chunks
        cut, rows = int((lengths >= limit).sum()), len(lengths)
    seen = f"{cut} of {rows} rows reach the limit of {limit} tokens"
    return warning(seen, "what is behind the cut is lost: raise the limit, cut elsewhere, or split long texts") \
        if cut > 0.1 * rows else ok(seen)  # fmt: skip
