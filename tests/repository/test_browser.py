"""Every chapter in a real browser, as a student has it: JupyterLab, a slider, a wrong and a right answer.

Three chapters are run whole; of the others only the cells that slider and exercise need.

Needs Debian's chromium (`.ci/run` installs it) and playwright. Skipped where there is no chromium, but never in CI.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from cql_tutorial.course import SESSION
from scripts import workspace
from scripts.cells import requirements
from tests import ROOT
from tests.pace import limit

NOTEBOOKS = ROOT / "notebooks"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
TOKEN = "course"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(limit("chapter")),
    pytest.mark.skipif(not CHROMIUM and not os.environ.get("CI"), reason="no chromium here: apt-get install chromium"),
]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# For each chapter an exercise, and a wrong answer to type: its mutant's name and text.
WRONG = {
    "00": ("00.1", "turned", "def estimation_error(predicted, true):\n    return true - predicted\n"),
    "01": (
        "01.2",
        "never cut",
        "def targets(rewards, next_values, terminations, truncations, discount):\n"
        "    return rewards + discount * next_values\n",
    ),
    "02": ("02.3", "undiscounted", 'def whose_values():\n    return "b", "e", "a", "c"\n'),  # a diagnosis
    "03": ("03.2", "mean of everything", "def mean_of_the_best(samples):\n    return samples.mean()\n"),
    "04": (
        "04.2",
        "mean of all actions",
        "def penalty(q, actions):\n    return (torch.logsumexp(q, dim=1) - q.mean(dim=1)).mean()\n",
    ),
    "05": (
        "05.2",
        "difference",
        "def equation_two_minimum(y, mu, behaviour, alpha):\n    return y - alpha / 2 * (mu - behaviour)\n",
    ),
    "06": ("06.5", "mean of the logs", "def mixture_log_density(each):\n    return each.mean(0)\n"),
    "07": (
        "07.3",
        "times the dimensions",
        "def candidates_needed(chance, half_width, action_dim):\n"
        "    return math.log(1 - chance) / math.log(1 - half_width * action_dim)\n",
    ),
    "08": (
        "08.6",
        "sign",
        "def temperature_loss(log_temperature, log_prob, action_dim):\n"
        "    return log_temperature * (log_prob.detach().mean() - action_dim)\n",
    ),
    "09": (
        "09.1",
        "weight forgotten",
        "def to_cql_gap(raw, weight, action_dim, n_candidates):\n"
        "    return raw - action_dim * math.log(2) - math.log(n_candidates)\n",
    ),
    "10": (
        "10.1",
        "width shifted",
        "def score_with_interval(mean, half_width, random, expert):\n"
        "    span = expert - random\n"
        "    return 100 * (mean - random) / span, 100 * (half_width - random) / span\n",
    ),
    "11": (
        "11.1",
        "plain CQL",
        "def calibrated_penalty(q, log_density, from_policy, q_data, returns_to_go):\n"
        "    return torch.logsumexp(q - log_density, 1) - math.log(q.shape[1]) - q_data\n",
    ),
    "12": (
        "12.3",
        "finite",
        "def is_the_penalty(penalty, q, log_density, q_data):\n"
        "    return bool(torch.isfinite(penalty(q, log_density, q_data)).all())\n",
    ),
    "13": (
        "13.3",
        "last step",
        "def weighted_estimate(log_ratio, returns):\n"
        "    shares = torch.softmax(log_ratio[:, -1], 0)\n"
        "    return (shares * returns).sum(), 1 / shares.square().sum()\n",
    ),
}
WHOLE = ("00", "01", "05")
CHAPTERS = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JupyterLab on a fresh my_work/, as `make lab` makes and starts it, with settings of its own."""
    folder = tmp_path_factory.mktemp("course")
    work, log = folder / "my_work", folder / "server.log"
    (folder / "data").symlink_to(ROOT / "data")
    workspace.copy(NOTEBOOKS, work)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = ("JUPYTER_CONFIG", "JUPYTER_DATA", "JUPYTER_RUNTIME", "JUPYTERLAB_SETTINGS", "JUPYTERLAB_WORKSPACES")
    settings = {f"{name}_DIR": str(folder / name.lower()) for name in names}
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser",
        f"--port={port}", "--ip=127.0.0.1", f"--IdentityProvider.token={TOKEN}", "--log-level=WARN",
    ]  # fmt: skip
    environment = {
        **os.environ,
        **settings,
        "CQL_TUTORIAL_PROGRESS": str(work / ".progress.json"),
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("CQL_TUTORIAL_STATIC", None)
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=work, env=environment, stdout=out, stderr=subprocess.STDOUT)
        try:
            address = f"http://127.0.0.1:{port}"
            end = time.monotonic() + limit("page")
            while True:
                try:
                    urllib.request.urlopen(f"{address}/api/status?token={TOKEN}", timeout=2)
                    break
                except OSError:
                    assert process.poll() is None and time.monotonic() < end, log.read_text()
                    time.sleep(0.5)
            yield address
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


