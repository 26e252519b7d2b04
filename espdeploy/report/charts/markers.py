"""Marks for points: the kinds differ in colour and shape."""

from __future__ import annotations

import math

from markupsafe import Markup

from espdeploy.report.charts.svg import coordinate, element, path

COLOURS = 7
_SHAPES = ("circle", "square", "triangle", "diamond", "cross", "star")
_RADIUS = 5.0


def marker(at: tuple[float, float], kind: int, *children: Markup, hollow: bool = False) -> Markup:
    """A mark at ``at`` in user units, in colour and shape of the series ``kind``; ``hollow`` was not measured."""
    colour = f"c{kind % COLOURS + 1}"
    shape = _SHAPES[kind % len(_SHAPES)]
    classes = f"mark marker {colour} {shape}{' hollow' if hollow else ''}"
    if shape == "circle":
        return element("circle", *children, class_=classes, cx=at[0], cy=at[1], r=_RADIUS)
    return element("path", *children, class_=classes, d=_outline(at, shape))


def _outline(at: tuple[float, float], shape: str) -> str:
    x, y, r = at[0], at[1], _RADIUS
    if shape == "cross":
        ends = (f"M{coordinate(x - r)} {coordinate(y)}H{coordinate(x + r)}", f"M{coordinate(x)} {coordinate(y - r)}")
        return f"{ends[0]}{ends[1]}V{coordinate(y + r)}"
    corners = {"square": 4, "triangle": 3, "diamond": 4, "star": 5}[shape]
    turn = math.pi / 4 if shape == "square" else math.pi / 2
    radii = [r * 1.3, r * 0.55] if shape == "star" else [r * 1.25]
    steps = corners * len(radii)
    angles = [turn + 2 * math.pi * step / steps for step in range(steps)]
    reach = [radii[step % len(radii)] for step in range(steps)]
    return path([(x + c * math.cos(a), y - c * math.sin(a)) for a, c in zip(angles, reach, strict=True)], close=True)
