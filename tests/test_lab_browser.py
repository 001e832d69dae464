"""Real JupyterLab in a real browser: a chapter is opened and run, a slider moved, an exercise solved, a quiz passed.

The chapter is short: the set-up, a widget, the first exercise and the quiz of chapter 03, cell by cell as they stand
there. CHROMIUM may name the browser.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
from browser import answer_quiz, move, need, need_browser, same_logits, watch

from sftlab import lab
from sftlab.teach import chapters, layout
from sftlab.teach.widgets.bank import load_bank

need(find_spec("jupyterlab") and find_spec("anywidget"), 'JupyterLab is not installed: pip install -e ".[lab]"')
need_browser()
LINKED = ("B_formula_sheet", "03_losses")
WAIT = 600_000  # milliseconds, on a very busy machine; usually seconds

RUN = """async (path) => {
  const app = window.jupyterapp;
  await app.restored;
  const panel = await app.commands.execute("docmanager:open", { path, factory: "Notebook" });
  await panel.context.ready;
  await panel.sessionContext.ready;
  await app.commands.execute("notebook:run-all-cells");
  const cells = panel.content.model.sharedModel.cells.filter((cell) => cell.cell_type === "code");
  const errors = cells.flatMap((cell) => cell.outputs).filter((output) => output.output_type === "error");
  return { counts: cells.map((cell) => cell.execution_count), errors: errors.map((e) => `${e.ename}: ${e.evalue}`) };
}"""

# The part of VS Code's Jupyter extension that shows widgets, as it is published, and the loader that it needs.
VSCODE, REQUIRE = "@vscode/jupyter-ipywidgets8@1.0.9", "requirejs@2.3.7"
IFRAME = """(url) => new Promise((ready) => {
  const frame = Object.assign(document.createElement("iframe"), { src: url, name: "output", onload: ready });
  frame.style = "position: fixed; inset: 0; width: 100vw; height: 100vh; z-index: 99999; background: white;";
  document.body.append(frame);
})"""
IN_VSCODE = """async (program) => {
  const { activate } = await import(`${document.baseURI}/renderer.js`);
  activate();
  window.vscIPyWidgets8.load();
  const kernel = await parent.jupyterapp.serviceManager.kernels.startNew({ name: "python3" });
  const asked = [], failed = [], shown = [], errors = [];
  const loader = {
    widgetsRegisteredInRequireJs: new Set(),
    loadWidgetScript: async (name) => {
      asked.push(name);
      window.requirejs.config({ paths: { [name]: `${document.baseURI}/nbextensions/${name}/index` } });
      loader.widgetsRegisteredInRequireJs.add(name);
    },
    successHandler: () => {},
    errorHandler: (...what) => failed.push(String(what)),
  };
  const manager = new window.vscIPyWidgets.WidgetManager(kernel, document.body, loader, () => {});
  const request = kernel.requestExecute({ code: program });
  request.onIOPub = ({ header, content }) => {
    const id = content.data?.["application/vnd.jupyter.widget-view+json"]?.model_id;
    if (id) shown.push(id);
    if (header.msg_type === "error") errors.push(`${content.ename}: ${content.evalue}`);
  };
  await request.done;
  for (const id of shown) {
    const view = await manager.create_view(await manager.get_model(id));
    await manager.display_view({}, view, { node: document.body.appendChild(document.createElement("div")) });
  }
  return { asked, failed, errors, shown: shown.length };
}"""


def short_chapter() -> tuple[nbformat.NotebookNode, layout.Exercise]:
    """Cells of chapter 03, without outputs, and its first exercise."""
    whole = nbformat.read(chapters.forms("03_losses")[0], as_version=4)
    exercise = layout.exercises(whole, "03_losses")[0]
    code = [cell for cell in whole.cells if cell.cell_type == "code"]
    explorer = next(cell for cell in code if "sl.logits_explorer(" in cell.source)
    line = next(line for line in explorer.source.splitlines() if "sl.logits_explorer(" in line)
    explorer.source = line.replace("task.label_names", 'sl.task("headlines").label_names')
    check = next(cell for cell in code if f'sl.check("{exercise.name}"' in cell.source)
    stub = next(cell for cell in code if cell.source == exercise.stub)
    quiz = next(cell for cell in code if "sl.quiz(" in cell.source)
    cells = [whole.cells[0], code[0], explorer, stub, check, quiz]
    for cell in cells[1:]:
        cell.outputs, cell.execution_count = [], None
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": whole.metadata.kernelspec}), exercise


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """JupyterLab with the course's own settings and nothing of the person's; gives its address and its folder."""
    home = tmp_path_factory.mktemp("lab")
    for folder in ("course", "settings", "progress"):
        (home / folder).mkdir()
    nbformat.write(short_chapter()[0], home / "course" / "short.ipynb")
    for name in LINKED:
        shutil.copy(chapters.forms(name)[0], home / "course")
    (home / "settings" / "overrides.json").write_text(json.dumps(lab.DEFAULTS))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    own = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "JUPYTERLAB_SETTINGS_DIR",
           "JUPYTERLAB_WORKSPACES_DIR")  # fmt: skip
    environment = {**os.environ, **{name: str(home / name) for name in own}, "SFTLAB_HOME": str(home / "progress")}
    token = secrets.token_hex(16)
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
        "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={home / 'course'}",
        f"--LabApp.app_settings_dir={home / 'settings'}", "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    with open(home / "log", "wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        base, deadline = f"http://127.0.0.1:{port}/", time.monotonic() + WAIT / 1000
        while True:
            try:
                urllib.request.urlopen(f"{base}api/status?token={token}", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, (home / "log").read_text()
                time.sleep(0.2)
        yield base, token, home
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture
def page(browser, server):
    """JupyterLab, started; the test fails at its end if it saw an error or a request to somewhere else."""
    base, token, _ = server
    faults = []

    def outside(route):
        faults.append(f"request to {route.request.url}")
        route.abort()

    page = browser.new_page(viewport={"width": 1400, "height": 1300})
    page.set_default_timeout(WAIT)
    page.route(lambda url: not url.startswith((base, "blob:", "data:")), outside)
    watch(page, faults)
    page.goto(f"{base}lab?token={token}&reset")
    page.wait_for_function("window.jupyterapp")
    page.locator("#jupyterlab-splash").wait_for(state="detached")
    yield page
    page.close()
    assert not faults


SEEN = """(heading) => {
  const panel = window.jupyterapp.shell.currentWidget;
  const box = panel.content.node.getBoundingClientRect();
  return [...panel.node.querySelectorAll("h2, h3")].some((h) => {
    const { top, bottom } = h.getBoundingClientRect();
    return h.innerText.startsWith(heading) && top >= box.top && bottom <= box.bottom;
  });
}"""


def test_links_between_sheet_and_chapter_lead_to_the_place(page):
    """To a notebook that is not open yet, back into one that is, and inside one: the heading is seen, far down."""
    open_sheet = """async () => {
      await window.jupyterapp.restored;
      const panel = await window.jupyterapp.commands.execute("docmanager:open", { path: "B_formula_sheet.ipynb" });
      await panel.context.ready;
    }"""
    page.evaluate(open_sheet)
    for link, heading in (
        ("B_formula_sheet.ipynb#cell-id=gradient-of-softmax-cross-entropy", "Gradient of softmax cross-entropy"),
        ("03_losses.ipynb#cell-id=the-gradient-step-by-step", "The gradient, step by step"),
        ("B_formula_sheet.ipynb#cell-id=finite-differences", "Finite differences"),
        ("03_losses.ipynb#cell-id=from-likelihood-to-cross-entropy", "From likelihood to cross-entropy"),
    ):
        path, _, fragment = link.partition("#")
        anchor = page.locator(f".jp-NotebookPanel:not(.lm-mod-hidden) a[href*='{path}'][href$='#{fragment}']").first
        anchor.wait_for(state="attached")
        anchor.evaluate("(a) => a.click()")
        page.wait_for_function(SEEN, arg=heading)


def test_a_learner_works_through_a_chapter(page, server):
    """Run all; the stub is not passed yet; the slider moves torch's numbers; the answer passes; so does the quiz."""
    chapter, exercise = short_chapter()
    found = page.evaluate(RUN, "short.ipynb")
    assert found == {"counts": [1, 2, 3, 4, 5], "errors": []}

    explorer = page.locator(".sl-logits")
    explorer.wait_for()
    same_logits(page, [2.0, 1.0, -1.0], 0)
    move(explorer, "negative", "ArrowLeft", 13)  # JupyterLab must not take the keys
    same_logits(page, [0.7, 1.0, -1.0], 0)

    verdict = page.locator(".sftlab-check")
    assert "not yet" in verdict.inner_text()
    number = next(i for i, cell in enumerate(chapter.cells) if cell.source == exercise.stub)
    page.locator(".jp-Notebook .jp-Cell").nth(number).locator(".cm-content").click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(exercise.solution)
    page.keyboard.press("Shift+Enter")  # runs it and goes to the check
    page.keyboard.press("Shift+Enter")
    page.wait_for_function("document.querySelector('.sftlab-check')?.innerText.includes('passed')")

    answer_quiz(page, load_bank("03_losses")[1])
    path, deadline = server[2] / "progress" / "progress.json", time.monotonic() + WAIT / 1000
    wanted = {f"exercise {exercise.name}", "quiz 03_losses"}
    while time.monotonic() < deadline:
        entries = json.loads(path.read_text())["entries"] if path.exists() else {}
        if wanted == {name for name, entry in entries.items() if "passed" in entry}:
            break
        time.sleep(0.2)
    assert wanted == {name for name, entry in entries.items() if "passed" in entry}, entries


