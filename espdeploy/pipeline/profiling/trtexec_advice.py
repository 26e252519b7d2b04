"""What to do about the errors in a log of trtexec."""

from __future__ import annotations

_GENERIC = "run it by hand with --verbose added to see more"
_MOST_TEXT = 100_000


def with_advice(document: dict[str, object], end: str) -> dict[str, object]:
    """A document of trtexec's, and each of its errors with ``do``.

    Args:
        document: with the keys of ``parse``.
        end: the last text of the log. Lines without a mark often tell more than the error; those of a log of several
            runs are left out, since they may be of another run.
    """
    if "errors" not in document:
        return document
    runs = document.get("runs")
    whole = "" if runs or not document["errors"] else _do(end)
    advised = {**document, "errors": _advised(document["errors"], whole)}
    if isinstance(runs, list):
        advised["runs"] = [{**run, "errors": _advised(run.get("errors"), "")} for run in runs]
    return advised


def _advised(errors: object, do: str) -> list[dict[str, object]]:
    if not isinstance(errors, list) or not errors:
        return []
    texts = [str(error["text"]) for error in errors]
    together = do or _do("\n".join(texts)[:_MOST_TEXT])
    return [{**error, "do": do or _do(text) or together or _GENERIC} for error, text in zip(errors, texts, strict=True)]


def _do(text: str) -> str:
    from espdeploy.backends.trtexec.failures import diagnose

    known = diagnose(text)
    return known.error.do if known else ""
