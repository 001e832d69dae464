"""Language tasks: masks of texts, answers and conversations, packing, sequence to sequence, generation."""

import math
import random
import re

import nets
import pytest
import torch
from nets import copies, distance, fit

import sftlab as sl
from sftlab.errors import BadData, NoSupervision, SftlabError
from sftlab.tasks import chat, language
from sftlab.tasks import generate as generation
from sftlab.train import loop
from sftlab.train.features import Source
from sftlab.train.task import IGNORE

CPU = torch.device("cpu")
KINDS = ("text", "completion", "chat", "mixed", "packed", "seq2seq")


def words(rng: random.Random, most: int) -> str:
    return " ".join(nets.word(rng) for _ in range(rng.randint(1, most)))[:28]


def example(kind: str, rng: random.Random) -> dict:
    """One example; the numbers of supervised tokens differ by a factor of ten."""
    kind = rng.choice(["text", "completion", "chat"]) if kind in ("mixed", "packed") else kind
    if kind == "text":
        return {"text": words(rng, 6)}
    if kind == "completion":
        return {"prompt": words(rng, 3), "completion": " " + words(rng, 5), "weight": rng.random()}
    if kind == "seq2seq":
        return {"source": words(rng, 6), "target": words(rng, 6)}
    turns = [{"role": role, "content": words(rng, 2)[:8]} for role in ("user", "assistant") * rng.randint(1, 2)]
    return {"messages": turns}


def task_of(kind: str, train: int = 16, test: int = 17):
    sizes = {"train": train, "val": 5, "test": test}
    rng = random.Random(kind)
    splits = {name: [example(kind, rng) for _ in range(size)] for name, size in sizes.items()}
    return sl.Seq2Seq(splits) if kind == "seq2seq" else sl.CausalLM(splits, pack=kind == "packed")


def model_of(kind: str, **settings):
    return nets.encoder_decoder(**settings) if kind == "seq2seq" else nets.causal_lm(**settings)


def texts(item: dict, model) -> tuple[str, str]:
    """(everything, what is supervised) of an encoded example, as text."""
    learnt = [label for label in item["labels"] if label != IGNORE]
    return model.tokenizer.decode(item["input_ids"]), model.tokenizer.decode(learnt)


def encoded(examples: list[dict], model, **settings) -> list[dict]:
    return sl.CausalLM({"train": examples}, **settings).encode(examples, model)


def sums(task, items, model) -> tuple[float, int]:
    """Loss sum and count, one item at a time."""
    total = count = 0
    for item in items:
        with torch.no_grad():
            part = task.loss(model, task.collate([item], model))
        total, count = total + float(part.total), count + int(part.count)
    return total, count


# Every task: sums and counts


@pytest.mark.parametrize("kind", KINDS)
def test_p01_p02_one_batch_of_8_equals_4_of_2(kind):
    """The gradient does not know the micro-batches, though their numbers of target tokens differ."""
    task, model = task_of(kind, train=40 if kind == "packed" else 16), model_of(kind)
    items = task.encode(task.examples("train"), model)
    assert len({sum(label != IGNORE for label in item["labels"]) for item in items[:8]}) > 3
    found, losses = [], []
    for groups in ([range(8)], [[0, 1], [2, 3], [4, 5], [6, 7]]):
        applied = sl.full().apply(model)
        source = Source(model, task, {"train": items})
        losses.append(loop.train_step(source, task, source.batches(groups, CPU), applied, None)[0])
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert distance(*found) < 1e-6 and max(float(g.abs().max()) for g in found[0].values()) > 1e-3
    assert losses[0].count == losses[1].count
    assert float(losses[0].total) == pytest.approx(float(losses[1].total), rel=1e-6)


# Only what is learnt passes the output layer


class Seen:
    """Counts the positions that the output layer of a model computes."""

    def __init__(self, model):
        self.positions = []
        model.get_output_embeddings().register_forward_hook(
            lambda m, args, out: self.positions.append(out[..., 0].numel())
        )


