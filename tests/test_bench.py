"""The bench: what is compared is equal, what is not equal is void, lines are counted, pages are written by it."""

import copy
import dataclasses
import json
import math
import subprocess
import time
from importlib.util import find_spec

import pytest
import torch

import sftlab as sl
import sftlab.bench
from sftlab import cli
from sftlab.bench import contest, contestants, exactness, probes, report, roster, whole
from sftlab.bench.feed import Clock, Feed
from sftlab.bench.turns import together
from sftlab.bench.workloads import whole_runs, workloads
from sftlab.errors import SftlabError
from sftlab.table import Table
from sftlab.train import features

QUICK = {work.name: work for work in workloads(quick=True)}
MLP = QUICK["MLP on cached features"]
HAND, OURS = roster.CONTESTANTS[:2]
PEERS = [one for one in roster.CONTESTANTS if one.needs]


def wrong(change):
    """A contestant that trains as sftlab does and then does something else."""

    def train(model, task, feed, work, careful):
        contestants.with_sftlab(model, task, feed, work, careful)
        change(model)

    return dataclasses.replace(OURS, name="wrong", train=train)


@torch.no_grad()
def nudge(model, by=1e-4):
    next(model.parameters()).view(-1)[0] += by


# What is compared is equal


@pytest.mark.parametrize("name", QUICK)
def test_sftlab_and_the_loop_by_hand_end_in_equal_weights(name):
    """Every workload: same weights within the limit, the same number of steps, a time for each step."""
    results = contest.race(QUICK[name], 1, [HAND, OURS])
    assert results.keys() == {"by hand", "sftlab"}
    for result in results.values():
        assert result.void == "" and result.gap <= 1e-5
        assert len(result.milliseconds) == len(result.ratios) == len(result.rates) == 1
    steps = len(results["sftlab"].ratios[0])
    assert results["by hand"].ratios == [[1.0] * steps] and results["by hand"].gap == 0.0
    assert contest.over_sftlab(results, "sftlab") == [1.0] * steps
    assert all(r > 0 for r in contest.over_sftlab(results, "by hand"))


def test_in_float64_the_two_loops_are_the_same_mathematics():
    """Where rounding is out of the way, the weights agree to the last digits: no setting differs."""
    model, task = MLP.make()
    for example in task.splits["train"]:
        example["input"] = example["input"].double()
    states = []
    for one in (HAND, OURS):
        own = copy.deepcopy(model).double()
        contest.timed(one, dataclasses.replace(MLP, plan=sl.full(epochs=4, lr=1e-2)), own, task)
        states.append(own.state_dict())
    assert contest.difference(*states) < 1e-7  # the loss itself is taken in float32
    assert contest.difference(model.double().state_dict(), states[0]) > 1e-3


@pytest.mark.parametrize("name", ["MLP on cached features", "causal LM, completion only"])
def test_feed_gives_the_batches_of_fit(name):
    """The peers' loader has sftlab's own batches in sftlab's order, in every epoch."""
    model, task = QUICK[name].make()
    epochs = 2
    plan = QUICK[name].plan
    stage = dataclasses.replace(plan.stages[0], epochs=epochs)
    work = dataclasses.replace(QUICK[name], plan=dataclasses.replace(plan, stages=(stage,)))
    feed, seen, collate = Feed(work, model, task), [], task.collate
    expected = [{k: v.clone() for k, v in batch.items()} for _ in range(epochs) for batch in feed]
    task.collate = lambda items, model: seen.append(collate(items, model)) or seen[-1]
    contestants.with_sftlab(model, task, feed, work, False)
    assert len(seen) == len(expected) == feed.steps == len(feed.samples()) > epochs
    for ours, theirs in zip(seen, expected, strict=True):
        flat = {**ours["inputs"], "labels": ours["labels"]}
        assert flat.keys() == theirs.keys() and all(torch.equal(flat[key], theirs[key]) for key in flat)


