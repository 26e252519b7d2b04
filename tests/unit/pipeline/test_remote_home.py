"""What a command makes on another machine, and where that belongs on this one."""

from __future__ import annotations

from pathlib import Path

import pytest

from espdeploy.pipeline.remote.home import Home, home_of, redirected, texts_here


@pytest.mark.parametrize(
    ("words", "home", "there"),
    [
        ("bench n.onnx --results=r", Home(records=Path("r")), "bench n.onnx --results /f"),
        ("bench n.onnx --freq 624 --dry-run", Home(), ""),
        ("build n.onnx -od/n.engine --json", Home(output=Path("d/n.engine")), "build n.onnx --json -o /f/o/n.engine"),
        ("build n.onnx", Home(), ""),
        ("run-bundle d/n.tar", Home(output=Path("n.results.tar")), "run-bundle d/n.tar -o /f/o/n.results.tar"),
        ("run-bundle n.tar --output x.tar", Home(output=Path("x.tar")), "run-bundle n.tar -o /f/o/x.tar"),
        (
            "profile n.engine",
            Home(profiles=Path("results"), output=Path("profile"), in_folder=True),
            "profile n.engine --results /f -o /f/o/profile",
        ),
        ("doctor --device tx2", Home(), ""),
    ],
)  # fmt: skip
def test_what_is_made_is_written_below_a_folder_of_ours(words: str, home: Home, there: str) -> None:
    found = home_of(words.split())
    assert found == home
    assert found.anything == bool(there)
    if there:
        assert redirected(words.split(), found, "/f") == there.split()
    for place in texts_here(found, "/f").values():
        assert not place.startswith("/f")