def softcapped(**settings):
    """A model that changes its logits after the output layer."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    like = nets.causal_lm(**settings)
    config = Gemma2Config(
        vocab_size=like.config.vocab_size, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, sliding_window=64, final_logit_softcapping=0.5,
        pad_token_id=0, attn_implementation="eager",
    )  # fmt: skip
    torch.manual_seed(0)
    model = Gemma2ForCausalLM(config)
    model.tokenizer, model.max_tokens = like.tokenizer, like.max_tokens
    return model


def gradients(model, part) -> list[torch.Tensor]:
    model.zero_grad()
    part.total.backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("make", [nets.causal_lm, softcapped])
@pytest.mark.parametrize("kind", ["text", "completion", "chat", "mixed", "packed"])
def test_loss_and_gradients_without_the_logits_that_no_label_needs(kind, make):
    if kind == "packed" and make is softcapped:
        pytest.skip("its sliding window takes no packed rows")
    task, model = task_of(kind), make()
    items = task.encode(task.examples("train"), model)
    batch = task.collate(items[:8], model)
    whole = task.loss_of(task.logits(model, batch), batch)
    wanted = gradients(model, whole)
    seen = Seen(model)
    part = task.loss(model, batch)
    assert seen.positions == [int(part.count)] and int(part.count) == int(whole.count) < batch["labels"].numel()
    assert part.total.item() == pytest.approx(whole.total.item(), rel=1e-6)
    for one, other in zip(gradients(model, part), wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-6 * max(1.0, float(other.abs().max())))
    task.logits(model, batch)
    assert seen.positions[-1] == batch["labels"].numel(), "the hook stayed"


def test_output_layer_sees_all_where_it_must():
    """A compiled model does not notice hooks; a model may have no output layer, or one that is called otherwise."""
    task, model = task_of("completion"), nets.causal_lm()
    items = task.encode(task.examples("train"), model)
    compiled = torch.compile(model, backend="eager")
    for rows in (items[:4], items[4:8]):
        batch = task.collate(rows, model)
        with torch.no_grad():
            assert float(task.loss(compiled, batch).total) == pytest.approx(
                float(task.loss(model, batch).total), rel=1e-6
            )
    inside = nets.causal_lm()
    inside.lm_head.compile(backend="eager")
    assert language._is_compiled(inside) and not language._is_compiled(model)
    with torch.no_grad():
        wanted, seen = float(task.loss(model, batch).total), Seen(model)
        for other in (None, torch.nn.Linear(2, 2)):
            model.get_output_embeddings = lambda other=other: other
            assert float(task.loss(model, batch).total) == pytest.approx(wanted, rel=1e-6)
    assert seen.positions == [batch["labels"].numel()] * 2


def test_hook_leaves_when_the_model_fails():
    task, model = task_of("completion"), nets.causal_lm()
    batch = task.collate(task.encode(task.examples("train"), model)[:2], model)
    batch["inputs"]["input_ids"] = batch["inputs"]["input_ids"] + 10_000
    with pytest.raises(IndexError):
        task.loss(model, batch)
    assert not model.get_output_embeddings()._forward_pre_hooks


@pytest.mark.parametrize("kind", KINDS)
def test_p03_evaluation_does_not_depend_on_the_batch(kind):
    """Loss, accuracy and perplexity are those of one example at a time, whatever the batch."""
    task, model = task_of(kind), model_of(kind)
    fit(model, task, sl.full(epochs=6, lr=5e-3))  # so that some tokens are right
    results = [sl.evaluate(model, task, "test", batch=batch) for batch in (1, 2, 7, 16)]
    for result in results[1:]:
        assert result == pytest.approx(results[0], rel=1e-6, abs=1e-6)
    total, count = sums(task, task.encode(task.examples("test"), model), model)
    assert results[0]["count"] == count and results[0]["loss"] == pytest.approx(total / count, rel=1e-6, abs=1e-6)
    perplexity = task.of_loss(results[0]["loss"])["perplexity"]
    assert perplexity == pytest.approx(math.exp(total / count), rel=1e-5)
    right = 0
    for item in task.encode(task.examples("test"), model):
        with torch.no_grad():
            best = task.logits(model, task.collate([item], model))[0].argmax(dim=-1).tolist()
        moved = item["labels"] if kind == "seq2seq" else item["labels"][1:]
        right += sum(a == b for a, b in zip(best, moved, strict=False))
    assert results[0]["token_accuracy"] == pytest.approx(right / count, abs=1e-9) and 0 < right < count
    assert task.of_loss(1e9)["perplexity"] == math.inf
    assert {"loss", "count", *task.metric_names} == {*results[0], "perplexity"}


@pytest.mark.parametrize("kind", KINDS)
def test_fit_learns_and_micro_batches_change_nothing(kind):
    """A short fit lowers the loss; the same fit in micro-batches ends in the same weights."""
    runs = []
    for micro_batch in (None, 3):
        task, model = task_of(kind), model_of(kind).double()
        before = sl.evaluate(model, task, "train")["loss"]
        runs.append(fit(model, task, sl.full(epochs=3, lr=3e-3), micro_batch=micro_batch))
        assert sl.evaluate(model, task, "train")["loss"] < before - 0.2
    assert distance(copies(runs[0].model), copies(runs[1].model)) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_p35_other_keys_are_kept(kind):
    """What a task does not know stands in the encoded example, and the example itself is not touched."""
    task, model = task_of(kind), model_of(kind)
    rows = [{**row, "weight": 2.5, "where": "page 3"} for row in task.examples("train")]
    before = [dict(row) for row in rows]
    items = task.encode(rows, model)
    assert rows == before
    if kind == "packed":
        assert sorted(i for item in items for i in item["indices"]) == list(range(len(rows)))
    else:
        assert all(item["weight"] == 2.5 and item["where"] == "page 3" for item in items)


# Masks of the causal task


def test_text_is_learnt_whole_with_its_end():
    """Every token after the first is a target, EOS too; BOS is not one."""
    model = nets.causal_lm()
    (item,) = encoded([{"text": "hello"}], model)
    assert texts(item, model) == ("<s>hello</s>", "hello</s>")


def test_prompt_is_not_learnt_and_the_completion_is():
    """Targets are the completion and EOS; the prompt has the ids that it has at generation."""
    model = nets.causal_lm()
    (item,) = encoded([{"prompt": "2+2=", "completion": " 4"}], model)
    assert texts(item, model) == ("<s>2+2= 4</s>", " 4</s>")
    prompt = chat.prompt_ids(["2+2="], model.tokenizer)[0]
    assert item["input_ids"][: len(prompt)] == prompt


def test_p08_eos_is_supervised_where_pad_is_eos():
    """Each row of a padded batch has its EOS among the targets, though padding has the same id."""
    model = nets.causal_lm()
    assert model.tokenizer.pad_token_id == model.tokenizer.eos_token_id
    task = sl.CausalLM({"train": [{"text": "a"}, {"text": "a long one"}, {"prompt": "is it", "completion": "no"}]})
    batch = task.collate(task.encode(task.examples("train"), model), model)
    eos = model.tokenizer.eos_token_id
    assert (batch["labels"] == eos).sum(dim=1).tolist() == [1, 1, 1]
    assert int(task.loss(model, batch).count) == 2 + 11 + 3
    assert torch.equal(batch["inputs"]["attention_mask"].sum(dim=1), torch.tensor([3, 12, 9]))


def test_p09_assistant_turns_are_learnt_with_their_end():
    """The template has no generation marker; targets are each answer and the token that ends it, nothing else."""
    model = nets.causal_lm()
    roles = ("system", "user", "assistant", "user", "assistant", "user")
    turns = [{"role": role, "content": f"t{i}"} for i, role in enumerate(roles)]
    (item,) = encoded([{"messages": turns}], model)
    whole = "<s><system>t0<user>t1<assistant>t2</s><user>t3<assistant>t4</s><user>t5"
    assert texts(item, model) == (whole, "t2</s>t4</s>")


def test_p09_equal_words_of_the_user_are_not_learnt():
    """The mask follows places, not words: the user says what the assistant says."""
    model = nets.causal_lm()
    turns = [{"role": role, "content": "same"} for role in ("user", "assistant", "user", "assistant")]
    (item,) = encoded([{"messages": turns}], model)
    assert [label != IGNORE for label in item["labels"]] == [False] * 7 + [True] * 5 + [False] * 6 + [True] * 5


@pytest.mark.parametrize("adds", [True, False])
def test_p10_one_bos(adds):
    """Templated text has the template's BOS only, plain text exactly one, whether or not the tokenizer writes it."""
    model = nets.causal_lm(adds=adds)
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]
    rows = [{"messages": turns}, {"text": "Hi"}, {"prompt": "Hi", "completion": "Yo"}, {"text": "<s>Hi"}]
    bos = model.tokenizer.bos_token_id
    for item in encoded(rows, model):
        assert item["input_ids"].count(bos) == 1 and item["input_ids"][0] == bos and bos not in item["labels"]
    for ids in chat.prompt_ids(["Hi", turns[:1]], model.tokenizer):
        assert ids.count(bos) == 1 and ids[0] == bos


