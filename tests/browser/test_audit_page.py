"""The page of an audit in a real browser: quiet, whole at any width, readable in light and dark, and true to names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jinja2")
pytest.importorskip("playwright", reason="needs Playwright: pip install '.[browser]'")

import made_up_report
from made_up_report import NAUGHTY

from privsdk.auditing.report import Report

WIDTHS = (360, 768, 1280)
SCHEMES = ("light", "dark")
REPORTS: dict[str, Callable[[], Report]] = {
    "everything": made_up_report.made_up_report,
    "several labels": made_up_report.with_several_labels,
    "many classes": made_up_report.of_many_classes,
    "no originals": made_up_report.without_originals,
    "inconclusive": made_up_report.inconclusive,
    "in doubt": made_up_report.in_doubt,
    "naughty names": made_up_report.with_naughty_names,
}

# The contrast of every text with what lies behind it (WCAG 2.2, 1.4.3), the poorest first: [ratio, text] pairs.
CONTRASTS = """() => {
  const context = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = colour => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (front, back) => [0, 1, 2].map(i => front[i] * front[3] + back[i] * (1 - front[3])).concat(1);
  const behind = element => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) layers.push(rgba(getComputedStyle(one).backgroundColor));
    return layers.reduceRight((back, front) => over(front, back), [255, 255, 255, 1]);
  };
  const luminance = colour => {
    const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    const [r, g, b] = colour.slice(0, 3).map(v => linear(v / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || parent.closest('title, desc')) continue;
    const style = getComputedStyle(parent);
    const back = behind(parent);
    const front = over(rgba(parent.closest('svg') ? style.fill : style.color), back);
    const [light, dark] = [luminance(front), luminance(back)].sort((a, b) => b - a);
    found.push([(light + .05) / (dark + .05), walker.currentNode.data.trim()]);
  }
  return found.sort((a, b) => a[0] - b[0]);
}"""

# Texts of a figure that lie on each other, or stick out of the window.
CROWDED = """() => [...document.querySelectorAll('svg')].flatMap(svg => {
  const texts = [...svg.querySelectorAll('text')].map(text => [text.textContent, text.getBoundingClientRect()]);
  const out = texts.filter(([, box]) => box.left < 0 || box.right > document.documentElement.clientWidth);
  const on_each_other = texts.filter(([, a], i) => texts.some(([, b], j) => i < j
    && a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom));
  return [...out, ...on_each_other].map(([words]) => words);
})"""

# What is wider than the window and lies in nothing that can be scrolled.
STICKING_OUT = """() => [...document.querySelectorAll('main *, header *')]
  .filter(one => !one.closest('.scrolled, svg') && one.getBoundingClientRect().right > innerWidth + .5)
  .map(one => one.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages, written once."""
    folder = tmp_path_factory.mktemp("pages")
    written = {name: folder / f"{name}.html" for name in REPORTS}
    for name, file in written.items():
        file.write_text(REPORTS[name]().to_html(), encoding="utf-8")
    return written


@contextmanager
def opened(chromium: Any, file: Path, width: int, scheme: str = "light") -> Iterator[Any]:
    """The page in a window of its own, with everything that it said and asked for in ``page.heard``."""
    page = chromium.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.heard = []
    page.on("console", lambda message: page.heard.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: page.heard.append(f"page error: {error}"))
    page.on("dialog", lambda dialog: (page.heard.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: page.heard.append(request.url) if request.url != file.as_uri() else None)
    page.goto(file.as_uri())
    try:
        yield page
    finally:
        page.close()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", REPORTS)
def test_it_is_quiet_and_fits_and_can_be_read(
    chromium: Any, files: dict[str, Path], name: str, width: int, scheme: str
) -> None:
    with opened(chromium, files[name], width, scheme) as page:
        assert page.heard == []
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert page.evaluate(STICKING_OUT) == []
        assert page.evaluate(CROWDED) == []
        poorest, text = page.evaluate(CONTRASTS)[0]
        assert poorest >= 4.5, text


@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_with_everything_unfolded(chromium: Any, files: dict[str, Path], width: int) -> None:
    with opened(chromium, files["several labels"], width) as page:
        for summary in page.locator("summary").all():
            summary.click()
        assert page.locator("details[open]").count() == 3
        assert page.evaluate(STICKING_OUT) == []
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_dark_is_dark_and_light_is_light_and_paper_is_white(chromium: Any, files: dict[str, Path]) -> None:
    def background(page: Any) -> list[int]:
        return [int(part) for part in page.evaluate("getComputedStyle(document.body).backgroundColor")[4:-1].split(",")]

    with opened(chromium, files["everything"], 768, "light") as page:
        assert min(background(page)) > 240
    with opened(chromium, files["everything"], 768, "dark") as page:
        assert max(background(page)) < 40
        page.emulate_media(media="print")
        assert background(page) == [255, 255, 255]
        assert page.evaluate(CONTRASTS)[0][0] >= 4.5


@pytest.mark.parametrize("name", REPORTS)
def test_whoever_does_not_see_it_is_told_the_same(chromium: Any, files: dict[str, Path], name: str) -> None:
    with opened(chromium, files[name], 1280) as page:
        assert page.evaluate("document.documentElement.lang") == "en"
        levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map(one => Number(one.tagName[1]))")
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
        for figure in page.locator("svg:not(svg svg)").all():
            assert figure.get_attribute("role") == "img"
            named = figure.get_attribute("aria-labelledby").split()
            assert [page.locator(f"[id='{one}']").count() for one in named] == [1, 1]
            assert figure.locator("> title").text_content().strip()
            assert any(letter.isdigit() for letter in figure.locator("> desc").text_content())
        assert all(image.get_attribute("alt") for image in page.locator("img").all())
        for table in page.locator("table").all():
            assert table.locator("caption").text_content().strip()
        assert page.locator("th:not([scope])").count() == 0
        assert page.locator("a").count() == page.locator("nav a").count()
        for link in page.locator("nav a").all():
            assert page.locator(link.get_attribute("href")).count() == 1


@pytest.mark.parametrize("width", [360, 1280])
def test_a_reader_of_screens_finds_tables_however_wide_it_is(chromium: Any, files: dict[str, Path], width: int) -> None:
    with opened(chromium, files["everything"], width) as page:
        seen = page.locator("#attackers").aria_snapshot()
        assert 'table "Male: 40 attacks, the strongest first"' in seen
        assert 'columnheader "Learned from"' in seen
        assert 'rowheader "gradient-boosted trees"' in seen


def test_names_are_shown_as_they_are(chromium: Any, files: dict[str, Path]) -> None:
    with opened(chromium, files["naughty names"], 1280) as page:
        shown = page.inner_text("body")
        assert all(name in shown for name in NAUGHTY)
        assert page.locator("script").count() == 0
        sources = page.evaluate("[...document.images].map(image => image.src)")
        assert sources
        assert all(source.startswith("data:image/png;base64,") for source in sources)
        assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
        assert page.title() == f"Audit of {NAUGHTY[0]}"


def test_what_would_be_loaded_or_run_is_not(chromium: Any, files: dict[str, Path]) -> None:
    """Should markup ever come in, the page's own policy stops it."""
    with opened(chromium, files["everything"], 1280) as page:
        failed = []
        page.on("requestfailed", lambda request: failed.append((request.url, request.failure)))
        page.evaluate(
            """() => {
              const image = '<img src="https://example.org/x.png" onerror="document.title = 1">';
              document.body.insertAdjacentHTML('beforeend', image);
              const script = document.createElement('script');
              script.textContent = 'document.title = 2';
              document.body.append(script);
            }"""
        )
        page.wait_for_timeout(200)
        assert failed == [("https://example.org/x.png", "csp")]
        assert page.title().startswith("Audit of ")
