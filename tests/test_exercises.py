"""Every exercise of every chapter proves itself; the check survives whatever a learner writes."""

import random
import re
import signal
import sys
import threading
import time

import nbformat
import numpy as np
import pytest
import torch

from sftlab.errors import SftlabError, UnknownName
from sftlab.teach import exercises, layout
from sftlab.teach.chapters import chapters, forms, read
from sftlab.teach.checks import CHECKS, INSIDE
from sftlab.teach.compare import NotWritten, Wrong, call, draw, expect_attached, expect_close, expect_repeatable
from sftlab.teach.exercises import check, judge
from sftlab.teach.limits import TimeUp, limited
from sftlab.teach.mistakes import mistakes

SOURCES = {name: read(name) for name in chapters()}
EXERCISES = [(chapter, e) for chapter, source in SOURCES.items() for e in layout.exercises(source, chapter)]
MISTAKES = [(chapter, m) for chapter in SOURCES for m in mistakes(chapter)]
each = pytest.mark.parametrize(("chapter", "exercise"), EXERCISES, ids=[e.name for _, e in EXERCISES])


def answer(chapter, exercise, source):
    """What a source defines, run after the imports of the chapter, as a learner's kernel would have it."""
    names = {"__name__": "__main__"}
    exec(layout.set_up_imports(SOURCES[chapter]), names)
    exec(source, names)
    return names[exercise.answer]


# Every exercise


def test_there_are_exercises():
    """An empty list would let every test below pass."""
    assert len(EXERCISES) >= 3 and len(MISTAKES) >= 2 * len(EXERCISES)


def test_checks_and_chapters_name_the_same_exercises():
    """Every check belongs to one exercise of one chapter, and the other way round; names carry the chapter's number."""
    names = [e.name for _, e in EXERCISES]
    assert sorted(names) == sorted(CHECKS)
    assert INSIDE <= CHECKS.keys()
    for chapter, e in EXERCISES:
        assert e.name.split("-")[0] == chapter.split("_")[0]


@pytest.mark.parametrize("chapter", sorted({chapter for chapter, _ in EXERCISES}))
def test_ladder_of_exercises(chapter):
    """3 to 6 exercises, at least one easy, each with two or more hints and a solution that says why."""
    own = [e for c, e in EXERCISES if c == chapter]
    assert 3 <= len(own) <= 6
    assert any(e.level == "easy" for e in own)
    for e in own:
        assert len(e.hints) >= 2 and all(len(hint.split()) >= 8 for hint in e.hints), e.name
        assert len(e.task.split()) >= 15, e.name
        assert len(layout.PYTHON.sub("", e.why).split()) >= 30, f"{e.name}: the solution says how, not why"


@each
def test_stub_fails(chapter, exercise):
    """The stub runs, and its check says that nothing is written yet."""
    found = judge(exercise.name, answer(chapter, exercise, exercise.stub))
    assert found.status == "not written" and found.message


@each
def test_solution_passes(chapter, exercise):
    found = judge(exercise.name, answer(chapter, exercise, exercise.solution))
    assert found, found


@each
def test_solution_keeps_the_head_of_the_stub(chapter, exercise):
    """The solution has the name and the arguments that the stub gives the learner."""
    heads = [re.search(r"^(def|class) .*$", text, re.MULTILINE) for text in (exercise.stub, exercise.solution)]
    assert heads[0] is None or heads[0][0] == heads[1][0]


@each
def test_two_wrong_answers_are_listed(chapter, exercise):
    assert sum(m.exercise == exercise.name for _, m in MISTAKES) >= 2


@pytest.mark.parametrize("mistake", [m for _, m in MISTAKES], ids=[f"{m.exercise}: {m.title}" for _, m in MISTAKES])
def test_wrong_answer_is_refused_with_its_message(mistake):
    """The message names this mistake; a check that says something else has diagnosed another."""
    found = judge(mistake.exercise, mistake.answer)
    assert not found
    assert mistake.says in found.message, found.message
    assert mistake.title.endswith(".") and mistake.source.startswith(("def ", "class "))