def test_p10_no_bos_where_the_tokenizer_has_none():
    """Without BOS nothing is put in front; the first token of a text is then not a target."""
    model = nets.causal_lm(start=None, template=nets.TEMPLATE.replace("{{ bos_token }}", ""))
    (item,) = encoded([{"text": "Hi"}], model)
    assert texts(item, model) == ("Hi</s>", "i</s>")


def test_columns_of_other_kinds_are_only_kept():
    """A text with the prompt that it came from is a text; a conversation with its prompt is a conversation."""
    model = nets.causal_lm()
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]
    rows = [{"prompt": "p", "text": "Hi"}, {"text": "Hi", "completion": "c"}, {"prompt": "p", "messages": turns}]
    found = encoded(rows, model)
    assert [texts(item, model)[1] for item in found] == ["Hi</s>", "Hi</s>", "Yo</s>"]
    assert [texts(item, model)[0] for item in found[:2]] == ["<s>Hi</s>"] * 2 and found[0]["prompt"] == "p"


def test_end_is_not_doubled():
    """A text that brings its own EOS keeps one."""
    model = nets.causal_lm()
    assert [texts(i, model)[0] for i in encoded([{"text": "Hi</s>"}], model)] == ["<s>Hi</s>"]


def test_p11_rows_without_targets_are_dropped_and_said():
    """A prompt that fills the model leaves nothing to learn: dropped, named by fit; all of them: an error."""
    rows = [{"prompt": "p" * n, "completion": "c" * 6} for n in (5, 70, 60, 5)]
    task, model = sl.CausalLM({"train": rows}), nets.causal_lm()
    items = task.encode(rows, model)
    assert [item["index"] for item in items] == [0, 2, 3]
    assert [item.get("cut_from") for item in items] == [None, 68, None]
    assert len(items[1]["input_ids"]) == model.max_tokens and texts(items[1], model)[1] == "ccc"
    notes = " ".join(fit(model, task, sl.full(epochs=1)).notes)
    assert "left out: index 1" in notes and "index 2, 68 tokens" in notes
    with pytest.raises(NoSupervision, match="64 tokens"):
        task.encode(rows[1:2], model)


