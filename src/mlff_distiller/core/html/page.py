"""The shell of a page: head, contents, numbered sections, style and scripts, all in one file."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import NamedTuple

# The policy forbids every request: the page is the same with and without a network.
_PAGE = Template(
    """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:">
<title>$title</title>
<style>
$style
</style>
</head>
<body>
<a class="skip" href="#content">Skip the contents</a>
<nav aria-label="Contents">$contents</nav>
<div class="sheet">
<header>
<p class="kicker">$kicker</p>
<h1>$name</h1>
<p class="lead">$headline</p>
</header>
<main id="content" tabindex="-1">
$sections
</main>
<footer>$footer</footer>
</div>
<noscript><p class="note">The figures are drawn by a script inside this file; allow scripts to see them.</p></noscript>
<script>$plotly</script>
<script>
$script
</script>
</body>
</html>
"""  # noqa: E501 - one attribute
)


class Section(NamedTuple):
    """A section of a page.

    Attributes
    ----------
    key : str
        Its anchor.
    title, html : str
        HTML, escaped where it comes from outside.
    """

    key: str
    title: str
    html: str


def page(name: str, sections: Sequence[Section], *, title: str, kicker: str, headline: str, version: str) -> str:
    """Return a page as HTML that is complete: it loads nothing from anywhere.

    Parameters
    ----------
    name : str
        The heading; plain text, as ``title`` and ``version`` are.
    sections : sequence of Section
        They are numbered in their order.
    title : str
        Title of the window.
    kicker, headline : str
        The line above the heading and the sentence below it, HTML.
    version : str
        Of the package that wrote it.

    Examples
    --------
    >>> html = page("water", [Section("all", "All", "<p>1</p>")], title="t", kicker="k", headline="h", version="1")
    >>> "<h1>water</h1>" in html, '<section id="all">' in html
    (True, True)
    """
    from plotly.offline import get_plotlyjs

    folder = files("mlff_distiller.core.html")
    numbered = list(enumerate(sections, 1))
    return _PAGE.substitute(
        title=escape(title),
        style=folder.joinpath("style.css").read_text(encoding="utf-8"),
        kicker=kicker,
        name=escape(name),
        headline=headline,
        contents="".join(f'<a href="#{s.key}"><span>{number}</span>&nbsp;{s.title}</a>' for number, s in numbered),
        sections="\n".join(
            f'<section id="{s.key}"><h2><span class="number">{number}</span>{s.title}</h2>\n{s.html}</section>'
            for number, s in numbered
        ),
        footer=f"Written by mlff-distiller {escape(version)}. This file is complete: it loads nothing from anywhere.",
        plotly=get_plotlyjs(),
        script=folder.joinpath("draw.js").read_text(encoding="utf-8"),
    )