@each
def test_stored_output_of_the_check_is_that_of_the_stub(chapter, exercise):
    """A reader of the book sees the friendly message, not an error."""
    notebook = nbformat.read(forms(chapter)[0], as_version=4)
    cells = [c for c in notebook.cells if c.cell_type == "code" and f'"{exercise.name}"' in c.source]
    if not cells:
        pytest.fail(f"{exercise.name} is not in the notebook: run `sftlab notebooks {chapter}`")
    (cell,) = cells
    assert "not yet" in str(cell.outputs) and cell.outputs[0].output_type == "execute_result"


# What stands wrong in a chapter is named


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda cells: cells.__delitem__(1), "code cell tagged `exercise`, found 0"),
        (lambda cells: cells.__delitem__(2), "sl.check"),
        (lambda cells: cells.__delitem__(4), "tagged `solution`, found 0"),
        (lambda cells: cells[2].update(source='sl.check("x-2", f)'), "the stub is 'x-1', the check 'x-2'"),
        (lambda cells: cells[0].update(source="### Exercise 2: T (easy, 5 minutes)\n\nDo."), r"numbered \[2\]"),
        (lambda cells: cells[0].update(source="### Exercise 1: T\n\nDo."), "write `### Exercise 1"),
        (lambda cells: cells[1].update(source="def f(): ..."), "first line of its stub"),
        (
            lambda cells: cells[4].update(source="<details><summary>Solution</summary>\n\nno\n\n</details>"),
            "no ```python",
        ),
        (lambda cells: cells[3].update(source="<details><summary>Hint 2</summary>\n\nx\n\n</details>"), "hints are"),
    ],
)
def test_layout_mistakes_are_named(spoil, says):
    v4 = nbformat.v4
    cells = [
        v4.new_markdown_cell("### Exercise 1: T (easy, 5 minutes)\n\nDo."),
        v4.new_code_cell("# exercise x-1\ndef f():\n    ...", metadata={"tags": ["exercise"]}),
        v4.new_code_cell('sl.check("x-1", f)'),
        v4.new_markdown_cell("<details><summary>Hint 1</summary>\n\nx\n\n</details>"),
        v4.new_markdown_cell(
            "<details><summary>Solution</summary>\n\n```python\ndef f():\n    return 1\n```\n\n</details>",
            metadata={"tags": ["solution"]},
        ),
    ]
    (found,) = layout.exercises(v4.new_notebook(cells=cells), "X")
    assert (found.name, found.answer, found.hints, found.solution) == ("x-1", "f", ("x",), "def f():\n    return 1\n")
    spoil(cells)
    with pytest.raises(SftlabError, match=rf"X.*{says}"):
        layout.exercises(v4.new_notebook(cells=cells), "X")


# A check survives what a learner writes


def leave():
    raise SystemExit(3)


def interrupt():
    raise KeyboardInterrupt


class Unprintable(Exception):
    def __str__(self):
        raise ValueError


def unprintable():
    raise Unprintable


def deep():
    return deep()


def swallow():
    while True:
        try:
            time.sleep(0.2)
        except:  # noqa: E722
            pass


def endless():
    while True:
        pass


def flood():
    while True:
        print("x" * 100)


SAYS = {
    leave: "called exit()",
    interrupt: "raised KeyboardInterrupt",
    unprintable: "raised Unprintable",
    deep: "calls itself without end",
    swallow: "took longer than",
    endless: "took longer than",
    flood: "printed more than 1,000,000",
}


def on_main(function):
    return function()