class Lab:
    """One open notebook: cells by number, through the keyboard and the page."""

    def __init__(self, page: Any, address: str, name: str) -> None:
        self.page, self.errors = page, []  # type: ignore[var-annotated]
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.set_default_timeout(1000 * limit("page"))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(f"{address}/lab/tree/{name}?token={TOKEN}&reset")
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
        page.wait_for_function("() => window.jupyterapp.shell.currentWidget?.content?.model?.cells?.length > 3")
        self.wait_idle()

    def wait_idle(self) -> None:
        self.page.wait_for_function(
            "() => window.jupyterapp.shell.currentWidget.sessionContext?.session?.kernel?.status === 'idle'",
            polling=100,
            timeout=1000 * limit("cell"),
        )

    def command(self, name: str) -> None:
        self.page.evaluate(f"() => {{ window.jupyterapp.commands.execute('{name}'); }}")  # never awaited: it would hang

    def cells(self) -> list[dict[str, Any]]:
        """Source, count and outputs of every cell, from the notebook's model."""
        return self.page.evaluate(
            """() => window.jupyterapp.shell.currentWidget.content.model.toJSON().cells.map(c => ({
                source: Array.isArray(c.source) ? c.source.join('') : c.source, count: c.execution_count,
                text: (c.outputs || []).map(o => (o.data && o.data['text/plain']) || o.text || '')
                    .map(t => [].concat(t).join('')).join('\\n'),
                error: (c.outputs || []).some(o => o.output_type === 'error'), kind: c.cell_type}))"""
        )

    def find(self, start: str) -> int:
        return next(i for i, cell in enumerate(self.cells()) if cell["source"].startswith(start))

    def go_to(self, number: int) -> None:
        self.page.evaluate(
            """async (i) => { const n = window.jupyterapp.shell.currentWidget.content;
                n.activeCellIndex = i; n.deselectAll(); await n.scrollToItem(i, 'center');
                n.activate(); n.mode = 'command'; }""",
            number,
        )
        self.page.wait_for_timeout(150)

    def code(self) -> list[int]:
        """The numbers of the cells that hold code."""
        return [i for i, cell in enumerate(self.cells()) if cell["kind"] == "code" and cell["source"].strip()]

    def run_needed(self, wanted: Sequence[int]) -> list[int]:
        """Run these cells, and before them those that they need, one by one; return which."""
        self.command("notebook:clear-all-cell-outputs")
        code, cells = self.code(), self.cells()
        needed = requirements([cells[i]["source"] for i in code], [code.index(i) for i in wanted])
        for number in [code[i] for i in sorted(needed)]:
            self.run(number)
        return [code[i] for i in sorted(needed)]

    def run_all(self) -> list[int]:
        """Run All, until the last code cell has a count and the kernel rests; return which cells those are."""
        code = self.code()
        self.command("notebook:clear-all-cell-outputs")
        self.command("notebook:run-all-cells")
        # The last cell's count alone is asked for: to read all outputs each time costs the browser more than they do.
        self.page.wait_for_function(
            "i => { const cell = window.jupyterapp.shell.currentWidget.content.model.cells.get(i);"
            " return cell.executionCount !== null && cell.outputs.length > 0; }",
            arg=code[-1],
            polling=300,
            timeout=1000 * limit("chapter"),
        )
        self.wait_idle()
        return code

    def run(self, number: int) -> str:
        """Run one cell by Shift-Enter; return its new text."""
        count = "window.jupyterapp.shell.currentWidget.content.model.cells.get(i).executionCount"
        before = self.page.evaluate(f"i => {count}", number)
        self.go_to(number)
        self.page.keyboard.press("Shift+Enter")
        self.page.wait_for_function(
            f"([i, before]) => {count} !== null && {count} !== before",
            arg=[number, before],
            polling=100,
            timeout=1000 * limit("cell"),
        )
        self.wait_idle()
        return str(self.cells()[number]["text"])

    def write(self, number: int, text: str) -> None:
        """Replace a cell's text through its editor."""
        self.go_to(number)
        self.page.keyboard.press("Enter")
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(text)
        self.page.keyboard.press("Escape")
        assert self.cells()[number]["source"].strip() == text.strip()


