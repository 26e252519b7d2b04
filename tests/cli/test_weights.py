"""`espdeploy weights` and `--weights NAME`: the list, what is here already, no network, and the way into a network."""

from __future__ import annotations

import dataclasses
import http.server
import re
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from espdeploy.pipeline import weights
from espdeploy.protocols import no_progress
from espdeploy.weights.remote import Limits
from tests.cli.conftest import Run, assert_contract_error, start

NAME = "espnet_p_2_q_3.pth"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection goes to a port where nothing listens."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)


@pytest.fixture
def served(data_dir: Path) -> Iterator[str]:
    """The folder with the real checkpoints, behind Python's own server."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(data_dir / "weights/espnet"))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            """Nothing: pytest captures what the command says."""

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}"
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


def test_the_list_names_address_checksum_and_licence(run: Run) -> None:
    files = {item["name"]: item for item in run("weights", "list", "--json").document}
    assert len(files) >= 7
    for item in files.values():
        assert item["url"] is None or re.fullmatch(r"https://raw\.githubusercontent\.com/\S+\.pth", item["url"])
        if item["read"]:
            assert re.fullmatch("[0-9a-f]{64}", item["sha256"])
            assert item["licence"] == "MIT"
            assert item["size_bytes"] > 400_000
            assert item["url"]
            assert item["cached"] is None
        else:
            assert item["sha256"] is None
    one = run("weights", "list", NAME, "--json").document
    assert one == files[NAME]
    # a pinned commit: what stands there cannot change
    assert re.search("/[0-9a-f]{40}/pretrained/decoder/espnet_p_2_q_3.pth$", one["url"])


def test_the_list_for_people_fits_a_terminal(run: Run) -> None:
    shown = run("weights", "list").out
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 120
    assert NAME.removesuffix(".pth") in shown
    assert "https://" in run("weights", "list", "espnet_p_2_q_3").out


def test_the_group_alone_shows_its_help(run: Run) -> None:
    ran = run("weights")
    assert ran.code == 0
    assert "fetch" in ran.out
    assert_contract_error(run("weights", "ftch"), 2, "fetch")


@pytest.mark.usefixtures("offline")
def test_without_a_network_the_error_says_what_to_do_by_hand(run: Run, tmp_path: Path) -> None:
    ran = run("weights", "fetch", NAME)
    assert_contract_error(ran, 3, "https://raw.githubusercontent.com", str(tmp_path / "cache/weights" / NAME))
    document = run("weights", "fetch", "espnet_p_2_q_3", "--json").document
    assert document["error"]["code"] == 3
    assert not (tmp_path / "cache/weights" / NAME).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_download_ends_with_130(tmp_path: Path, number: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a proxy that takes the request and says nothing
        proxy = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = start(["weights", "fetch", NAME], tmp_path, https_proxy=proxy, no_proxy="", NO_PROXY="")
        silent.settimeout(30)
        connection, _ = silent.accept()
        with connection:
            assert b"CONNECT raw.githubusercontent.com:443" in connection.recv(1000)
            process.send_signal(number)
            _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"do: espdeploy weights fetch {NAME}" in err
    assert "Traceback" not in err
    assert not (tmp_path / "cache/weights" / NAME).exists()


def test_what_cannot_be_fetched_is_refused_before_any_request(run: Run) -> None:
    assert_contract_error(run("weights", "fetch", "espnet_p_2_q"), 2, "espnet_p_2_q_")
    assert_contract_error(run("weights", "fetch", "espnet_p_2_q_5"), 3, "checksum", "https://")
    assert_contract_error(run("weights", "fetch", "espnetv2_s_1.0"), 3, "not published at a known address")


def test_a_released_name_that_is_not_here_names_the_command(run: Run) -> None:
    ran = run("export", "--model", "espnet", "--weights", NAME)
    assert_contract_error(ran, 2, NAME, f"espdeploy weights fetch {NAME}")
    assert_contract_error(run("export", "--model", "espnet", "--weights", f"some/{NAME}"), 2, f"some/{NAME}")


@pytest.mark.data
@pytest.mark.usefixtures("offline")
def test_a_file_saved_by_hand_is_found_without_a_network(run: Run, tmp_path: Path, data_dir: Path) -> None:
    place = tmp_path / "cache/weights" / NAME
    place.parent.mkdir(parents=True)
    shutil.copyfile(data_dir / "weights/espnet" / NAME, place)
    ran = run("weights", "fetch", NAME)
    assert (ran.code, ran.out.strip()) == (0, str(place))
    assert "nothing was fetched" in ran.err
    (tmp_path / "mine").mkdir()
    document = run("weights", "fetch", NAME, "-o", "mine", "--json").document
    assert document["cached"] is True
    assert document["received_bytes"] == 0
    assert (tmp_path / document["output"]).read_bytes() == place.read_bytes()
    assert run("weights", "list", NAME, "--json").document["cached"] == str(place)


@pytest.mark.data
def test_a_fetched_file_is_exported_by_its_name(run: Run, tmp_path: Path, served: str) -> None:
    pytest.importorskip("torch")
    chosen = weights.find("espnet_p_2_q_3")
    from_here = dataclasses.replace(
        chosen, checkpoint=dataclasses.replace(chosen.checkpoint, url=f"{served}/{chosen.name}")
    )
    done = weights.fetch_weights(from_here, None, no_progress, limits=Limits(loopback_http=True))
    assert done.output == tmp_path / "cache/weights" / NAME
    assert done.next_command == f"espdeploy export --model espnet --weights {NAME}"
    ran = run("export", "--model", "espnet", "--weights", "espnet_p_2_q_3", "--size", "64x48", "-o", "n.onnx", "--json")
    assert ran.code == 0, ran.err
    assert ran.document["weights"] == NAME
    assert ran.document["params"] == 202_649