def test_template_that_changes_earlier_turns_is_refused():
    """A template that drops reasoning from earlier turns gives no differences; index, message, both texts are said."""
    drops = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content if loop.last else m.content.split('|')[-1] }}{% endfor %}"
    )
    model = nets.causal_lm(template=drops + "{% if add_generation_prompt %}<assistant>{% endif %}")
    turns = [
        {"role": r, "content": c} for r, c in zip(("user", "assistant") * 2, ("a", "why|b", "c", "d"), strict=True)
    ]
    rows = [{"messages": turns[:2]}, {"messages": turns}]
    with pytest.raises(
        BadData, match=r"1 problem\n  \[1\]: message 1: .*not prefix-stable.*'why.b', with more messages 'b<user>c"
    ):
        encoded(rows, model)
    assert len(encoded(rows[:1], model)) == 1


def test_template_that_refuses_is_reported_with_the_index():
    """What the template itself raises is passed on with the index of the example."""
    model = nets.causal_lm(template="{{ raise_exception('roles must alternate') }}")
    with pytest.raises(BadData, match=r"\[0\]: the chat template refuses the messages: roles must alternate"):
        encoded([{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}], model)


MESSAGE = {"role": "assistant", "content": "b"}
BAD = [
    ({}, "needs exactly one of"),
    ({"prompt": "a"}, "needs exactly one of"),
    ({"text": "a", "messages": [MESSAGE]}, "needs exactly one of"),
    ({"text": 3}, "'text' must be text that is not empty, found 3"),
    ({"text": " "}, "'text' must be text that is not empty, found ' '"),
    ({"prompt": "a", "completion": ""}, "'completion' must be text that is not empty"),
    ({"messages": []}, "must be a list such as"),
    ({"messages": [{"role": "user", "content": "a"}]}, "no message of the assistant"),
    ({"messages": [MESSAGE, {"role": "user"}]}, r"'messages'\[1\] must be a dict with 'role' and 'content'"),
    ("text", "must be a dict"),
]