def on_a_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize("run", [on_main, on_a_thread])
@pytest.mark.parametrize("body", SAYS, ids=lambda body: body.__name__)
def test_check_survives(monkeypatch, body, run):
    """A sentence with the learner's line, and everything in the process is what it was before."""
    monkeypatch.setitem(CHECKS, "x-hostile", lambda answer: answer())
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGALRM)], signal.getitimer(signal.ITIMER_REAL)
    state = random.getstate(), np.random.get_state()[1].sum(), torch.get_rng_state().sum(), sys.stdout, sys.gettrace()
    found = run(lambda: check("x-hostile", body, seconds=30 if body is flood else 0.3))
    assert not found and SAYS[body] in found.message, found
    if not (run is on_a_thread and body is swallow):  # left behind there: it has no last line
        assert re.search(r"in line \d+, `.+`", found.message), found.message
    assert "Traceback" not in str(found) and len(str(found)) < 2500
    after = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGALRM)], signal.getitimer(signal.ITIMER_REAL)
    assert after == before
    assert state == (
        random.getstate(),
        np.random.get_state()[1].sum(),
        torch.get_rng_state().sum(),
        sys.stdout,
        sys.gettrace(),
    )


def test_stop_pressed_by_the_person_is_no_answer(monkeypatch):
    """Ctrl-C ends the cell, even if the learner's code swallows it; the cells after it do not run."""

    def presses():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            pass

    monkeypatch.setitem(CHECKS, "x-hostile", lambda answer: answer())
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        check("x-hostile", presses)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_outer_alarm_goes_on(monkeypatch):
    """A timer that was set before is set again afterwards."""
    rang = []
    handler = signal.signal(signal.SIGALRM, lambda *_: rang.append(True))
    try:
        signal.setitimer(signal.ITIMER_REAL, 600)
        assert limited(lambda: 1, 5) == 1
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 500
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)


def test_random_state_is_left_alone(monkeypatch):
    """Numbers drawn after a check are those that would have been drawn without it."""
    monkeypatch.setitem(CHECKS, "x-random", lambda answer: answer())

    def draws():
        random.seed(1), np.random.seed(1), torch.manual_seed(1)

    state = random.getstate(), torch.get_rng_state()
    assert check("x-random", draws)
    assert random.getstate() == state[0] and bool((torch.get_rng_state() == state[1]).all())


def test_unknown_exercise_lists_the_known():
    with pytest.raises(UnknownName, match="unknown exercise '00-majorty'. Did you mean '00-majority'"):
        check("00-majorty", None)


def test_hints_are_a_ladder(monkeypatch):
    """Each miss points to the next hint, the third to the solution; an unwritten stub counts as no miss."""
    monkeypatch.setattr(exercises, "_misses", {})
    assert "Write your code" in check("00-majority", None).hint
    said = [check("00-majority", lambda a, b: 7).hint for _ in range(4)]
    assert "Hint 1" in said[0] and "Hint 2" in said[1] and "solution" in said[2] == said[3] or "solution" in said[3]


def test_result_reads_well_as_html():
    """Escaped, marked by a word and a sign and not by colour alone, code as code."""
    found = exercises.Result("00-x", "wrong", "It is <b> `a < b`.", "Look & see", "Hint 1", "<script>")
    html = found._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;" in html and "<code>a &lt; b</code>" in html
    assert "not yet" in html and "✗" in html and not found
    assert exercises.Result("00-x", "passed") and "✓" in exercises.Result("00-x", "passed")._repr_html_()


def test_what_the_code_prints_is_shown(monkeypatch):
    monkeypatch.setitem(CHECKS, "x-print", lambda answer: answer())
    assert check("x-print", lambda: print("seen")).printed == "seen"


# Each usual mistake has its message


Z, N = draw(4, 3), 4


