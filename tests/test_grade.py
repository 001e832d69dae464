"""Grading a class in which many are hostile: it ends, each is reported rightly, the honest are not harmed."""

import csv
import os
import re
import shutil
import signal
import socket
import sys
import threading
import time

import pytest
import torch
from hostile import BROKEN, CHEATS, HONEST, INTRUDERS, RIGHT, WRONG, notebook

from sftlab.errors import SftlabError
from sftlab.teach import checks, grade_report, layout, sandbox
from sftlab.teach import grade as grade_module
from sftlab.teach.chapters import chapters, read
from sftlab.teach.compare import call, expect_attached, expect_close
from sftlab.teach.exercises import judge, verdict
from sftlab.teach.grade import Grade, grade, isolation
from sftlab.teach.mistakes import mistakes
from sftlab.teach.remote import LearnerError, load
from sftlab.teach.submissions import collect
from sftlab.teach.wire import Broken, NotPlain, Opaque, decode, encode

CLASS = {**HONEST, **WRONG, **CHEATS, **INTRUDERS, **BROKEN}
SOURCES = {name: read(name) for name in chapters()}
EXERCISES = [(chapter, e) for chapter, source in SOURCES.items() for e in layout.exercises(source, chapter)]
MISTAKES = [m for chapter in SOURCES for m in mistakes(chapter)]
linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's filter is Linux's")
pytestmark = linux


def hand_in(folder, submissions, port=1):
    """Write a class into a folder."""
    home = folder.parent
    (home / "secret.txt").write_text("hidden treasure")
    for name, (content, *_) in submissions.items():
        path = folder / f"{name}.ipynb"
        if isinstance(content, list):
            put_in = {"FOLDER": str(folder), "HOME": str(home), "PORT": str(port)}
            content = [re.sub("FOLDER|HOME|PORT", lambda m: put_in[m[0]], cell) for cell in content]  # noqa: B023
            content = notebook(*content)
        if name == "huge":
            with open(path, "wb") as file:
                file.truncate(100 * 2**20)
        elif name == "link":
            path.symlink_to(home / "secret.txt")
        elif name == "no_notebook_in_the_folder":
            (folder / name).mkdir()
            (folder / name / "answers.docx").write_bytes(b"x")
        elif name == "wrong_extension":
            path.with_suffix(".py").write_text(RIGHT)
        else:
            path.write_bytes(content)


class Server:
    """Counts who connects."""

    def __enter__(self):
        self.socket, self.visits = socket.create_server(("127.0.0.1", 0)), []
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def _serve(self):
        while True:
            try:
                self.visits.append(self.socket.accept())
            except OSError:
                return

    def __exit__(self, *error):
        self.socket.close()


