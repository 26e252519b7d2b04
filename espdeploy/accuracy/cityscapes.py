"""Cityscapes' two label encodings: the ids that its files hold, and the train ids that networks predict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: the train id of pixels without an evaluated class
VOID = 255

#: the ids of the 19 classes that are evaluated, in the order of their train ids
_EVALUATED_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_LAST_ID = 33


def train_ids(labels: NDArray[np.integer]) -> NDArray[np.integer]:
    """Label ids (``*_labelIds.png``) as train ids 0..18; ids that are not evaluated become 255.

    Values above 33 are no Cityscapes ids and stay as they are, so that the check of label values finds them.
    """
    table = np.full(_LAST_ID + 1, VOID, dtype=labels.dtype)
    for train_id, label_id in enumerate(_EVALUATED_IDS):
        table[label_id] = train_id
    known = labels <= _LAST_ID
    result: NDArray[np.integer] = labels.copy()
    result[known] = table[labels[known]]
    return result