def test_workloads_are_the_same_each_time():
    """Equal weights and data from each call: a fresh process trains what the race trains."""
    for work in [*QUICK.values(), *whole_runs(quick=True)[:1]]:
        (a, task), (b, again) = work.make(), work.make()
        assert contest.difference(a.state_dict(), b.state_dict()) == 0.0
        one, two = Feed(work, a, task), Feed(work, b, again)
        assert all(torch.equal(x[k], y[k]) for x, y in zip(one, two, strict=True) for k in x)
        named = [name for name, _ in a.named_parameters()]
        assert any(name.startswith(work.head) for name in named)
        assert all(any(name.startswith(part) for name in named) for part in work.trained)


# Turns


def test_turns_are_steps_and_a_run_that_ends_or_fails_is_passed_over():
    """One moves at a time, each a step, in order; a shorter run and one that raises leave, the rest go on."""
    seen, inside = [], []

    def job(name, steps, fails=False):
        def run(hand_over):
            for step in range(steps):
                inside.append(name)
                assert len(inside) == 1, f"{inside} at the same time"
                seen.append(f"{name}{step}")
                if fails and step == 1:
                    inside.clear()
                    raise ZeroDivisionError(name)
                inside.clear()
                hand_over()

        return run

    together([job("a", 3), job("b", 1), job("c", 4)])
    assert seen == ["a0", "b0", "c0", "a1", "c1", "a2", "c2", "c3"]
    seen.clear()
    with pytest.raises(ZeroDivisionError, match="b"):
        together([job("a", 3), job("b", 3, fails=True)])
    assert seen == ["a0", "b0", "a1", "b1", "a2"]
    together([])


def test_the_time_of_others_is_not_counted():
    """A clock that hands over for 50 ms counts its own steps only."""
    model = torch.nn.Linear(2, 2)
    clock = Clock(model, hand_over=lambda: time.sleep(0.05))
    for _ in range(4):
        model(torch.zeros(1, 2))
    clock.stop()
    assert len(clock.steps) == 3 and sum(clock.steps) < 0.04 and clock.total < 0.05


def test_the_interval_holds_the_median_in_19_of_20_cases():
    """Of 400 draws of 75 steps each, between 92 and 99.5 % of the intervals contain the true median."""
    draws = torch.randn(400, 75, generator=torch.Generator().manual_seed(0)).exp().tolist()
    found = [contest.interval(draw) for draw in draws]
    assert 0.92 <= sum(low <= 1.0 <= high for low, high in found) / 400 <= 0.995
    assert contest.interval([1.0]) == (1.0, 1.0)


@pytest.mark.parametrize(("ratio", "says"), [(1.2, "slower than sftlab: peer."), (0.9, "faster: peer."), (None, "not")])
def test_who_is_faster_is_said_only_if_the_interval_says_it(ratio, says):
    steps = [ratio] * 20 if ratio else [0.9, 1.1] * 10
    ours, peer = contest.Result(2, ratios=[[1.0] * 20]), contest.Result(9, ratios=[steps])
    assert contest.verdict({"by hand": peer, "sftlab": ours, "peer": peer}).startswith(says)
    peer.error = "boom"
    assert contest.verdict({"sftlab": ours, "peer": peer}) == ""


# What is not equal is void


@pytest.mark.parametrize("change", [nudge, lambda model: nudge(model, math.nan)], ids=["moved", "NaN"])
def test_other_weights_are_void(change):
    """Weights that differ by more than 1e-5, or are NaN: no times in the row, and the difference is said."""
    results = contest.race(MLP, 1, [HAND, OURS, wrong(change)])
    assert results["wrong"].void.startswith("void: weights differ by") and not results["sftlab"].void
    table = contest.table(MLP, {"by hand": results["by hand"], "sftlab": results["wrong"]})
    (row,) = [row for row in table.rows if row[0] == "sftlab"]
    assert row[1].startswith("void: weights differ by") and row[2:7] == ["-"] * 5
    assert row == [row for row in table.rows if row[0] in ("by hand", "sftlab")][-1], "void rows come last"