def run(folder, submissions, out, seconds=60):
    """Grade a class; the result by student, for the one exercise that they have."""
    before = set(threading.enumerate())  # checks of other tests that had to be left alone
    folder.mkdir()
    with Server() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SFTLAB_TEST_SECRET", "hidden treasure")
        hand_in(folder, submissions, server.port)
        grades = grade(folder, out, seconds=seconds, memory=2**30)
        assert not server.visits
    assert not any(thread.name == "sftlab-check" for thread in set(threading.enumerate()) - before)
    return {g.student: g for g in grades if g.exercise == "00-majority"}, grades


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The whole class, as strongly isolated as this machine can.

    Those that never end are a class of their own, with a shorter limit and an honest one among them: on a busy machine
    the others shall not time out.
    """
    home = tmp_path_factory.mktemp("class")
    workers, before = _workers(), sorted(p.name for p in sandbox._PACKAGE.rglob("*.py"))
    endless = {name: wanted for name, wanted in CLASS.items() if wanted[1] == "timed out"}
    others = {name: wanted for name, wanted in CLASS.items() if name not in endless}
    slow, rows_of_slow = run(home / "slow", {**endless, "beside": HONEST["honest"]}, home / "slow-report", seconds=6)
    found, rows = run(home / "submissions", others, home / "report")
    assert sorted(p.name for p in sandbox._PACKAGE.rglob("*.py")) == before
    assert slow.pop("beside").status == "passed"
    rows_of_slow = [g for g in rows_of_slow if g.student != "beside"]
    return home, {**found, **slow}, rows + rows_of_slow, workers


def test_there_are_enough():
    assert len(CLASS) - len(HONEST) >= 40


@pytest.mark.parametrize("name", CLASS)
def test_submission_is_reported_rightly(graded, name):
    _, status, says = CLASS[name]
    found = graded[1][name]
    if name in ("reads_a_secret", "reads_a_sibling", "reads_the_solutions") and not isolation()[0]:
        pytest.skip("bubblewrap is missing or does not work here: files can be read")
    assert found.status == status, found
    assert says in found.message, found
    assert len(found.message) < 1500
    assert "treasure" not in found.message


def test_others_are_not_touched(graded):
    """The honest notebook is still there, and exercises that were not handed in are missing, not failed."""
    assert (graded[0] / "submissions" / "honest.ipynb").read_bytes() == notebook(RIGHT)
    others = {g.status for g in graded[2] if g.exercise != "00-majority" and g.student not in BROKEN}
    assert others == {"missing"}
    assert not (graded[0].parent / "written").exists()


def test_every_student_has_every_exercise_once(graded):
    keys = [(g.student, g.exercise) for g in graded[2]]
    assert len(keys) == len(set(keys)) == 3 * len(CLASS)


def test_reports(graded):
    """The CSV has a row for each grade and the page no script; both say how strong the isolation was."""
    with open(graded[0] / "report" / "report.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * sum(wanted[1] != "timed out" for wanted in CLASS.values())
    assert {row["verdict"] for row in rows} == {"grader"}
    assert {row["isolation"] for row in rows} == {"full" if isolation()[0] else "weaker"}
    page = (graded[0] / "report" / "report.html").read_text(encoding="utf-8")
    assert isolation()[1].replace("`", "")[:40] in page.replace("`", "")
    assert "<script" not in page and "http:" not in page and "https:" not in page
    assert "prefers-color-scheme: dark" in page and "width=device-width" in page
    assert (
        page.count("<details>") == len(rows) / 3 + 3
    )  # one for each student, one for what went wrong in each exercise


def test_no_process_is_left(graded):
    """What the submissions started has ended with their boxes."""
    assert not _left(graded[3])


def _left(before=()):
    """Workers that were started since and are still there after some seconds, in which the kernel may clean up."""
    deadline = time.monotonic() + 10
    while (found := _workers() - set(before)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def _workers():
    found = set()
    for path in sandbox.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found |= {path} if b"sftlab.teach.worker" in path.read_bytes() else set()
        except OSError:
            pass
    return found


def test_weaker_isolation_is_said_and_still_refuses(tmp_path, monkeypatch):
    """Without bubblewrap: no network, no processes, no changes of files; and the report says what is weaker."""
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    sandbox.bubblewrap.cache_clear()
    try:
        assert isolation()[0] is False
        names = ("forks", "network", "kills_the_parent", "writes_a_file", "deletes_a_sibling", "endless", "honest")
        chosen = {name: CLASS[name] for name in names}
        found, _ = run(tmp_path / "submissions", chosen, tmp_path / "report", seconds=6)
        for name, (_, status, says) in chosen.items():
            assert found[name].status == status and says in found[name].message, found[name]
        assert (tmp_path / "submissions" / "honest.ipynb").exists()
        page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
        assert "Isolation was weaker" in page and 'class="warn"' in page
        assert ",weaker" in (tmp_path / "report" / "report.csv").read_text(encoding="utf-8-sig")
    finally:
        sandbox.bubblewrap.cache_clear()


@pytest.mark.skipif(not shutil.which("bwrap"), reason="bubblewrap is not installed")
def test_bubblewrap_works_where_it_is_installed():
    """In CI the strong path must be the one that is tested."""
    sandbox.bubblewrap.cache_clear()
    assert sandbox.bubblewrap(), "bwrap is installed and does not work: are user namespaces switched off?"


# Gradients through the wall


@pytest.fixture(scope="module")
def box():
    box = sandbox.Box(60, 2**30)
    yield box
    box.close()


def remote(box, source, name="f"):
    return load(box, [[source, True]], name)


def test_gradients_come_through(box):
    """``backward`` through a result asks the submission's process, and gives what it would give here."""
    f = remote(box, "import torch\ndef f(z, y, scale=2):\n    return (z.exp() * scale).sum() + y.sum(), z.detach()")
    z, y = torch.randn(3, 2, dtype=torch.float64, requires_grad=True), torch.ones(2)
    value, plain = call(f, z, y, scale=3)
    expect_attached(value, "f")
    assert not plain.requires_grad
    value.backward()
    expect_close(z.grad, 3 * z.detach().exp(), tol=1e-12)
    assert y.grad is None


