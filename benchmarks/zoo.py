"""The zoo: building each network (limit 1 s, PyTorch loaded), and `espdeploy models` (limit 4 s)."""

from __future__ import annotations

import statistics
import time

from common import ESPDEPLOY, spread, timed_s, write

RUNS = 5


def build_s(name: str) -> float:
    from espdeploy.networks.build import build
    from espdeploy.specs import ModelSpec

    started = time.perf_counter()
    build(ModelSpec(name=name))
    return time.perf_counter() - started


def main() -> None:
    import torch  # noqa: F401 - its import is not part of a build

    from espdeploy.networks.registry import REGISTRY

    build_s("espnet")  # the first count in a process loads PyTorch's meta kernels
    figures: dict[str, object] = {"limit_build_s": 1, "limit_models_s": 4}
    figures["build_median_s"] = {name: statistics.median(build_s(name) for _ in range(RUNS)) for name in REGISTRY}
    timed_s([*ESPDEPLOY, "models"])
    figures["espdeploy_models_s"] = spread([timed_s([*ESPDEPLOY, "models"]) for _ in range(RUNS)])
    write("zoo", figures)


if __name__ == "__main__":
    main()
