"""What TensorRT's names of layers say: which operators a layer stands for, and what the builder put in between.

``a + b`` is computed as one, ``a || b`` beside each other, ``PWN(a, PWN(b))`` element by element;
``{ForeignNode[a...b]}`` is the part from a to b. ``Reformatting CopyNode for Input Tensor 0 to X`` changes a
tensor's layout for X, ``T copy`` moves T to where a Concat wants it, ``reshape_before_X`` and ``squeeze_after_X`` fit
shapes. Read off engines of TensorRT 7 to 10; from 10 on kernels of Myelin (``__myl_…``) tell their operators in the
layer information.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

COMPUTE, REFORMAT, COPY, QUANTIZE, SHAPE = "compute", "reformat", "copy", "quantize", "shape"
#: kinds that no operator of the network asks for
OVERHEAD = (REFORMAT, COPY, QUANTIZE, SHAPE)

#: the operator that a word names, None for words that name none
Known = Callable[[str], str | None]

_LONGEST = 20_000
_REFORMATTING = re.compile(
    r"Reformatting CopyNode for (?:(?:Input|Output) Tensor \d+ to|Network (?:Input|Output)) (.+)"
)
_MOVED = re.compile(r"(?:Copy for )?(.+?)(?:(?: copy| clone|_copy_(?:input|output)|_clone)(?:_?\d+)?)")
_FITTED = re.compile(
    r"(?:(?:un)?squeeze|reshape|transpose|shuffle|flatten)_(?:(?:node_)?(?:before|after|between))_(.+)"
)
_FOREIGN = re.compile(r"\{ForeignNode\[(.+)\]\}")
_POINTWISE = re.compile(r"PWN\((.*)\)")
_QUANTIZING = re.compile(
    r"(?:de)?quantize(?:_?linear)?(?![a-z])|_quantize_scale_node|_dequantize_scale_node", re.IGNORECASE
)
#: what the parser and the builder add to a name, from the outside in
_SUFFIX = re.compile(r"(?: \[[^\]]*\]|_myl\d+_\d+|_(?:de)?quantize_scale_node|_clone_\d+)$")
#: builders name the weights of a fusion too, where Q/DQ pairs stand round them
_WEIGHTS = re.compile(r"\.(?:weight|bias|running_\w+)$|^onnx::\w+_\d+$")
_MADE_UP = re.compile(r"ONNXTRT_|\(Unnamed Layer\*|__my[el]")
_SEPARATOR = re.compile(r" \+ | \|\| |, ?")
_NODE_OF = "node_of_"


@dataclass(frozen=True, kw_only=True)
class LayerName:
    """A name taken apart.

    ``words`` are the operators as they are spelled, or what is left of one that names none; ``spans`` the first and the
    last of parts that stand for all in between. For a kind of ``OVERHEAD`` both are what it was put in for.
    """

    kind: str
    words: tuple[str, ...]
    spans: tuple[tuple[str, str], ...] = ()


def taken_apart(name: str, known: Known = lambda _: None) -> LayerName:
    """Any text is taken; one that ``known`` knows as a whole is never parted, whatever it holds."""
    text = name.strip()[:_LONGEST]
    if known(text) is not None:
        return LayerName(kind=_kind((text,)), words=(text,))
    for kind, pattern in ((REFORMAT, _REFORMATTING), (COPY, _MOVED), (SHAPE, _FITTED)):
        match = pattern.fullmatch(text)
        if match is not None and (kind == REFORMAT or len(_parts(text, known)) == 1):
            inner = _inner(match[1], known)
            return LayerName(kind=kind, words=inner.words, spans=inner.spans)
    return _inner(text, known)


def spelling(word: str, known: Known) -> str | None:
    """The operator behind a word: as it stands, without what the builder added, or by the tensor that it writes."""
    for _ in range(4):
        found = known(word) or (known(word[len(_NODE_OF) :]) if word.startswith(_NODE_OF) else None)
        if found is not None:
            return found
        fitted = _FITTED.fullmatch(word)
        shorter = fitted[1] if fitted is not None else _SUFFIX.sub("", word)
        if shorter == word:
            return None
        word = shorter
    return None


def is_made_up(word: str) -> bool:
    """Whether the parser or the builder made the name, so that no operator has it."""
    return _MADE_UP.match(word) is not None


def _inner(text: str, known: Known) -> LayerName:
    words: dict[str, None] = {}
    spans: list[tuple[str, str]] = []
    for part in _flat(text, known):
        foreign = _FOREIGN.fullmatch(part)
        if foreign is None:
            words.setdefault(part)
            continue
        first, dots, last = foreign[1].partition("...")
        words.update(dict.fromkeys((*_ends(first), *_ends(last))))
        if dots and _ends(first) and _ends(last):
            spans.append((_ends(first)[0], _ends(last)[-1]))
    kind = COMPUTE if spans else _kind(tuple(words))
    return LayerName(kind=kind, words=tuple(words), spans=tuple(spans))


def _flat(text: str, known: Known) -> Iterator[str]:
    """The parts of a fusion, those of pointwise groups inside it too."""
    waiting = [text]
    while waiting:
        part = waiting.pop().strip()
        inner = _parts(part, known)
        pointwise = _POINTWISE.fullmatch(part) if len(inner) == 1 else None
        if pointwise is not None:
            waiting.append(pointwise[1])
        elif len(inner) > 1:
            waiting.extend(reversed(inner))
        elif part:
            yield part


def _parts(text: str, known: Known) -> list[str]:
    """A fusion parted at its signs, never inside brackets, and never inside a name that is known."""
    if known(text) is not None:
        return [text]
    found, begin, depth, at = [], 0, 0, 0
    while at < len(text):
        sign = _SEPARATOR.match(text, at) if depth == 0 else None
        if sign is not None:
            found.append(text[begin:at])
            begin = at = sign.end()
            continue
        depth += (text[at] in "([{") - (text[at] in ")]}")
        depth = max(depth, 0)
        at += 1
    return [*found, text[begin:]]


def _ends(text: str) -> list[str]:
    return [part.strip() for part in _SEPARATOR.split(text) if part.strip()]


def _kind(words: tuple[str, ...]) -> str:
    telling = [word for word in words if not is_made_up(word) and not _WEIGHTS.search(word)]
    if telling and all(_QUANTIZING.search(word.rpartition("/")[2]) for word in telling):
        return QUANTIZE
    return SHAPE if telling and all(_FITTED.fullmatch(word) for word in telling) else COMPUTE