def test_detached_results_stay_detached(box):
    f = remote(box, "def f(z):\n    return z.detach() * 2")
    assert not f(torch.ones(2, requires_grad=True)).requires_grad


def test_changes_in_place_are_seen_here(box):
    """The check looks at its own inputs: they follow what the code did to its copies."""
    f = remote(box, "def f(z, rows, table):\n    z.zero_()\n    rows.append(1)\n    table['a'] = 2\n    return 1")
    z, rows, table = torch.ones(2), [], {}
    assert f(z, rows, table) == 1
    assert z.tolist() == [0, 0] and rows == [1] and table == {"a": 2}


def test_errors_carry_the_learners_line(box):
    f = remote(box, "def f(z):\n    return z[5]")
    with pytest.raises(LearnerError) as caught:
        f(torch.ones(2))
    assert caught.value.kind == "IndexError" and caught.value.line == (2, "return z[5]")


def test_live_objects_are_not_sent(box):
    """A check that hands over a model must be listed in INSIDE; forgetting it is an error of the course, seen here."""
    f = remote(box, "def f(model):\n    return 1")
    with pytest.raises(NotPlain, match="Linear"):
        f(torch.nn.Linear(1, 1))


@pytest.mark.parametrize(("chapter", "exercise"), EXERCISES, ids=[e.name for _, e in EXERCISES])
def test_solution_passes_from_outside(box, chapter, exercise):
    """Every exercise can be graded through the wall, or is listed in INSIDE."""
    if exercise.name in checks.INSIDE:
        pytest.skip("its check hands over live objects")
    source = layout.set_up_imports(SOURCES[chapter]) + "\n" + exercise.solution
    checks.CHECKS[exercise.name](remote(box, source, exercise.answer))


@pytest.mark.parametrize("mistake", MISTAKES, ids=[f"{m.exercise}: {m.title}" for m in MISTAKES])
def test_wrong_answer_gets_the_same_message_from_outside(box, mistake):
    """The grader says what the learner was told in the notebook."""
    if mistake.exercise in checks.INSIDE:
        pytest.skip("its check hands over live objects")
    imports = "import torch\nimport torch.nn.functional as F\n"
    answer = remote(box, imports + mistake.source, mistake.answer.__name__)
    found = verdict(mistake.exercise, lambda: checks.CHECKS[mistake.exercise](answer), 60)
    assert not found and mistake.says in found.message
    if found.status == "wrong":
        assert found.message == judge(mistake.exercise, mistake.answer).message


