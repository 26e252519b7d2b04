"""Rectangles and texts as an SVG or a PNG picture."""

from __future__ import annotations

import html
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from espdeploy.artifacts import write_atomic
from espdeploy.errors import UsageError

SUFFIXES = (".svg", ".png")

_PNG_SCALE = 2  # pixels for a user unit: letters of 11 units are read easily
_ANCHORS = {"start": "lm", "middle": "mm", "end": "rm"}
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_CONTROLS = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), 0xFFFE, 0xFFFF), _REPLACEMENT)


@dataclass(frozen=True, kw_only=True)
class Box:
    """A filled rectangle; ``told`` is shown where the pointer rests on it (SVG)."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    told: str = ""


@dataclass(frozen=True, kw_only=True)
class Words:
    """A line of text whose middle height is at ``y``; ``anchor`` is the part of it that is at ``x``.

    Upright text reads from bottom to top and starts at (x, y).
    """

    x: float
    y: float
    text: str
    size: float = 12.0
    fill: str = "#1f2933"
    anchor: str = "start"
    upright: bool = False


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A picture: its size in user units, its title for readers that do not see, and its parts from back to front."""

    width: float
    height: float
    title: str
    parts: tuple[Box | Words, ...]


def check_suffix(path: Path) -> None:
    """Refuse a file name of another kind.

    Raises:
        UsageError: neither ``.svg`` nor ``.png``.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"{path} is neither an .svg nor a .png file", do=f"give a name such as {path.with_suffix('.svg')}"
        )


def write(path: Path, drawing: Drawing) -> None:
    """Write the picture, as PNG or SVG by the file's suffix, at once or not at all.

    Raises:
        UsageError: another suffix.
        MissingCapability: the file cannot be written.
    """
    check_suffix(path)
    write_atomic(path, png(drawing) if path.suffix.lower() == ".png" else svg(drawing))


def svg(drawing: Drawing) -> bytes:
    """The picture as a stand-alone SVG file."""
    size = f'width="{drawing.width:g}" height="{drawing.height:g}" viewBox="0 0 {drawing.width:g} {drawing.height:g}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="system-ui, sans-serif">',
        f"<title>{_escaped(drawing.title)}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        *(_svg_box(part) if isinstance(part, Box) else _svg_words(part) for part in drawing.parts),
        "</svg>\n",
    ]
    return "\n".join(lines).encode()


def png(drawing: Drawing) -> bytes:
    """The picture as a PNG file, two pixels for a user unit."""
    size = (round(drawing.width * _PNG_SCALE), round(drawing.height * _PNG_SCALE))
    image = Image.new("RGB", size, "#ffffff")
    draw = ImageDraw.Draw(image)
    for part in drawing.parts:
        if isinstance(part, Box):
            right, bottom = part.x + part.width, part.y + part.height
            corners = [round(_PNG_SCALE * value) for value in (part.x, part.y, right, bottom)]
            draw.rectangle((corners[0], corners[1], corners[2] - 1, corners[3] - 1), fill=part.fill)
        elif part.upright:
            _png_upright(image, part)
        else:
            place = (part.x * _PNG_SCALE, part.y * _PNG_SCALE)
            draw.text(place, _plain(part.text), fill=part.fill, font=_font(part), anchor=_ANCHORS[part.anchor])
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _svg_box(box: Box) -> str:
    place = f'x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}" fill="{box.fill}"'
    return f"<rect {place}><title>{_escaped(box.told)}</title></rect>" if box.told else f"<rect {place}/>"


def _svg_words(words: Words) -> str:
    turned = f' transform="rotate(-90 {words.x:g} {words.y:g})"' if words.upright else ""
    anchor = f' text-anchor="{words.anchor}"' if words.anchor != "start" else ""
    # a third of the font size below the middle: "dominant-baseline" is not known to every viewer
    place = f'x="{words.x:g}" y="{words.y:g}" dy="{words.size * 0.35:.1f}" font-size="{words.size:g}"'
    return f'<text {place} fill="{words.fill}"{anchor}{turned} pointer-events="none">{_escaped(words.text)}</text>'


def _png_upright(image: Image.Image, words: Words) -> None:
    font = _font(words)
    text = _plain(words.text)
    length = int(font.getlength(text)) + 2
    height = round(words.size * _PNG_SCALE * 1.5)
    strip = Image.new("L", (length, height), 0)
    ImageDraw.Draw(strip).text((0, height / 2), text, fill=255, font=font, anchor="lm")
    turned = strip.rotate(90, expand=True)
    place = (round(words.x * _PNG_SCALE - height / 2), round(words.y * _PNG_SCALE - length))
    image.paste(words.fill, (place[0], place[1], place[0] + turned.width, place[1] + turned.height), turned)


def _font(words: Words) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(words.size * _PNG_SCALE)


def _escaped(text: str) -> str:
    return html.escape(_plain(text))


def _plain(text: str) -> str:
    """One line without control characters and lone surrogates, which XML cannot hold and Pillow does not draw."""
    return text.translate(_CONTROLS).encode("utf-8", "replace").decode()
