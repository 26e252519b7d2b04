"""The knee of a curve: where going on begins to cost more than it brings.

The rule is the one of Satopää, Albrecht, Irwin, Raghavan, "Finding a 'Kneedle' in a haystack" (ICDCSW 2011), without
its smoothing: both axes are scaled to 0..1, a straight line is drawn from the first point to the last, and the knee is
the point that lies farthest below that line.
"""

from __future__ import annotations

from collections.abc import Sequence

#: a curve of fewer points has none, and neither has one that leaves the line by less than this share of its height
FEWEST = 3
_LEAST_DEPTH = 0.05
#: heights that differ by less than this share of the greatest are noise, whatever their shape
_LEAST_HEIGHT = 0.02
RULE = (
    "The knee is the point farthest below the straight line from the slowest to the fastest point, both axes scaled to "
    "the same length: up to it more speed is cheap, beyond it each further frame per second costs more energy than on "
    "average."
)


def knee(points: Sequence[tuple[float, float]]) -> int | None:
    """The index of the knee of a cost over a gain; None where no point stands out.

    There is none below three points, in a curve that is flat within 2 %, or in one that bends down from its line by
    less than 5 % of its height: a straight line, or one that bulges upwards, has no knee.

    Args:
        points: gain and cost of each; in any order.
    """
    order = sorted(range(len(points)), key=lambda index: points[index])
    if len(order) < FEWEST:
        return None
    gains, costs = [points[index][0] for index in order], [points[index][1] for index in order]
    width, height = gains[-1] - gains[0], max(costs) - min(costs)
    if width <= 0 or height <= _LEAST_HEIGHT * max(map(abs, costs)):
        return None
    slope = (costs[-1] - costs[0]) / width
    depths = [(costs[0] + slope * (gain - gains[0]) - cost) / height for gain, cost in zip(gains, costs, strict=True)]
    deepest = max(range(len(depths)), key=depths.__getitem__)
    return order[deepest] if depths[deepest] >= _LEAST_DEPTH else None