@pytest.mark.parametrize(
    ("found", "right", "says"),
    [
        (-Z, Z, "wrong sign"),
        (Z * 4, Z, "sum instead of a mean"),
        (Z / 4, Z, "divided by the number of samples twice"),
        (-Z * 4, Z, "wrong sign, and a sum"),
        (Z.T, Z, "rows and columns are exchanged"),
        (Z[:3].T, Z[:3], "rows and columns are exchanged"),
        (Z.flip(1), Z, "order along dim 1 is reversed"),
        (Z.softmax(0), Z.softmax(1), "over dim 0"),
        (Z.mean(1), Z, "shape [4], expected [4, 3]"),
        (Z.mean(), Z, "one number"),
        (Z, Z.mean(), "its mean is the expected number"),
        (Z, Z.sum(), "its sum is the expected number"),
        (Z[:, :1], Z[:, 0], "an axis of length 1 too many"),
        (Z.flatten(), Z, "laid out otherwise"),
        (Z.exp(), Z.exp().log(), "exp of the expected"),
        (Z.abs().log(), Z.abs(), "the logarithm of the expected"),
        (torch.tensor(2.0).log2(), torch.tensor(2.0).log(), "logarithm to base 2"),
        (Z * 3, Z, "everywhere 3 times"),
        (Z + 5, Z, "everywhere +5"),
        (Z + 0.001 * Z**2, Z, "close, but not equal"),
        (torch.where(Z == Z.max(), 9.0, Z), Z, "1 of 12 values are wrong"),
        (Z / 0 * 0, Z, "contains NaN"),
        (torch.tensor(float("inf")), Z.sum(), "is infinity"),
        (Z > 0, Z, "type bool"),
        ("text", Z, "is a str"),
        (True, 1.0, "is a bool"),
        ([1, [2]], Z, "does not hold numbers of one shape"),
        (Z * 0, Z, "everything is 0"),
        (Z.flatten()[torch.randperm(12, generator=torch.Generator().manual_seed(1))].view(4, 3), Z, "wrong order"),
    ],
)
def test_message_of_a_usual_mistake(found, right, says):
    suspects = {"the softmax runs over dim 0.": Z.softmax(0)} if "dim 0" in says else None
    with pytest.raises(Wrong) as caught:
        expect_close(found, right, "the loss", suspects, count=N)
    assert says in str(caught.value), caught.value


@pytest.mark.parametrize("found", [Z, Z.numpy(), Z.tolist(), list(Z), Z.float(), Z + 1e-7])
def test_right_values_of_any_type_pass(found):
    expect_close(found, Z)


@pytest.mark.parametrize(
    ("answer_", "kind", "says"),
    [
        (None, NotWritten, "stub"),
        (..., NotWritten, "stub"),
        (lambda z: None, NotWritten, "returns None"),
        (lambda z: ..., NotWritten, "`...`"),
        (3, Wrong, "needs a function, and got an int"),
        (lambda: 1, Wrong, "cannot be called with 1 arguments"),
        (lambda z: z.add_(1), Wrong, "changes its input `z`"),
    ],
)
def test_message_of_a_call(answer_, kind, says):
    with pytest.raises(kind) as caught:
        call(answer_, Z.clone())
    assert says in str(caught.value)


def test_a_function_that_raises_not_implemented_is_a_stub():
    def stub(z):
        raise NotImplementedError

    with pytest.raises(NotWritten):
        call(stub, Z)


def test_changed_lists_and_dicts_are_seen():
    for given in ([3, 1, 2], {"a": [1]}):
        with pytest.raises(Wrong, match="changes its input"):
            call(lambda x: x.clear() or 1, given)


def test_detached_results_are_refused():
    leaf = Z.clone().requires_grad_()
    expect_attached(leaf.sum(), "f")
    for result, says in ((leaf.sum().detach(), "detached"), (leaf.sum().item(), "returns a float")):
        with pytest.raises(Wrong, match=says):
            expect_attached(result, "f")


def test_random_results_are_refused():
    expect_repeatable(lambda z: z * 2, Z)
    with pytest.raises(Wrong, match="different results"):
        expect_repeatable(lambda z: z + torch.rand(()), Z)


def test_time_up_is_not_an_exception():
    """`except Exception: pass` in a loop does not keep the code alive."""
    assert not issubclass(TimeUp, Exception)
