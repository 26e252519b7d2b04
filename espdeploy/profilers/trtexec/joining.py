"""Several files that trtexec wrote in one run: its log, and what it exported, as one document."""

from __future__ import annotations

from collections.abc import Sequence

from espdeploy.errors import UsageError

_OF_RUN = ("version", "passed", "command")


def join(documents: Sequence[dict[str, object]]) -> dict[str, object]:
    """Each key from the first file that tells it; layers are joined by name: times from one, precisions from another.

    Raises:
        UsageError: two of the files are logs, or time the layers of different engines, thus of two runs.
    """
    logs = [document for document in documents if document.get("passed") is not None]
    if len(logs) > 1:
        raise UsageError(
            f"{len(logs)} of the files are logs of trtexec: they are of different runs",
            do="give one log, with what the same run exported",
        )
    _check_layers(documents)
    together: dict[str, object] = {}
    for document in sorted(documents, key=lambda one: sum(one.get(key) is not None for key in _OF_RUN), reverse=True):
        for key, value in document.items():
            if together.get(key) in (None, [], {}):
                together[key] = value
    together["layers"] = _layers(documents)
    together["notes"] = _notes(documents)
    return together


def _check_layers(documents: Sequence[dict[str, object]]) -> None:
    timed = [{str(row["name"]) for row in _timed(document)} for document in documents]
    timed = [names for names in timed if names]
    for names in timed[1:]:
        common = len(names & timed[0])
        if 2 * common < min(len(names), len(timed[0])):
            raise UsageError(
                f"two of the files time the layers of different engines: {common} are in both, of {len(timed[0])} and "
                f"{len(names)}",
                do="give what one run wrote; espdeploy explain FIRST SECOND sets two engines side by side",
            )


def _timed(document: dict[str, object]) -> list[dict[str, object]]:
    return [row for row in _rows(document, "layers") if row.get("mean_ms") is not None]


def _layers(documents: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Those of the file that has times of them, with what the others tell of the same names."""
    tables = [_rows(document, "layers") for document in documents]
    tables.sort(key=lambda rows: all(row.get("mean_ms") is None for row in rows))
    if not tables or not tables[0]:
        return next((rows for rows in tables if rows), [])
    others = {str(row["name"]): row for rows in tables[:0:-1] for row in rows}
    return [_filled(row, others.get(str(row["name"]), {})) for row in tables[0]]


def _filled(row: dict[str, object], other: dict[str, object]) -> dict[str, object]:
    return {**row, **{key: value for key, value in other.items() if row.get(key) is None}}


def _rows(document: dict[str, object], key: str) -> list[dict[str, object]]:
    value = document.get(key)
    return value if isinstance(value, list) else []


def _notes(documents: Sequence[dict[str, object]]) -> list[str]:
    found = [document.get("notes") for document in documents]
    return list(dict.fromkeys(str(note) for notes in found if isinstance(notes, list) for note in notes))
