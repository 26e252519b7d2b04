"""Commands that make ncu print what ``document.parse`` reads: a raw page of named counters.

Counters make ncu replay each kernel, so they belong in a run of their own. Source: ``ncu --help`` of 2020.3, 2022.3 and
2024.1, and the Nsight Compute CLI guide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from espdeploy.errors import UsageError
from espdeploy.profilers.names import own_word
from espdeploy.profilers.vocabulary import ncu_counters

#: no marks of thousands in figures
ENVIRONMENT = {"LC_ALL": "C"}
#: compute capabilities of Jetsons (Xavier, Orin), whose GPUs have no counters of memory traffic
WITHOUT_DRAM = frozenset({"7.2", "8.7"})
_COUNTER = re.compile(r"[A-Za-z][A-Za-z0-9_.:]{0,199}")
_RELEASE = re.compile(r"^Version (20\d\d)\.(\d{1,2})\b", re.MULTILINE)
#: from here on a regular expression is marked: until then -k was --kernel-regex
_MARKED = (2021, 1)


@dataclass(frozen=True, kw_only=True)
class NcuPlan:
    """One run of a program below ncu.

    Attributes:
        application: its command; a script needs its interpreter before it.
        log: where ncu writes, apart from what the program prints.
        compute_capability: of the GPU, such as ``8.7``; it tells which counters there are.
        counters: what to count instead of the vocabulary's.
        kernels: those to count for, by their demangled names; none for all.
        launches: how many launches to count for, the first that fit; None for all.
        skipped_launches: how many that fit to pass over before: warm-up.
        release: of the tool (:func:`release_of`).
        base_clocks: True locks the GPU to its base clocks; else they stay as espdeploy has set them.
        warm_caches: True leaves caches as the kernel before left them, as they are in a real run.
        from_start: False where the program says itself when to begin (cudaProfilerStart).
    """

    application: tuple[str, ...]
    log: Path
    compute_capability: str | None = None
    counters: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    launches: int | None = None
    skipped_launches: int = 0
    release: tuple[int, ...] = _MARKED
    base_clocks: bool = False
    warm_caches: bool = False
    from_start: bool = True


def command(plan: NcuPlan, *, program: str = "ncu") -> tuple[str, ...]:
    """The whole command, to be run with ``ENVIRONMENT``.

    Raises:
        UsageError: there is no program, a counter's name is none, or a number of launches is not positive.
    """
    _check(plan)
    options = ["--csv", "--page", "raw", "--print-units", "base", "--log-file", str(plan.log)]
    options += ["--target-processes", "all", "--clock-control", "base" if plan.base_clocks else "none"]
    if plan.warm_caches:
        options += ["--cache-control", "none"]
    if not plan.from_start:
        options += ["--profile-from-start", "off"]
    if plan.kernels:
        options += ["-k", kernel_scope(plan.kernels, release=plan.release)]
    if plan.skipped_launches:
        options += ["--launch-skip", str(plan.skipped_launches)]
    if plan.launches is not None:
        options += ["--launch-count", str(plan.launches)]
    options += ["--metrics", ",".join(counters(plan))]
    return (program, *options, *plan.application)


def counters(plan: NcuPlan) -> tuple[str, ...]:
    """What a plan counts: each entry of the vocabulary once, in one run, and each kernel's time."""
    if plan.counters:
        return tuple(dict.fromkeys(("gpu__time_duration.sum", *plan.counters)))
    return ncu_counters(dram=plan.compute_capability not in WITHOUT_DRAM)


def kernel_scope(kernels: tuple[str, ...], *, release: tuple[int, ...] = _MARKED) -> str:
    """What ``-k`` takes: a regular expression of the kernels' own names, to which later releases want a mark.

    Tools spell templates and anonymous namespaces differently, so
    ``void at::native::copy_kernel<int, (anonymous namespace)::F>(int)`` is told by ``copy_kernel``, and with it all its
    instantiations.
    """
    mark = "regex:" if release >= _MARKED else ""
    return f"{mark}^({'|'.join(dict.fromkeys(own_word(kernel) for kernel in kernels))})$"


def release_of(said: str) -> tuple[int, ...] | None:
    """The release that ``ncu --version`` prints; None where it prints none."""
    match = _RELEASE.search(said)
    return (int(match[1]), int(match[2])) if match else None


def _check(plan: NcuPlan) -> None:
    if not plan.application:
        raise UsageError(
            "there is nothing to profile", why="no program is named", do="name the command to run below ncu"
        )
    wrong = next((name for name in plan.counters if not _COUNTER.fullmatch(name)), None)
    if wrong is not None:
        raise UsageError(
            f"{wrong!r} is no counter of ncu's",
            why="counters are named like sm__warps_active.avg.pct_of_peak_sustained_active",
            do="see ncu --query-metrics",
        )
    if (plan.launches is not None and plan.launches < 1) or plan.skipped_launches < 0:
        raise UsageError(
            f"{plan.launches} launches after {plan.skipped_launches} cannot be profiled",
            why="there is nothing to count",
            do="ask for at least one launch, or leave the number out",
        )
