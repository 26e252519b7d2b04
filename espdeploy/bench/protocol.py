"""How a measurement was made, with an id that two records must share to be compared."""

from __future__ import annotations

import hashlib
import json

from espdeploy.bench import warmup
from espdeploy.records import Protocol
from espdeploy.specs import BenchSpec

#: raised when the loop changes in a way that moves its times
LOOP_VERSION = "v1"
_ID_HEX_DIGITS = 8


def build(
    spec: BenchSpec,
    *,
    threads: int | None,
    batch: int,
    transfers: str | None = None,
    cuda_graph: bool | None = None,
    spin_wait: bool | None = None,
    clock: str = "perf_counter_ns",
    warmup_rule: str = warmup.RULE,
) -> Protocol:
    """The protocol of one measurement.

    Args:
        spec: how long and how often.
        threads: worker threads of the runtime; None where the runtime has no such notion.
        batch: images in one inference.
        transfers: ``included`` or ``excluded`` host-device copies; None where there are none.
        cuda_graph: whether launches were replayed from a CUDA graph; None without CUDA.
        spin_wait: whether the host spun instead of sleeping until the device was done; None without CUDA.
        clock: what took the times; a vendor tool's own clock makes another protocol.
        warmup_rule: the rule that ended the warm-up; a vendor tool has its own.
    """
    return Protocol(
        id=_identity(
            {
                "threads": threads,
                "batch": batch,
                "transfers": transfers,
                "cuda_graph": cuda_graph,
                "spin_wait": spin_wait,
                "clock": clock,
                "warmup": warmup_rule if spec.warmup_max_s > 0 else "none",
            }
        ),
        warmup_s=spec.warmup_min_s,
        min_trials=spec.trials,
        cuda_graph=cuda_graph,
        spin_wait=spin_wait,
        transfers=transfers,
        threads=threads,
        batch=batch,
        clock=clock,
        seed=spec.seed,
    )


def _identity(fields: dict[str, str | int | bool | None]) -> str:
    """``v1-`` and 8 hex digits of the SHA-256 of every field that makes times incomparable.

    Left out on purpose: the number of trials and the seed (they move the uncertainty, not the value), and
    the seconds of warm-up (the rule waits for steady times however long that takes, and a record says where
    it did not get there). No warm-up at all is another protocol: its times are cold ones.
    """
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return f"{LOOP_VERSION}-{hashlib.sha256(text.encode()).hexdigest()[:_ID_HEX_DIGITS]}"
