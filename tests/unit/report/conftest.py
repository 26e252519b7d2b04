"""The page, drawn and parsed as a browser would find it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import pytest

from espdeploy.records import Record
from espdeploy.report.html import render
from espdeploy.report.profiles import ProfileDocument

_VOID = {"meta", "link", "br", "img", "input", "hr"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    own_text: list[str] = field(default_factory=list)

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Every element below with this tag and these attributes (``class_`` for class, as a word of it)."""
        found = []
        for child in self.children:
            if child.tag == tag and all(child.has(name.rstrip("_"), value) for name, value in attributes.items()):
                found.append(child)
            found += child.all(tag, **attributes)
        return found

    def has(self, name: str, value: str) -> bool:
        held = self.attributes.get(name, "")
        return value in held.split() if name == "class" else value == held

    @property
    def text(self) -> str:
        return " ".join([*self.own_text, *(child.text for child in self.children)]).strip()


class Tree(HTMLParser):
    """A strict reader: each end tag must close the element that is open."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("root", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        made = Element(tag, {name: value or "" for name, value in attrs})
        assert len(made.attributes) == len(attrs), f"an attribute of <{tag}> stands twice"
        self.open[-1].children.append(made)
        if tag not in _VOID:
            self.open.append(made)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.open[-1].own_text.append(data)


Drawn = Callable[..., tuple[str, Element]]


@pytest.fixture(scope="session")
def drawn() -> Drawn:
    """Draws records and returns the page as text and as a tree."""

    def draw(
        records: Sequence[Record], left_out: Sequence[Any] = (), profiles: Sequence[ProfileDocument] = ()
    ) -> tuple[str, Element]:
        text = render(
            records, left_out, generated="2026-02-03T11:00:00+00:00", espdeploy_version="0.1.0", profiles=profiles
        )
        tree = Tree()
        tree.feed(text)
        tree.close()
        assert tree.open == [tree.root], "an element was never closed"
        return text, tree.root

    return draw
