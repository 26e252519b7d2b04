"""Which of the images found are judged, and what becomes of those that cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espdeploy.accuracy.datasets import OnBad, Pair
from espdeploy.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which of the images found are judged, and what labels are needed for.

    ``limit`` takes so many at most, evenly spread. ``skip_bad`` leaves out images that cannot be used; None where the
    command has no such option. ``labels_for`` is the option that means nothing without labels.
    """

    limit: int | None = None
    skip_bad: bool | None = None
    labels_for: str | None = None

    @property
    def on_bad(self) -> OnBad:
        """What to do about an image that cannot be used."""
        return OnBad(skip=bool(self.skip_bad), advice="" if self.skip_bad is None else "or leave it out: --skip-bad")


ALL_IMAGES = Selection()


def check_labelled(pairs: Sequence[Pair], data: Path, *, has_reference: bool, labels_for: str | None) -> None:
    """Refuse images without labels where these are needed.

    Raises:
        UsageError: there is nothing to score against, or to hold a limit against.
    """
    if pairs[0].label is not None:
        return
    if labels_for is not None:
        raise UsageError(f"{labels_for} needs labels for the images in {data}", do="add --labels DIR")
    if not has_reference:
        raise UsageError(
            f"there is nothing to score {data} against",
            do="add --labels DIR (espdeploy eval also takes --reference F.onnx, for agreement alone)",
        )