@pytest.mark.parametrize(("row", "said"), BAD)
def test_bad_examples_are_named(row, said):
    """Split, index and reason of each unusable example."""
    with pytest.raises(BadData, match=rf"val\[1\]: .*{said}"):
        sl.CausalLM({"train": [{"text": "a"}], "val": [{"text": "a"}, row]})


def test_tokenizer_faults_are_named():
    """No EOS, no template, no tokenizer: each error says what to set."""
    model = nets.causal_lm(template=None)
    with pytest.raises(SftlabError, match="tokenizer.chat_template"):
        encoded([{"messages": [MESSAGE]}], model)
    model.tokenizer.eos_token = None
    with pytest.raises(SftlabError, match="tokenizer.eos_token"):
        encoded([{"text": "a"}], model)
    del model.tokenizer
    with pytest.raises(SftlabError, match="has no tokenizer"):
        encoded([{"text": "a"}], model)


# Packing


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_p12_packed_rows_are_isolated(attention):
    """Logits of packed examples are those of each alone; packed without the mask they are others."""
    task, model = task_of("packed", train=12), nets.causal_lm(attention=attention)
    plain = sl.CausalLM(task.splits)
    alone = plain.encode(task.examples("train"), model)
    rows = task.encode(task.examples("train"), model)
    assert len(rows) < len(alone) and max(len(row["indices"]) for row in rows) > 1
    batch = task.collate(rows, model)
    naive = {"input_ids": batch["inputs"]["input_ids"], "attention_mask": torch.ones_like(batch["inputs"]["input_ids"])}
    worst = wrong = 0.0
    with torch.no_grad():
        packed, leaking = task.logits(model, batch), model(**naive).logits
        assert torch.isfinite(packed).all()
        for i, row in enumerate(rows):
            at = 0
            for index in row["indices"]:
                expected = plain.logits(model, plain.collate([alone[index]], model))[0]
                here = slice(at, at + len(expected))
                worst = max(worst, float((packed[i, here] - expected).abs().max()))
                wrong = max(wrong, float((leaking[i, here] - expected).abs().max()))
                at = here.stop
    assert worst < 1e-5 < 1e-2 < wrong