def test_moved_buffers_are_void():
    """A frozen BatchNorm whose statistics move is another training, even if all parameters agree."""
    work = QUICK["ResNet-18, head only"]
    results = contest.race(work, 0, [HAND, OURS, wrong(lambda model: model.bn1.running_mean.add_(1e-3))])
    assert results["wrong"].void and not results["sftlab"].void


def test_another_number_of_steps_is_void():
    """Who calls the model more often or less often did not do the same work."""
    results = contest.race(MLP, 1, [HAND, OURS, wrong(lambda model: model(torch.zeros(1, 384)))])
    assert "steps instead of" in results["wrong"].void


def test_a_peer_that_raises_is_a_row_and_sftlab_is_an_error():
    """A peer's exception stands in its row; by hand and sftlab must not fail in silence."""

    def fails(*arguments):
        raise ZeroDivisionError("boom")

    peer = dataclasses.replace(OURS, name="peer", train=fails, needs=("torch",))
    results = contest.race(MLP, 1, [HAND, peer])
    assert results["peer"].void == "ZeroDivisionError: boom"
    with pytest.raises(ZeroDivisionError):
        contest.race(MLP, 1, [HAND, dataclasses.replace(peer, needs=())])


def test_absent_peers_are_rows(monkeypatch):
    """Without the extra: a row that names it, nothing is run."""
    monkeypatch.setattr(roster, "find_spec", lambda name: None)
    table = contest.table(MLP, contest.race(MLP, 1))
    rows = {row[0]: row[1] for row in table.rows}
    assert rows["Lightning"] == "not installed (extra bench): lightning"
    assert rows["HF Trainer"] == "not installed (extra bench): transformers, accelerate"
    assert rows["by hand"][0].isdigit() and rows["sftlab"][0].isdigit()
    assert exactness.cell(None, ("no such package",), "p01") == "not installed (extra bench)"


def test_a_fresh_process_measures_memory_and_start(monkeypatch):
    """One training in a process of its own: seconds to the first step, seconds in all, memory grown."""
    found = contest.fresh(OURS, MLP, quick=True)
    assert 0 < found["first"] <= found["total"] and found["memory"] > 0
    failed = subprocess.CompletedProcess([], 1, "", "Traceback: why")
    monkeypatch.setattr(contest.subprocess, "run", lambda *args, **settings: failed)
    with pytest.raises(SftlabError, match=r"(?s)sftlab\.bench\.fresh .* failed:.*why"):
        contest.fresh(OURS, MLP, quick=True)


def test_no_whole_run_is_served_from_an_earlier_one(monkeypatch):
    """A round begins without the frozen outputs that an earlier one has stored, as a user's first run does."""
    monkeypatch.setattr(features, "kept", {"of an earlier round": {}})
    monkeypatch.setattr(whole, "fresh", lambda one, work, quick: {"total": 2.0, "memory": 2**20})
    whole.race(whole_runs(quick=True)[0], 1, quick=True, contestants=[OURS])
    assert "of an earlier round" not in features.kept


def test_whole_runs(monkeypatch):
    """Seconds with and without start-up, memory, and the metric of the validation split."""
    monkeypatch.setattr(whole, "fresh", lambda one, work, quick: {"total": 2.0, "memory": 2**20})
    work = whole_runs(quick=True)[0]
    found = whole.race(work, 1, quick=True, contestants=roster.at_their_best(work)[:2])
    rows = {row[0]: row for row in whole.table(work, found).rows}
    assert rows["sftlab"][2] == "1.00" and rows["sftlab"][3:6] == ["2.00", "1.00", "1"]
    assert 0 <= float(rows["by hand"][-1]) <= 1
    found["by hand"].metric, found["sftlab"].metric, found["sftlab"].count = [0.8], [0.9], 256
    found["by hand"].count = 256
    assert [row[-1] for row in whole.table(work, found).rows][:2] == ["0.800: not equal", "0.900"]
    found["by hand"].metric = [0.86]
    assert [row[-1] for row in whole.table(work, found).rows][:2] == ["0.860", "0.900"]


