"""The page of an audit without a browser: all numbers are in it, nothing is asked of a network, and names stay text."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jinja2")

import made_up_report
from made_up_report import NAUGHTY

from privsdk.auditing import figures, page
from privsdk.auditing.report import Frontier, Map, Pictures, Report
from privsdk.errors import MissingExtraError


class Read(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def ids(self) -> set[str | None]:
        return {attributes.get("id") for _, attributes in self.elements}

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def html() -> str:
    return made_up_report.made_up_report().to_html()


def numbers(part: Any) -> Iterator[float]:
    """Every figure in a part of a report."""
    if isinstance(part, float):
        yield part
    elif is_dataclass(part):
        for field in fields(part):
            yield from numbers(getattr(part, field.name))
    elif isinstance(part, Mapping):
        yield from numbers(list(part.values()))
    elif isinstance(part, Sequence) and not isinstance(part, str):
        for one in part:
            yield from numbers(one)


@pytest.mark.parametrize("part", ["private", "utility", "attributes", "several", "wrong_labels"])
def test_an_expert_finds_every_number(html: str, part: str) -> None:
    report = made_up_report.made_up_report()
    told = report.private["Male"]
    # Fano's bound is said in words, of a hundred releases.
    plain = replace(report, private={"Male": replace(told, information=replace(told.information, least_error=0.5))})
    shown = Read(html).text
    found = list(numbers(getattr(plain, part)))
    assert found
    assert [one for one in found if f"{one:.3f}" not in shown] == []


def test_counts_and_what_is_no_auroc_are_there_too(html: str) -> None:
    shown = Read(html).text
    for words in (
        *("2,500", "7,500", "5b0c" * 16, "20 min 34 s", "0, 1", "63.4%", "8.3%", "0.4%", "20.4 dB", "0.712", "99.8%"),
        *("too few releases to say", "nobody errs about Male in fewer than\n    39 of 100", "58 times in 100"),
    ):
        assert words in shown, words
    report = made_up_report.made_up_report()
    assert all(str(count) in shown for row in report.private["Male"].confusion for count in row)
    assert all(sentence in shown for sentence in (report.verdict, *report.notes, *report.limits))


def test_the_verdict_comes_first(html: str) -> None:
    body = html[html.index("<body>") :]
    assert body.index(made_up_report.made_up_report().verdict) < body.index("<section")


def test_nothing_is_asked_of_a_network_and_nothing_runs(html: str) -> None:
    read = Read(html)
    assert read.all("script") == []
    assert [one["href"] for one in read.all("link")] == ["data:,"]
    assert all(str(one["src"]).startswith("data:image/png;base64,") for one in read.all("img"))
    assert all(str(one["href"]).startswith("#") for one in read.all("a"))
    assert not re.search(r"url\(|@import|https?:", html)
    assert not [name for _, attributes in read.elements for name in attributes if name.startswith("on")]
    policies = [one["content"] for one in read.all("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert str(policies[0]).startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")


def test_it_is_small(html: str) -> None:
    assert len(html.encode()) < 600_000


def test_names_stay_text() -> None:
    read = Read(made_up_report.with_naughty_names().to_html())
    assert read.all("script") == []
    assert all(str(one["src"]).startswith("data:image/png;base64,") for one in read.all("img"))
    assert all(name in read.text for name in NAUGHTY)


def test_what_was_not_measured_is_left_out() -> None:
    everything = {"told", "attackers", "attributes", "kept", "map", "pictures", "beyond", "measured", "limits"}
    assert everything <= Read(made_up_report.made_up_report().to_html()).ids
    short = Read(made_up_report.inconclusive().to_html())
    assert everything & short.ids == {"told", "attackers", "kept", "measured", "limits"}
    links = {str(one["href"])[1:] for one in short.all("a")}
    assert links == everything & short.ids
    assert short.all("svg")
    assert not short.all("img")


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (made_up_report.inconclusive(), "Not conclusive."),
        (made_up_report.inconclusive(), "A quick audit."),
        (made_up_report.inconclusive(), "It may be luck"),
        (made_up_report.in_doubt(), "In doubt."),
    ],
)
def test_it_warns_where_little_is_known_and_only_there(html: str, report: Report, words: str) -> None:
    assert words in Read(report.to_html()).text
    assert words not in Read(html).text


def test_where_nobody_knows_what_real_samples_tell_it_says_so() -> None:
    report = made_up_report.made_up_report()
    told = report.private["Male"]
    unknown = Read(replace(report, private={"Male": replace(told, on_real_samples=1.0)}).to_html()).text
    assert "nobody knows" in unknown
    assert "not known" in unknown
    all_of_it = replace(told, leakage=1.0, interval=(0.98, 1.0), on_real_samples=1.0)
    assert "nobody knows" not in Read(replace(report, private={"Male": all_of_it}).to_html()).text


def test_of_several_labels_the_combination_is_not_called_hidden() -> None:
    html = made_up_report.with_several_labels().to_html()
    assert "<dt>Hidden</dt><dd>Male, Young</dd>" in html
    assert html.count('<div class="told">') == 3


def test_releases_are_shown_alone_where_the_originals_are_left_out() -> None:
    read = Read(made_up_report.without_originals().to_html())
    assert [one["alt"] for one in read.all("img")] == [f"Sample {number}, as released" for number in range(1, 8)]
    assert "unfiltered" not in read.text.lower()


def test_large_pictures_are_shown_smaller() -> None:
    report = made_up_report.made_up_report()
    large = np.random.default_rng(0).integers(0, 256, (1, 600, 300, 3)).astype(np.uint8)
    assert len(replace(report, pictures=Pictures(large, large)).to_html()) < 700_000


def test_without_jinja_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"privsdk\[audit\]"):
        made_up_report.made_up_report().to_html()


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.583, "58"), (0.5, "50"), (0.0834, "8.3"), (0.0999, "10"), (0.001, "0.1"), (0.0, "0"), (1, "100")],
)
def test_a_share_is_said_of_a_hundred(share: float, words: str) -> None:
    assert page.of_hundred(share) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(8.2, "8 s"), (119.6, "2 min 0 s"), (1234.5, "20 min 34 s"), (7500, "2 h 5 min")]
)
def test_a_duration_is_said_in_two_units(seconds: float, words: str) -> None:
    assert page.duration(seconds) == words


def test_marks_lie_where_their_figures_are() -> None:
    axis = figures.FROM_CHANCE
    assert [axis.at(value) for value in (0.5, 0.75, 1.0, 0.3, 1.2)] == [0, 50, 100, 0, 100]
    assert np.allclose(axis.ticks, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert figures.interval_bar(0.6, (0.55, 0.7)) == figures.Bar(10, 40, 20)
    assert figures.change_bar(0.9, 0.6) == figures.Bar(20, 80, 20, 80)
    assert figures.change_bar(None, 0.6) == figures.Bar(20, 20, 20, None)


def test_accuracy_below_a_half_is_drawn_from_zero() -> None:
    told = made_up_report.told()
    assert figures.accuracy_lines(told).axis == figures.FROM_CHANCE
    assert figures.accuracy_lines(replace(told, base_rate=0.11)).axis == figures.ANY_SHARE


@pytest.mark.parametrize("least", [0.97, 0.9, 0.84, 0.62, 0.3, 0.0])
def test_the_frontier_and_the_releases_lie_within_their_figure(least: float) -> None:
    report = made_up_report.made_up_report()
    kept = replace(report.utility["Smiling"], accuracy=least, accuracy_unfiltered=0.98)
    frontier = Frontier("Male", "Smiling", (0.5, 0.55, 0.6), (0.98, 0.99, 1.0), 0.0, 0.0)
    drawn = figures.tradeoff(replace(report, utility={"Smiling": kept}), frontier)
    assert [place.name for place in drawn.places] == ["these releases", "unfiltered"]
    assert all(drawn.up.low <= place.accuracy <= drawn.up.high for place in drawn.places)
    assert 3 <= len(drawn.up.ticks) <= 7
    points = [tuple(map(int, point.split())) for point in drawn.curve[1:].split("L")]
    assert [x for x, _ in points] == [0, 100, 200, 1000]
    assert [y for _, y in points] == sorted((y for _, y in points), reverse=True)
    assert points[-1][1] == points[-2][1] == 0


def test_maps_before_and_after_lie_on_the_same_ground() -> None:
    before = np.array([[0, 0], [10, 0], [0, 10]], np.float32)
    after = np.array([[5, 5], [10, 10], [2.4, 5]], np.float32)
    classes = np.array([0, 1, 1])
    first, second = figures.panels(Map("Male", ("not Male", "Male"), classes, before, after))
    assert (first.name, second.name) == ("Before", "After")
    # The commoner class is drawn first, so that the rarer lies on it.
    assert [marks.name for marks in first.marks] == ["Male", "not Male"]
    assert first.marks[1].path == "M25 975h0"
    assert second.marks[1].path == "M500 500h0"
    assert second.marks[0].path == "M969 19h12v12h-12zM247 494h12v12h-12z"
    assert second.marks[0].count == 2


def test_no_two_classes_look_alike() -> None:
    names = tuple(f"class {number}" for number in range(28))
    points = np.random.default_rng(0).normal(size=(280, 2)).astype(np.float32)
    (panel,) = figures.panels(Map("digit", names, np.arange(280) % 28, None, points))
    assert len({(marks.colour, marks.shape) for marks in panel.marks}) == 28


def test_a_map_of_one_point_is_drawn() -> None:
    point = np.zeros((1, 2), np.float32)
    (panel,) = figures.panels(Map("Male", ("not Male", "Male"), np.array([1]), None, point))
    assert [marks.count for marks in panel.marks] == [1, 0]