def test_p12_positions_start_again_in_each_example():
    """Also where positions are learnt vectors (rotary ones are relative and would hide running positions)."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = nets.causal_lm()
    net = GPT2LMHeadModel(
        GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=2, n_positions=64, initializer_range=0.2)
    ).eval()
    net.tokenizer, net.max_tokens = model.tokenizer, model.max_tokens
    task = task_of("packed")
    items = task.encode(task.examples("train"), net)
    alone = sl.CausalLM(task.splits)
    assert sums(task, items, net) == pytest.approx(
        sums(alone, alone.encode(task.examples("train"), net), net), rel=1e-6
    )
    batch = task.collate(items, net)["inputs"]
    mask = language.isolation_mask(batch["position_ids"], torch.float32)
    with torch.no_grad():  # the case can tell: with the mask, but with running positions, the logits are others
        running, right = net(batch["input_ids"], attention_mask=mask).logits, task.inputs.call(net, batch).logits
    assert (running - right).abs().max() > 0.1


@pytest.mark.parametrize("start", ["<s>", None])
def test_p12_packed_loss_is_the_same_sum(start):
    """Sums and counts of a packed set are those of the set; no target reaches from one example into the next."""
    template = nets.TEMPLATE.replace("{{ bos_token }}", "{{ bos_token }}" if start else "")
    task, model = task_of("packed", train=50), nets.causal_lm(start=start, template=template)
    alone = sl.CausalLM(task.splits)
    rows = alone.encode(task.examples("train"), model)
    packed = task.encode(task.examples("train"), model)
    total, count = sums(alone, rows, model)
    assert sums(task, packed, model) == pytest.approx((total, count), rel=1e-6)
    assert sums(task, packed, model)[1] == count == sum(label != IGNORE for row in rows for label in row["labels"])
    one, two = (sl.evaluate(model, t, "train", batch=5) for t in (task, alone))
    assert one == pytest.approx(two, rel=1e-6, abs=1e-6)
    assert all(row["index"] == row["indices"][0] and len(row["input_ids"]) <= model.max_tokens for row in packed)


def test_packing_under_autocast():
    """The mask goes with bf16 autocast: finite logits, near those of float32."""
    task, model = task_of("packed"), nets.causal_lm()
    batch = task.collate(task.encode(task.examples("train"), model), model)
    with torch.no_grad():
        exact = task.logits(model, batch)
        with torch.autocast("cpu", torch.bfloat16):
            rough = task.logits(model, batch).float()
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()


def test_packing_holds_every_sample_once():
    """Rows are within the limit, hold each sample once, are near the fewest possible and the same every time."""
    rng = random.Random(0)
    for count, limit in ((1, 10), (7, 10), (300, 64), (2000, 512)):
        lengths = [rng.randint(1, limit) for _ in range(count)]
        rows = chat.pack(lengths, limit)
        assert sorted(i for row in rows for i in row) == list(range(count))
        assert all(sum(lengths[i] for i in row) <= limit for row in rows)
        assert len(rows) <= 11 / 9 * math.ceil(sum(lengths) / limit) + count**0.5  # random lengths pack well
        assert rows == chat.pack(lengths, limit) == sorted(map(sorted, rows))
    assert chat.pack([], 10) == []


def test_packing_is_first_fit_decreasing():
    """The tree finds the rows that the plain double loop finds."""
    rng = random.Random(1)
    for _ in range(20):
        lengths = [rng.randint(1, 20) for _ in range(rng.randint(1, 60))]
        room, rows = [], []
        for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
            at = next((at for at, left in enumerate(room) if left >= lengths[i]), len(room))
            if at == len(room):
                room.append(20)
                rows.append([])
            room[at] -= lengths[i]
            rows[at].append(i)
        assert chat.pack(lengths, 20) == sorted(map(sorted, rows))


def test_models_that_would_leak_are_refused():
    """Flash attention takes no such mask, a sliding window would be lost: refused, with the remedy."""
    task, model = task_of("packed"), nets.causal_lm()
    model.config.sliding_window = 16
    with pytest.raises(SftlabError, match="max_tokens to at most 16"):
        task.encode(task.examples("train"), model)
    model.config.sliding_window = None
    model.config._attn_implementation_internal = "flash_attention_2"
    with pytest.raises(SftlabError, match="set 'sdpa' or 'eager'"):
        task.encode(task.examples("train"), model)


# Sequence to sequence

STARTS = {  # as in BART, T5 or Marian, Whisper
    "eos": {"start": "</s>"},
    "pad": {"start": "<pad>", "pad": "<pad>"},
    "own": {"start": "<s>", "adds": "both"},
}


@pytest.mark.parametrize("case", STARTS)
def test_p32_one_start_token(case):
    """The decoder reads its start token once and in front, also where the tokenizer writes it; labels end in EOS."""
    settings = dict(STARTS[case])
    start = settings.pop("start")
    model = nets.encoder_decoder(**settings)
    model.config.decoder_start_token_id = first = model.tokenizer.convert_tokens_to_ids(start)
    rows = [{"source": "ein Haus", "target": "a house"}, {"source": "ja", "target": "yes"}]
    task = sl.Seq2Seq({"train": rows})
    batch = task.collate(task.encode(rows, model), model)
    read = batch["inputs"]["decoder_input_ids"]
    for i, row in enumerate(rows):
        length = len(row["target"]) + 1
        labels = batch["labels"][i]
        assert model.tokenizer.decode(labels[:length]) == row["target"] + "</s>"
        assert (labels[length:] == IGNORE).all()
        assert read[i, 0] == first and first not in read[i, 1:length]
        assert read[i, 1:length].tolist() == labels[: length - 1].tolist()


def test_p32_real_decoder_agrees():
    """Loss and logits are those of transformers' own shift of the same labels."""
    task, model = task_of("seq2seq"), nets.encoder_decoder(pad="<pad>")
    batch = task.collate(task.encode(task.examples("train"), model), model)
    inputs = {k: v for k, v in batch["inputs"].items() if k != "decoder_input_ids"}
    with torch.no_grad():
        theirs, ours = model(**inputs, labels=batch["labels"]), task.loss(model, batch)
    assert float(ours.total / ours.count) == pytest.approx(float(theirs.loss), rel=1e-6, abs=1e-6)


