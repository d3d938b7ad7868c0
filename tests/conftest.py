"""What tests of several rooms share."""

import json
import os
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run, so that a change is judged by itself; HYPOTHESIS_PROFILE=explore draws new ones.
settings.register_profile("steady", derandomize=True)
settings.register_profile("explore", derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


class Page(HTMLParser):
    """Tags, attributes, visible text and the figures of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.figures, self._inside = "", [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        figure = tag == "script" and "data-figure" in dict(attributes)
        self._inside = "figure" if figure else tag if tag in ("script", "style") else self._inside

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self._inside = ""

    def handle_data(self, data):
        if self._inside == "figure":
            self.figures.append(json.loads(data))
        elif not self._inside:
            self.text += f" {data}"

    def figure(self, title: str) -> dict:
        labels = [a["aria-label"] for _, a in self.tags if a.get("role") == "img"]
        return self.figures[next(k for k, label in enumerate(labels) if title in label)]


@pytest.fixture(scope="session")
def parsed() -> Callable[[str], Page]:
    """Return what a page holds."""
    return Page


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real reference data beside the checkout."""
    folder = Path(__file__).parents[2] / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("reference data beside the checkout (shared/data) is not there")
    return folder