def test_ctrl_c_ends_the_boxes(tmp_path, monkeypatch):
    """The submissions are in sessions of their own and do not hear it: the grader ends them, and itself."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals go to the main thread")
    hand_in(tmp_path, {"sleep": CLASS["sleep"]})

    def load_and_press(*args):
        os.kill(os.getpid(), signal.SIGINT)
        return load(*args)

    monkeypatch.setattr(grade_module, "load", load_and_press)
    before = _workers()
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs do not hear it
    try:
        with pytest.raises(KeyboardInterrupt):
            grade(tmp_path, tmp_path / "report", seconds=600)
    finally:
        signal.signal(signal.SIGINT, heard)
    assert not _left(before)


@pytest.mark.parametrize(
    "value",
    [None, True, 3, -2.5, "é", [1, [2]], (1, (2,)), [{("PER", 0, 2)}, set()],
     {"a": {1: (2,)}}, ..., float("inf"), torch.ones(2, 3),
     torch.zeros(0, 3), torch.tensor(1.5, dtype=torch.bfloat16), torch.tensor([True]),
     torch.arange(6).view(2, 3).T, 1j * torch.ones(2)],
)  # fmt: skip
def test_data_arrives_as_it_was(value):
    found = decode(encode(value))
    assert type(found) is type(value)
    if isinstance(value, torch.Tensor):
        assert found.dtype == value.dtype and torch.equal(found, value)
    else:
        assert found == value


@pytest.mark.parametrize(
    "tree",
    [{"tensor": ["float32", [2], ""], "grad": False}, {"tensor": ["float32", [-1], ""], "grad": False}, {"x": 1},
     [1], {"tensor": ["load", [0], ""], "grad": False}, {"list": 3}, {"set": [{"list": []}]},
     {"dict": [[{"list": []}, 1]]}, {"tensor": [], "grad": 1},
     {"array": ["float32", [10**12, 10**12], "AAAA"], "scalar": False}],
)  # fmt: skip
def test_rubbish_is_no_data(tree):
    with pytest.raises(Broken):
        decode(tree)


def test_other_objects_are_refused_or_opaque():
    class Sub(int):
        pass

    for value in (object(), Sub(3), frozenset({1}), 2**70):
        with pytest.raises(NotPlain):
            encode(value)
        assert isinstance(decode(encode(value, opaque=True)), Opaque)


def test_verdict_of_a_submissions_own_process_is_marked(tmp_path, monkeypatch):
    """Exercises with live objects are checked inside, and the report says so."""
    monkeypatch.setattr(checks, "INSIDE", checks.INSIDE)
    checks.INSIDE.add("00-majority")
    try:
        found, _ = run(
            tmp_path / "s", {n: CLASS[n] for n in ("honest", "mean_of_test", "hard_exit")}, tmp_path / "report"
        )
    finally:
        checks.INSIDE.discard("00-majority")
    assert found["honest"].status == "passed" and found["honest"].inside
    assert found["mean_of_test"].status == "failed" and "must not look there" in found["mean_of_test"].message
    assert found["hard_exit"].status == "failed"
    assert "verdict of the submission itself" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")


# Reading and reporting


def test_folders_of_students(tmp_path):
    """One folder for each student; checkpoints, hidden files and Apple's folders are not submissions."""
    for path in ("ann/a.ipynb", "ann/.ipynb_checkpoints/a.ipynb", "__MACOSX/x.ipynb", ".DS_Store", "bo/deep/b.ipynb"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(notebook(RIGHT))
    assert [(s.student, s.file, s.problem) for s in collect(tmp_path)] == [
        ("ann", "ann/a.ipynb", ""),
        ("bo", "bo/deep/b.ipynb", ""),
    ]


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), lambda p: p.write_text("x")])
def test_nothing_to_grade(tmp_path, make):
    make(tmp_path / "class")
    with pytest.raises(SftlabError, match=r"is no folder|is empty"):
        grade(tmp_path / "class")


def test_names_do_no_harm_in_the_reports(tmp_path):
    """A file name is no formula in a spreadsheet and no markup in the page, and turns no line around."""
    name = "=HYPERLINK(1)<script>alert(1)</script>\u202e"
    grade_report.write([Grade(name, name, "00-x", "failed", "<b> `<i>`")], [], tmp_path, True, "<about>")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script>" not in page and "<b>" not in page and "<i>" not in page and "\u202e" not in page
    assert (tmp_path / "report.csv").read_text(encoding="utf-8-sig").splitlines()[1].startswith("'=HYPERLINK")