# Lines


def test_lines_of_user_code():
    """Tags choose the lines, helpers count once where they are called, sftlab's user writes two."""
    source = "before\n# user code\na\n\n# why\nb  # frozen\nc  # careful\nd  # bench\n# end\nafter"
    assert roster.marked(source, {}) == ["a"]
    assert roster.marked(source, {"frozen": True, "careful": True}) == ["a", "b  # frozen", "c  # careful"]
    assert OURS.lines(MLP) == 2
    frozen = QUICK["ResNet-18, head only"]
    assert HAND.lines(MLP) < HAND.lines(frozen)
    for one in roster.CONTESTANTS[2:]:
        own = roster.marked(roster.inspect.getsource(one.train), {})
        assert len(own) > 5 and one.lines(MLP) > len(own), one.name  # with the groups and the schedule
    by_name = {one.name: one for one in roster.CONTESTANTS}
    assert by_name["HF Trainer, trunk in eval by hand"].lines(frozen) > by_name["HF Trainer"].lines(frozen)


# Who is exact


@pytest.mark.parametrize("name", exactness.PITFALLS)
def test_sftlab_is_exact(name):
    """sftlab's column: exact everywhere, or an error that leaves the weights whole."""
    found = exactness.cell(*exactness.LIBRARIES["sftlab"], name)
    allowed = {
        "p04": "raises NonFiniteLoss, the sample named; 0 of 4 tensors NaN",
        "p28": "raises NonFiniteLoss; 0 of 5 tensors NaN",
    }
    assert found == allowed.get(name, "exact")


def test_a_cell_says_a_deviation():
    """The judges of the table see what they are there for."""
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([4.0, 0.0])
    assert probes.accumulation((a, 1.0), (b, 4.0)) == "gradient x4.00, cosine 1.000; logged loss x4.00"
    assert probes.accumulation((a, None), (a, None)) == "exact"
    assert probes.evaluation({1: 1.0, 2: 1.1}, 1.0) == "1.000 / 1.100, true 1.000"
    assert probes.kept_both(0.9, 0.9) == "wer: the worst, accuracy: right" and probes.kept_both(0.5, 0.9) == "exact"
    assert probes.stopping(4, 6) == "stops after 6 evaluations, not 4"
    assert probes.remainder(0.1, 3, 2) == "2 steps, not 3; weights off by 1.0e-01"
    assert probes.decayed_norms(["gn1"]) == "decays gn1" and probes.frozen_norms(0, 0.0) == "exact"
    assert probes.said(1e-3) == "off by 1.0e-03"


def test_the_probes_can_fail(monkeypatch):
    """With its immunity taken out, sftlab's own cells show the fault."""
    from sftlab.train import applied, plan

    monkeypatch.setattr(applied.Applied, "enforce", lambda self: self.model.train())
    assert exactness.cell(*exactness.LIBRARIES["sftlab"], "p05").startswith("off by")
    assert "outputs in training differ" in exactness.cell(*exactness.LIBRARIES["sftlab"], "p06")
    monkeypatch.undo()
    monkeypatch.setattr(plan, "make_groups", everything_decays)
    assert exactness.cell(*exactness.LIBRARIES["sftlab"], "p37").startswith("decays")


def everything_decays(parts, stage, decay):
    """Groups in which weight decay reaches the norms."""
    from sftlab.train.groups import Group

    parameters = [p for _, owned in parts for p in owned]
    return [Group([layer.name for layer, _ in parts], stage.lr, decay, parameters)]


@pytest.mark.parametrize("library", [name for name in exactness.LIBRARIES if name != "sftlab"])
def test_probes_of_the_peers_run(library):
    """No probe fails by a mistake of its own: a cell that raises is one that is known to raise."""
    module, needs = exactness.LIBRARIES[library]
    missing = [package for package in needs if find_spec(package) is None]
    if missing:
        pytest.skip(f"not installed (extra bench): {', '.join(missing)}")
    known = {("fastai", "p19")}  # its early stopping does not know start_epoch
    for name in exactness.PITFALLS:
        found = exactness.cell(module, needs, name)
        assert not found.startswith("raises") or (library, name) in known, f"{name}: {found}"