def published(package: str, file: str, folder: Path) -> str:
    """A file of an npm package, from the registry or npm's cache."""
    npm = shutil.which("npm", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    need(npm, 'npm is missing: pip install -e ".[book]"')
    folder.mkdir()
    done = subprocess.run([npm, "pack", "--silent", "--prefer-offline", package], cwd=folder, capture_output=True)
    need(done.returncode == 0, f"npm pack {package} failed: is there a registry? {done.stderr.decode()[-300:]}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        return archive.extractfile(f"package/{file}").read().decode()


def test_widgets_and_quiz_in_the_renderer_of_vs_code(page, server, tmp_path):
    """VS Code shows widgets with its own manager, and takes anywidget's script from the environment (nbextensions).

    A page of its own, as VS Code's outputs are; JupyterLab around it only lends its connection to a kernel.
    """
    extension = Path(sys.prefix) / "share" / "jupyter" / "nbextensions" / "anywidget" / "index.js"
    require = published(REQUIRE, "require.js", tmp_path / "require")
    files = {
        "": ("text/html", f"<!doctype html><title>Output</title><script>{require}</script><body></body>"),
        "/renderer.js": ("text/javascript", published(VSCODE, "dist/ipywidgets.js", tmp_path / "vscode")),
        "/nbextensions/anywidget/index.js": ("text/javascript", extension.read_text(encoding="utf-8")),
    }

    def give(route):
        kind, body = files[route.request.url.removeprefix(f"{server[0]}vscode")]
        route.fulfill(content_type=kind, body=body)

    page.route(lambda url: url.startswith(f"{server[0]}vscode"), give)
    page.evaluate(IFRAME, f"{server[0]}vscode")
    output = page.frame("output")
    program = """
import sftlab as sl
from IPython.display import display
display(sl.logits_explorer([2.0, 1.0, -1.0]), sl.quiz("03_losses"))
"""
    found = output.evaluate(IN_VSCODE, program)
    assert found == {"asked": ["anywidget"], "failed": [], "errors": [], "shown": 2}
    same_logits(output, [2.0, 1.0, -1.0], 0)
    move(output, "class 1", "ArrowLeft", 5)
    same_logits(output, [1.5, 1.0, -1.0], 0)
    answer_quiz(output, load_bank("03_losses")[1])
