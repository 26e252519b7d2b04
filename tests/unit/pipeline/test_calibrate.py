"""What the command line cannot show of ``calibrate``: memory on systems that tell it otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from espdeploy.pipeline.calibrating.calibrate import peak_rss_mb


def test_the_peak_is_the_systems_own_in_megabytes(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/status").write_text("Name:\tpython\nVmHWM:\t  1000000 kB\nVmRSS:\t 900000 kB\n")
    assert peak_rss_mb(tmp_path) == 1024.0


@pytest.mark.parametrize("content", [None, "", "Name:\tpython\n", "VmHWM:\n", "VmHWM:\tmuch kB\n"])
def test_where_it_is_not_told_it_is_unknown(content: str | None, tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    if content is not None:
        (tmp_path / "proc/self/status").write_text(content)
    assert peak_rss_mb(tmp_path) is None