def check_line(id: str) -> str:
    return f'check("{id}", {SESSION.exercises[id].reference.__name__})'


def answer(lab: Lab, id: str, text: str) -> str:
    """Type an answer into an exercise's cell and run the cell and its check; return what the check says."""
    check = lab.find(check_line(id))
    lab.write(check - 1, text)
    lab.run(check - 1)
    return lab.run(check)


def picture(area: Any) -> bytes:
    return area.locator(".jupyter-widgets.widget-image, img.widget-image").first.screenshot()


def move_slider(lab: Lab) -> None:
    """Drag the slider, then press an arrow key on it: each must change the picture and the sentence under it."""
    page = lab.page
    lab.go_to(lab.find("explore_"))
    area = page.locator(".jp-Notebook .jp-Cell.jp-mod-active")  # 00 has films with sliders of their own above
    handle = area.locator(".widget-slider .noUi-handle, .widget-hslider .noUi-handle").first
    handle.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    caption = area.locator('[role="status"]').filter(has_text=re.compile(r"\w")).last

    def changed(before: tuple[bytes, str], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if picture(area) != before[0] and caption.inner_text() != before[1]:
                return True
            page.wait_for_timeout(100)
        return False

    def drag() -> None:
        box = handle.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 60, y, steps=6)
        page.mouse.up()

    seen = (picture(area), caption.inner_text())
    for attempt in (1, 2, 3):  # on a machine under load the page may still be moving when the mouse comes
        drag()
        if changed(seen, limit("page") / 3):
            break
        assert attempt < 3, f"picture or sentence stays: {seen[1]}"
    page.wait_for_timeout(400)  # the last steps of the drag
    seen = (picture(area), caption.inner_text())
    handle.focus()
    page.keyboard.press("ArrowLeft")
    assert changed(seen, limit("page")), f"picture or sentence stays: {seen[1]}"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_in_jupyterlab(path: Path, server: str, browser: Any) -> None:
    number = path.name[:2]
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    try:
        lab = Lab(page, server, path.name)
        # A fresh copy: no measured line, no count, no answer below a question.
        assert [cell["source"] for cell in lab.cells() if cell["text"] or cell["count"]] == []
        assert page.locator(".jp-OutputArea-output").count() == 0
        assert not re.search(r"measured \d\d\.p\d", page.inner_text("body"))
        id, mutant, text = WRONG[number]
        exercise = SESSION.exercises[id]
        wanted = [lab.find("explore_"), lab.find(check_line(id))]
        ran = lab.run_all() if number in WHOLE else lab.run_needed(wanted)
        cells = lab.cells()
        assert not any(cell["error"] for cell in cells)
        assert [cells[i]["source"] for i in ran if cells[i]["count"] is None] == []
        move_slider(lab)
        message = next(m.message for m in exercise.mutants if m.name == mutant)
        assert answer(lab, id, text).startswith(f"{id} wrong: {message}")
        assert answer(lab, id, exercise.source).startswith(f"{id} passed")
        assert lab.errors == []
    finally:
        if shots := os.environ.get("CQL_TUTORIAL_SCREENSHOTS"):
            page.screenshot(path=str(Path(shots) / f"{path.stem}.png"))
        page.close()
