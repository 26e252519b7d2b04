"""What `espdeploy export --model espnet` costs: wall time (limit 25 s) and peak memory (limit 2 GB)."""

from __future__ import annotations

import tempfile
from pathlib import Path

from common import ESPDEPLOY, peak_rss_mb, spread, write

RUNS = 3


def main() -> None:
    figures: dict[str, object] = {"limit_s": 25, "limit_mb": 2000}
    with tempfile.TemporaryDirectory() as folder:
        for device in ("cpu", "tx2"):
            argv = [*ESPDEPLOY, "export", "--model", "espnet", "--device", device, "-o", "net.onnx"]
            runs = [peak_rss_mb(argv, Path(folder)) for _ in range(RUNS)]
            figures[device] = {
                "wall_s": spread([wall for wall, _ in runs]),
                "peak_rss_mb": spread([peak for _, peak in runs]),
            }
    write("export_cost", figures)


if __name__ == "__main__":
    main()
