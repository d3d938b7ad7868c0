"""The report in a real browser: no errors, no requests, never too wide, on paper, with keys, enough contrast."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlff_distiller.validation.report.page import render

sys.path.insert(0, str(Path(__file__).parent))
from browser import CHROMIUM, Browser


@pytest.fixture(scope="module")
def html(report_data) -> str:
    return render(replace(report_data, students={name: report_data.students[name] for name in ("tiny", "leaky")}))


@pytest.fixture(scope="module")
def browser(tmp_path_factory, html):
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    folder = tmp_path_factory.mktemp("browser")
    (folder / "report.html").write_text(html, encoding="utf-8")
    with Browser(folder) as browser:
        browser.size(1280, 900)
        browser.open(folder / "report.html")
        yield browser


# That reading pixels back is slow, is a hint for plotly's authors and no error.
HINT = "Canvas2D: Multiple readback"


def test_a_browser_draws_every_figure_without_an_error(browser, html, parsed) -> None:
    page = parsed(html)
    assert browser.value("document.body.dataset.figures") == str(len(page.figures))
    assert browser.value("document.body.dataset.errors") == "0"
    assert browser.value("document.querySelectorAll('.plot .main-svg').length") >= len(page.figures)
    assert "Share chart" not in browser.value("document.body.innerText")
    assert "WebGL is not supported" not in browser.value("document.body.innerText")
    assert [message for message in browser.messages if HINT not in message] == []
    outside = [url for url in browser.requests if not url.startswith(("file:", "data:", "blob:"))]
    assert outside == []


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (800, 1000), (390, 844)])
def test_the_page_is_never_wider_than_the_window(browser, width: int, height: int) -> None:
    browser.size(width, height, mobile=width < 500)
    browser.wait("true")
    wide, window = browser.value("[document.documentElement.scrollWidth, window.innerWidth]")
    assert window == width
    assert wide <= width
    browser.size(1280, 900)


def test_keys_and_links_turn_and_choose_the_structure(browser) -> None:
    eye = (
        "document.querySelector('[data-chosen]').closest('figure').querySelector('.plot')._fullLayout.scene.camera.eye"
    )
    before = browser.value(f"({{...{eye}}})")
    browser.value(
        "document.querySelector('[data-chosen]').closest('figure').querySelector('.plot').dispatchEvent("
        "new KeyboardEvent('keydown', {key: 'ArrowLeft', bubbles: true}))"
    )
    browser.wait(f"{eye}.x !== {before['x']}")
    after = browser.value(f"({{...{eye}}})")
    size = [np.linalg.norm([one[axis] for axis in "xyz"]) for one in (before, after)]
    assert size[0] == pytest.approx(size[1])
    browser.value("document.querySelector('a[data-choice=\"2\"]').click()")
    browser.wait(
        "document.querySelectorAll('[data-chosen]:not([hidden])')[0] === document.querySelectorAll('[data-chosen]')[2]"
    )
    assert browser.value("document.getElementById('worst-list').selectedIndex") == 2


def test_on_paper_everything_is_there_and_fits(browser, tmp_path: Path) -> None:
    browser.wait("document.querySelectorAll('.pictured + img[src^=data]').length === 1")
    browser.print(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    browser.ask("Emulation.setEmulatedMedia", media="print")
    browser.size(673, 1000)
    browser.value("window.dispatchEvent(new Event('beforeprint')) && undefined")
    wide = browser.value("document.documentElement.scrollWidth")
    hidden = browser.value("getComputedStyle(document.querySelector('nav')).display")
    browser.value("window.dispatchEvent(new Event('afterprint')) && undefined")
    browser.ask("Emulation.setEmulatedMedia", media="")
    browser.size(1280, 900)
    assert wide <= 673
    assert hidden == "none"


def test_text_has_enough_contrast(browser) -> None:
    pairs = browser.value(
        "JSON.stringify(Array.from(document.querySelectorAll('main *')).filter(e => e.children.length"
        " === 0 && e.textContent.trim() && !e.closest('.plot, script, select')).map(e => {"
        " let g = e; while (g && getComputedStyle(g).backgroundColor === 'rgba(0, 0, 0, 0)') g = g.parentElement;"
        " return getComputedStyle(e).color + '|' + getComputedStyle(g || document.body).backgroundColor; }))"
    )
    assert len(set(json.loads(pairs))) > 3
    for pair in set(json.loads(pairs)):
        ink, ground = (luminance(color) for color in pair.split("|"))
        low, high = sorted([ink, ground])
        assert (high + 0.05) / (low + 0.05) >= 4.5, pair


def luminance(color: str) -> float:
    """Return the relative luminance of "rgb(r, g, b)" (WCAG 2.1)."""
    channels = np.array([int(x) for x in re.findall(r"\d+", color)[:3]]) / 255
    linear = np.where(channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
