"""The reading room: its sources, its sliders without a kernel and, where Sphinx is, every page of the site."""

from __future__ import annotations

import base64
import importlib.util
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from cql_tutorial.course.sliders import FRAMES, Explorer, explore_discount
from scripts import book
from tests import ROOT
from tests.pace import limit
from tests.repository.test_browser import CHROMIUM, FLAGS

SPHINX = all(importlib.util.find_spec(name) for name in ("sphinx", "myst_nb", "furo", "latex2mathml"))


def test_every_chapter_has_a_slider_that_is_found() -> None:
    found = {path.name[:2]: sum(map(book.is_slider, book.read(path)["cells"])) for path in chapters()}
    assert len(found) >= 10 and all(found.values()), found


def chapters() -> list[Path]:
    return sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def test_a_slider_as_html_has_every_picture_and_shows_one(monkeypatch: pytest.MonkeyPatch) -> None:
    slider = explore_discount()
    monkeypatch.setenv(FRAMES, "1")
    html = slider._repr_mimebundle_()["text/html"]
    assert html.count("<figure") == len(slider.captions) == 10 and html.count(" hidden>") == 9
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    assert all(base64.b64decode(one).startswith(b"\x89PNG") for one in pictures) and len(set(pictures)) == 10
    assert 'max="9" value="3"' in html and "<output>0.9</output>" in html


def test_a_caption_cannot_end_its_attribute() -> None:
    from matplotlib import pyplot

    from cql_tutorial.course.figures.base import CaptionedFigure

    def draw(value: float) -> CaptionedFigure:
        figure = pyplot.figure(FigureClass=CaptionedFigure)
        figure.caption = f'a "quoted" <b>{value}</b>'
        pyplot.close(figure)
        return figure

    html = Explorer(draw, [1.0], "one <value>").html()
    assert "&quot;quoted&quot; &lt;b&gt;1.0" in html and "one &lt;value&gt;" in html


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="no chromium here")
@pytest.mark.timeout(limit("page"))
def test_the_slider_moves_without_a_kernel(tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    script = (ROOT / "book" / "static" / "frames.js").read_text(encoding="utf-8")
    page_file = tmp_path / "page.html"
    page_file.write_text(f"<!doctype html><script>{script}</script>{explore_discount().html()}", encoding="utf-8")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.goto(page_file.as_uri())
        seen = []
        page.focus(".explorer input")
        for _ in range(3):
            shown = page.locator(".explorer figure:visible")
            assert shown.count() == 1
            seen.append((page.inner_text(".explorer output"), shown.locator("img").get_attribute("alt")))
            page.keyboard.press("ArrowRight")
        browser.close()
    assert [value for value, _ in seen] == ["0.9", "0.93", "0.95"] and len({alt for _, alt in seen}) == 3


class Links(HTMLParser):
    """The targets and the names of a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.targets, self.names, self.images = [], set(), []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.names.add(given.get("id"))
        self.targets += [value for key in ("href", "src") if (value := given.get(key))]
        self.images += [given] if tag == "img" else []


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.skipif(not SPHINX or not CHROMIUM, reason="needs requirements-book.txt and chromium")
@pytest.mark.timeout(limit("chapter"))
def test_every_page_of_the_site_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links lead somewhere, images have a text, nothing is too wide; no error and no network in the browser."""
    playwright = pytest.importorskip("playwright.sync_api")
    monkeypatch.setattr(book, "BUILD", tmp_path)
    book.main(["--no-frames"])
    site = tmp_path / "html"
    pages = {page: Links(page) for page in sorted(site.rglob("*.html"))}
    expected = {path.relative_to(ROOT).with_suffix(".html").as_posix() for path in chapters()}
    assert expected <= {page.relative_to(site).as_posix() for page in pages}
    for page, links in pages.items():
        for target in links.targets:
            if re.match(r"(https?|mailto|data):", target):
                continue
            name, _, anchor = unquote(re.sub(r"\?v=\w+", "", target)).partition("#")
            file = (page.parent / name).resolve() if name else page
            assert file.exists(), f"{page.name}: {target}"
            assert not anchor or file not in pages or anchor in pages[file].names, f"{page.name}: {target}"
        assert all(image.get("alt") for image in links.images), page.name
    assert sum(file.stat().st_size for file in site.rglob("*") if file.is_file()) < 15e6
    told: list[str] = []
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for width in (1300, 400):
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.on("console", lambda message: told.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: told.append(str(error)))
            page.on("request", lambda request: None if request.url.startswith("file:") else told.append(request.url))
            for one in pages:
                page.goto(one.as_uri())
                wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
                assert wide <= 0, f"{one.name} is {wide} pixels too wide at {width}"
        browser.close()
    assert not told, told[:5]


def test_kept_frames_are_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "BUILD", tmp_path)
    runs: list[int] = []

    def draw(notebook: dict, places: list[int]) -> list[str]:
        runs.append(len(places))
        return [f"<p>{place}</p>" for place in places]

    monkeypatch.setattr(book, "draw", draw)
    path = chapters()[0]
    first, second = book.with_frames(path), book.with_frames(path)
    assert first == second and len(runs) == 1
    shown = [cell["outputs"] for cell in first["cells"] if book.is_slider(cell)]
    assert all(outputs[0]["data"]["text/html"].startswith("<p>") for outputs in shown)
    others = [cell for cell in first["cells"] if not book.is_slider(cell)]
    committed = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if not book.is_slider(cell)]
    assert others == committed
