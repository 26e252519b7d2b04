"""Readers of small files under /proc, /sys and /etc, where anything may be absent or refuse to be read."""

from __future__ import annotations

from pathlib import Path


def text_of(path: Path) -> str | None:
    """The file's text without NUL bytes and outer blanks; None where it is absent, unreadable or empty."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    return content.replace(b"\0", b"\n").decode("utf-8", errors="replace").strip() or None


def int_of(path: Path) -> int | None:
    """The whole number that the file holds; None where it holds none."""
    text = text_of(path)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def field_of(path: Path, key: str, *, separator: str) -> str | None:
    """The value of the first ``key<separator>value`` line; None where there is none, or it is empty."""
    for line in (text_of(path) or "").splitlines():
        name, found, value = line.partition(separator)
        if found and name.strip() == key:
            return value.strip().strip('"') or None
    return None