def test_p08_seq2seq_eos_is_supervised_where_pad_is_eos():
    """Labels are padded by length: each row has one EOS among its targets."""
    task, model = task_of("seq2seq"), nets.encoder_decoder()
    batch = task.collate(task.encode(task.examples("train"), model), model)
    assert model.tokenizer.pad_token_id == model.tokenizer.eos_token_id
    assert ((batch["labels"] == model.tokenizer.eos_token_id).sum(dim=1) == 1).all()


def test_seq2seq_cuts_and_faults():
    """Long sources and targets are cut and say so; bad targets and a missing start token are named."""
    model = nets.encoder_decoder(limit=10)
    rows = [{"source": "s" * 20, "target": "t" * 30, "id": 7}, {"source": "s", "target": "t"}]
    task = sl.Seq2Seq({"train": rows})
    cut, whole = task.encode(rows, model)
    assert (cut["cut_from"], cut["target_cut_from"], cut["id"]) == (21, 31, 7)
    assert len(cut["input_ids"]) == len(cut["labels"]) == 10 and cut["input_ids"][-1] == model.tokenizer.eos_token_id
    assert "cut_from" not in whole and "target_cut_from" not in whole
    assert task.inputs.length(whole) == 4
    with pytest.raises(BadData, match=r"train\[1\]: 'target' must be text, found NoneType"):
        sl.Seq2Seq({"train": [rows[0], {"source": "s"}]})
    with pytest.raises(BadData, match=r"train\[0\]: 'en' is empty"):
        sl.Seq2Seq({"train": [{"de": "ja", "en": ""}]}, source="de", target="en")
    model.config.decoder_start_token_id = model.generation_config.decoder_start_token_id = None
    with pytest.raises(SftlabError, match="decoder_start_token_id"):
        task.encode(rows, model)


# Generation


def swaps() -> list[tuple[str, str]]:
    """Sources and targets to learn by heart; lengths differ, so that padding matters."""
    return [(f"{a * n}{b}=", f"{b}{a}") for n, a in ((9, "a"), (1, "b"), (20, "c"), (3, "d")) for b in "efg"]


@pytest.fixture(scope="module")
def trained() -> dict:
    """A causal model and an encoder-decoder that know :func:`swaps`."""
    torch.set_num_threads(1)
    sl.start(seed=0, device="cpu", precision="float32")
    found = {}
    for kind, cls, names in (("causal", sl.CausalLM, ("prompt", "completion")), ("seq2seq", sl.Seq2Seq, ())):
        model = model_of(kind)
        rows = [dict(zip(names or ("source", "target"), pair, strict=True)) for pair in swaps()]
        fit(model, cls({"train": rows}), sl.full(epochs=150, lr=4e-3), batch=12)
        found[kind] = model
    return found


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
def test_generate_gives_what_was_learnt_and_stops(trained, kind, beams):
    """Only the new text, ended by EOS, in the order of the prompts, for every batch size."""
    prompts = [prompt for prompt, _ in swaps()]
    for batch in (1, 5, 16):
        made = sl.generate(trained[kind], prompts, max_new_tokens=9, num_beams=beams, batch=batch)
        assert made == [answer for _, answer in swaps()]


@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
def test_p31_batched_equals_single(trained, kind, monkeypatch):
    """A model continues each prompt as it does alone; causal prompts padded on the right come out otherwise."""
    rng, model = random.Random(3), nets.causal_lm() if kind == "causal" else trained[kind]
    prompts = [words(rng, 6) for _ in range(12)]
    single = [sl.generate(model, [prompt], max_new_tokens=12)[0] for prompt in prompts]
    assert len(set(single)) > 4
    assert sl.generate(model, prompts, max_new_tokens=12) == single
    if kind == "causal":
        monkeypatch.setattr(generation, "_padded", lambda rows, padding, causal: right(rows, padding, False))
        assert sl.generate(model, prompts, max_new_tokens=12) != single


def right(rows, padding, causal, padded=generation._padded):
    return padded(rows, padding, causal)


def test_p31_learnt_positions_count_from_the_first_token():
    """GPT-2 has a vector per position: left padding without position ids would move every prompt."""
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=2, n_positions=64, initializer_range=0.3)
        model = GPT2LMHeadModel(config).eval()
    model.tokenizer, model.max_tokens = nets.byte_tokenizer(), 64
    rng = random.Random(4)
    prompts = [words(rng, 6) for _ in range(9)]
    single = [sl.generate(model, [prompt], max_new_tokens=12)[0] for prompt in prompts]
    assert sl.generate(model, prompts, max_new_tokens=12) == single