@pytest.mark.parametrize("one", PEERS, ids=lambda one: one.name)
def test_peers_train_the_same(one):
    """Each installed peer, on the smallest workload and on a frozen trunk in eval mode: equal weights."""
    if one.missing:
        pytest.skip(f"not installed (extra bench): {', '.join(one.missing)}")
    results = contest.race(MLP, 1, [HAND, one])
    assert results[one.name].void == ""
    frozen = contest.race(QUICK["ResNet-18, last block"], 0, [HAND, one])[one.name]
    assert bool(frozen.void) != (one.careful or one.name == "Lightning")


# The command


def test_command(monkeypatch, tmp_path, capsys):
    """``--quick``, ``--rounds`` and ``--write`` reach the measurement; loop and headlines have no quick form."""
    seen = []

    def measured(rounds, quick=False):
        seen.append((rounds, quick))
        return report.Part("exact", [Table(["failure"], [["P1"]])], {})

    monkeypatch.setattr(sftlab.bench, "exact", measured)
    assert cli.main(["bench", "exact", "--quick", "--rounds", "2", "--write", str(tmp_path)]) == 0
    assert cli.main(["bench", "exact"]) == 0
    assert seen == [(2, True), (5, False)] and "P1" in capsys.readouterr().out
    assert "P1" in (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    with pytest.raises(SystemExit):
        cli.main(["bench", "loop", "--quick"])
    assert "--quick is for peers, best and exact" in capsys.readouterr().err


def test_quick_peers_from_end_to_end(monkeypatch, capsys):
    """The whole of ``sftlab bench peers --quick`` on the smallest workload, without the peers."""
    monkeypatch.setattr(roster, "find_spec", lambda name: None)
    monkeypatch.setattr(contest, "fresh", lambda one, work, quick: {"first": 0.5, "memory": 3 * 2**20})
    monkeypatch.setattr("sftlab.bench.workloads.workloads", lambda quick: [MLP])
    part = sftlab.bench.peers(rounds=1, quick=True)
    (table,) = part.tables
    rows = {row[0]: row for row in table.rows}
    assert rows["sftlab"][5:8] == ["3", "0.50", "2"] and float(rows["sftlab"][3].split()[0]) > 0
    assert json.loads(json.dumps(part.figures))[MLP.name]["sftlab"]["ratios"]
    assert "Medians of 1 interleaved rounds" in str(part) and "sftlab" in capsys.readouterr().out


# The page


def test_the_page_is_written_from_what_was_measured(tmp_path):
    """Parts are kept side by side; a part that was not measured says so; the figures lie beside the page."""
    empty = report.page({})
    assert empty.count(report.PENDING) == 3 and "| --- |" not in empty
    table = Table(["library", "ms/step"], [["sftlab", "1.00"], ["a | b", "2.00"]], caption="Work", note="Note.")
    report.publish(str(tmp_path), "peers", [table], {"Work": {"sftlab": 1.0}})
    report.publish(str(tmp_path), "exact", [Table(["failure"], [["P1"]])], {})
    text = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert "### Work" in text and "| a \\| b | 2.00 |" in text and "Note." in text and text.count(report.PENDING) == 1
    assert text.count("Measured on") == 2 and f"torch {torch.__version__.split('+')[0]}" in text
    stored = json.loads((tmp_path / "benchmarks.json").read_text(encoding="utf-8"))
    assert stored["peers"]["figures"] == {"Work": {"sftlab": 1.0}}
    assert report.page(stored) == text


def test_the_page_in_the_book_was_not_typed():
    """book/benchmarks.md is what the stored figures give."""
    book = report.Path(__file__).parents[1] / "book"
    stored = json.loads((book / "benchmarks.json").read_text(encoding="utf-8"))
    assert (book / "benchmarks.md").read_text(encoding="utf-8") == report.page(stored)
