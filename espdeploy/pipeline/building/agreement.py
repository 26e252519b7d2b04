"""How far an engine's answers may be from those of the graph that it was made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from espdeploy.protocols import Tensor

#: Root mean square error over the root mean square of the answers, in percent. FP32 engines differ by the order of
#: additions, and where a network chooses places by comparing values (ENet) a few go elsewhere. In lower precision a
#: value near a rounding edge falls to one side here and to the other there, and the layers behind it carry that on:
#: 1 to 5 % on ESPNet. What is wrongly computed is off by 50 % and more.
LIMITS_PCT = {"fp32": 2.0, "fp16": 10.0, "bf16": 25.0, "int8": 25.0, "mixed": 25.0}


def rms_error_pct(right: Sequence[Tensor], got: Sequence[Tensor]) -> float:
    """The largest relative root mean square error over the outputs, in percent; infinite where a shape differs or an
    answer is not finite."""
    worst = 0.0
    for expected, found in zip(right, got, strict=True):
        if expected.shape != found.shape or not np.isfinite(found).all():
            return math.inf
        reference = expected.astype(np.float64)
        error = float(np.sqrt(np.mean((found.astype(np.float64) - reference) ** 2)))
        scale = float(np.sqrt(np.mean(reference**2)))
        worst = max(worst, 100.0 * error / scale if scale else (math.inf if error else 0.0))
    return worst
