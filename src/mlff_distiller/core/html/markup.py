"""The markup of tables, lists and figures; everything in cells and captions is HTML already."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from itertools import count
from typing import Any

from mlff_distiller.core.html import words
from mlff_distiller.core.html.plotting import Choices, Figure


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[int] = (), kind: str = "") -> str:
    """Return a table from cells that are HTML already.

    Examples
    --------
    >>> table(["System", "Atoms"], [["water", "3"]], numeric=[1]).count("<td")
    2
    """

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=num' if column in numeric else ''}>{cell}</{tag}>" for column, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table class="{escape(kind)}"><thead><tr>{cells("th", head)}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def definitions(value: Mapping[str, Any]) -> str:
    """Return plain data as a list of terms, escaped; nested mappings become one line each.

    Examples
    --------
    >>> definitions({"duration_ps": 2})
    '<dl><dt>duration (ps)</dt><dd>2</dd></dl>'
    """
    items = []
    for key, inner in value.items():
        lines = inner if isinstance(inner, list) and any(isinstance(x, dict) for x in inner) else [inner]
        text = "<br>".join(words.plain(line) for line in lines) or words.NONE
        items.append(f"<dt>{words.key(str(key))}</dt><dd>{text}</dd>")
    return f"<dl>{''.join(items)}</dl>"


def note(text: str) -> str:
    """Return a sentence that stands where something is missing."""
    return f'<p class="note">{text}</p>'


class Numbered:
    """Figures and tables of a page, numbered as they come.

    Examples
    --------
    >>> numbered = Numbered()
    >>> numbered.table("Sizes.", "Atoms.", table(["n"], [["3"]])).startswith('<div class="table"><p class="caption">')
    True
    """

    def __init__(self) -> None:
        self._figures, self._tables = count(1), count(1)

    def figure(self, figure: Figure | None) -> str:
        """Return a figure with its number and caption; nothing for None."""
        if figure is None:
            return ""
        name = f"Figure {next(self._figures)}"
        key = name.lower().replace(" ", "-")
        content: dict[str, Any] = {"data": figure.traces, "layout": figure.layout}
        if figure.choices:
            content["choices"] = [{"data": c.traces, "layout": c.layout} for c in figure.choices.options]
        data = json.dumps(content, allow_nan=False).replace("<", "\\u003c")
        chooser = _chooser(key, figure.choices) if figure.choices else ""
        return (
            f'<figure>{chooser}<div class="scroll"><div class="plot" id="{key}" '
            f'style="height:{figure.height}px;--columns:{figure.n_columns}" '
            f'role="img" aria-label="{name}: {figure.title}"></div></div>'
            f'<script type="application/json" data-figure="{key}">{data}</script>'
            f"<figcaption><b>{name}. {figure.title}</b> {figure.caption}</figcaption></figure>"
        )

    def table(self, title: str, caption: str, html: str) -> str:
        """Return a table with its number and caption above it."""
        name = f"Table {next(self._tables)}"
        return f'<div class="table"><p class="caption"><b>{name}. {title}</b> {caption}</p>{html}</div>'


def _chooser(figure: str, choices: Choices) -> str:
    """Return a drop-down list that says what a figure shows, and the text on each choice."""
    options = "".join(f"<option>{choice.label}</option>" for choice in choices.options)
    texts = "".join(
        f'<div data-chosen="{figure}"{" hidden" if number else ""}>{choice.text}</div>'
        for number, choice in enumerate(choices.options)
    )
    return (
        f'<p class="chooser"><label for="{choices.key}">{choices.label}</label> '
        f'<select id="{choices.key}" data-choose="{figure}" autocomplete="off">{options}</select></p>{texts}'
    )