def test_generate_continues_conversations():
    """A conversation is rendered up to the assistant's turn, as in training; texts and conversations may be mixed."""
    model = nets.causal_lm()
    turns = [{"role": "user", "content": "Hi"}]
    made = sl.generate(model, ["<user>Hi<assistant>", turns, "other"], max_new_tokens=6)
    assert made[0] == made[1]
    (item,) = encoded([{"messages": [*turns, {"role": "assistant", "content": "Yo"}]}], model)
    prompt = chat.prompt_ids([turns], model.tokenizer)[0]
    assert item["input_ids"][: len(prompt)] == prompt and item["labels"][len(prompt) - 1] == IGNORE
    assert item["labels"][len(prompt)] == item["input_ids"][len(prompt)]


def test_generate_ends_at_every_end_token(trained, monkeypatch):
    """The end tokens of the checkpoint's generation settings count as well as EOS, and are not part of the text."""
    model = trained["causal"]
    (letter,) = model.tokenizer("a", add_special_tokens=False)["input_ids"]
    monkeypatch.setattr(model.generation_config, "eos_token_id", [letter])
    made = sl.generate(model, [prompt for prompt, _ in swaps()], max_new_tokens=9)
    assert made == [answer.split("a")[0] for _, answer in swaps()]


def test_generate_leaves_no_trace(trained):
    """Modes, padding side, generation settings, weights and the caller's random state are as before."""
    model = trained["causal"]
    model.train()
    model.model.layers[0].eval()
    modes, weights, state = [m.training for m in model.modules()], copies(model), torch.get_rng_state()
    side, settings = model.tokenizer.padding_side, model.generation_config.to_dict()
    sl.generate(model, ["ae=", "ccf="], max_new_tokens=3, do_sample=True, seed=1)
    assert [m.training for m in model.modules()] == modes and nets.same(copies(model), weights)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.tokenizer.padding_side == side and model.generation_config.to_dict() == settings
    model.eval()


def test_sampling_follows_the_seed():
    """The same seed gives the same samples, another one others; greedy decoding ignores the checkpoint's sampling."""
    model = nets.causal_lm()
    draw = [sl.generate(model, ["ab"] * 3, max_new_tokens=12, do_sample=True, seed=seed) for seed in (1, 1, 2)]
    assert draw[0] == draw[1] != draw[2] and len(set(draw[0])) == 3
    greedy = sl.generate(model, ["ab"], max_new_tokens=12)
    model.generation_config.do_sample, model.generation_config.temperature = True, 2.0
    assert sl.generate(model, ["ab"], max_new_tokens=12) == greedy


def test_generate_says_what_is_wrong():
    """Sizes below 1, no prompts, one of another kind, one that is too long: with its index."""
    model, both = nets.causal_lm(limit=20), nets.encoder_decoder(limit=20)
    for name in ("batch", "max_new_tokens", "num_beams"):
        with pytest.raises(ValueError, match=f"{name} must be a whole number, at least 1, not 0"):
            sl.generate(model, ["a"], **{"max_new_tokens": 3, name: 0})
    with pytest.raises(ValueError, match="num_return_sequences"):
        sl.generate(model, ["a"], max_new_tokens=3, num_return_sequences=2, do_sample=True)
    cases = [
        (model, [], 3, "at least one"),
        (model, "text", 3, "must be a list"),
        (model, [{"role": "user", "content": "a"}], 3, "must be a list"),
        (model, ["a", ""], 3, "[1]: is empty"),
        (model, ["a", 3], 3, "[1]: 'messages' must be a list"),
        (model, ["a", "b" * 17], 3, "[1]: 18 tokens and 3 new ones; the model has room for 20"),
        (both, ["a", "b" * 20], 3, "[1]: 21 tokens and 3 new ones; the model has room for 20"),
        (both, ["a", [{"role": "user", "content": "a"}]], 3, "[1]: must be text"),
        (both, ["a"], 21, "[0]: 2 tokens and 21 new ones"),
    ]
    for net, prompts, new, said in cases:
        with pytest.raises(BadData, match=re.escape(said)):
            sl.generate(net, prompts, max_new_tokens=new)
    assert len(sl.generate(model, ["b" * 16], max_new_tokens=3)) == 1
