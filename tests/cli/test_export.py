"""`espdeploy export` and `build`: the files, their metadata, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Run, assert_contract_error

onnx = pytest.importorskip("onnx")
pytest.importorskip("torch")
ort = pytest.importorskip("onnxruntime")

DEFAULT = ["export", "--model", "espnet-c", "--set", "alpha3=1", "--size", "64x48"]
#: where the exporter makes no difference: that of opset 13 takes a fifth of the time
SMALL = [*DEFAULT, "--opset", "13"]
KEYS = {"output", "model", "params", "macs", "opset", "nodes_before", "nodes_after", "parity"}
FACTORY = """
import torch
class Net(torch.nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, width, 3, padding=1)
    def forward(self, x):
        return self.conv(x).relu()
def net(width=4):
    return Net(width)
def broken():
    raise ValueError("no such width")
def unexportable():
    class Unpool(torch.nn.Module):
        def forward(self, x):
            y, i = torch.nn.functional.max_pool2d(x, 2, return_indices=True)
            return torch.nn.functional.max_unpool2d(y, i, 2)
    return Unpool()
"""


def test_the_opset_follows_the_device_and_the_file_is_one(run: Run, tmp_path: Path) -> None:
    for device, opset in (("tx2", 13), ("cpu", 20)):
        ran = run(*DEFAULT, "--device", device, "-o", f"{device}.onnx", "--json")
        assert ran.code == 0, ran.err
        assert set(ran.document) >= KEYS
        assert ran.document["opset"] == opset
        model = onnx.load(tmp_path / f"{device}.onnx", load_external_data=False)
        assert [entry.version for entry in model.opset_import if entry.domain == ""] == [opset]
        assert not any(tensor.external_data for tensor in model.graph.initializer)
        assert model.ir_version <= 10
        assert ran.document["parity"]["max_rel_err"] < 1e-4
        assert ran.document["parity"]["argmax_agreement_pct"] > 99.95
    written = {path.name for path in tmp_path.iterdir()} - {"cache"}
    assert written == {"tx2.onnx", "cpu.onnx"}


def test_what_a_user_needs_travels_as_metadata(run: Run, tmp_path: Path) -> None:
    assert run(*SMALL, "-o", "net.onnx").code == 0
    session = ort.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    card = json.loads(session.get_modelmeta().custom_metadata_map["espdeploy.card"])
    assert card["name"] == "espnet-c"
    assert card["settings"]["alpha3"] == 1
    assert card["classes"]["names"][0] == "road"
    assert len(card["classes"]["palette"]) == 20
    assert card["preprocessing"]["channel_order"] == "BGR"
    assert card["preprocessing"]["mean"] == pytest.approx([72.3923111, 82.90893555, 73.15840149])


def test_a_dynamic_batch_runs_at_any_batch(run: Run, tmp_path: Path) -> None:
    assert run(*SMALL, "--batch", "dynamic", "-o", "net.onnx").code == 0
    session = ort.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).standard_normal((3, 3, 48, 64), dtype=np.float32)
    together = session.run(None, {"input": images})[0]
    alone = [session.run(None, {"input": images[i : i + 1]})[0] for i in range(3)]
    assert np.allclose(together, np.concatenate(alone), atol=1e-5)


def test_the_default_name_says_what_it_holds(run: Run, tmp_path: Path) -> None:
    assert run(*SMALL).code == 0
    assert (tmp_path / "espnet-c_64x48.onnx").is_file()


def test_passes_can_be_verified_one_by_one_and_left_out(run: Run) -> None:
    verified = run(*SMALL, "--verify-passes", "--json", "-o", "a.onnx").document
    plain = run(*SMALL, "--no-simplify", "--json", "-o", "b.onnx").document
    assert verified["nodes_after"] <= verified["nodes_before"]
    assert plain["nodes_after"] == plain["nodes_before"]


def test_an_onnx_file_goes_through_the_passes_too(run: Run, small_onnx: Path) -> None:
    ran = run("export", "--model", small_onnx, "-o", "again.onnx", "--json")
    assert ran.code == 0, ran.err
    assert ran.document["parity"]["max_rel_err"] < 1e-5
    for option in (["--size", "32x32"], ["--opset", "13"], ["--set", "alpha3=2"], ["--batch", "4"]):
        assert_contract_error(run("export", "--model", small_onnx, *option), 2, option[0])


def test_a_factory_of_the_users_own(run: Run, tmp_path: Path) -> None:
    (tmp_path / "users_net.py").write_text(FACTORY)
    ran = run("export", "--model", "users_net:net", "--set", "width=6", "--size", "20x12", "-o", "n.onnx", "--json")
    assert ran.code == 0, ran.err
    assert ran.document["params"] == 6 * 3 * 9 + 6
    assert ran.document["macs"] == 6 * 3 * 9 * 20 * 12
    assert ran.document["input_shape"] == [1, 3, 12, 20]
    assert_contract_error(run("export", "--model", "users_net:broken"), 2, "no such width")
    assert_contract_error(run("export", "--model", "users_net:nothing"), 2, "nothing")
    failed = run("export", "--model", "users_net:unexportable", "--size", "16x16", "--opset", "13", "-o", "u.onnx")
    assert_contract_error(failed, 4, "max_unpool2d")
    assert not (tmp_path / "u.onnx").exists()


@pytest.mark.data
def test_the_released_checkpoint_is_recognised(run: Run, data_dir: Path) -> None:
    weights = data_dir / "weights/espnet/espnet_p_2_q_8_camvid.pth"
    small = ["--size", "96x64", "--opset", "13"]
    document = run("export", "--model", "espnet", "--weights", weights, *small, "--json").document
    assert document["params"] == 354_517
    assert document["weights"] == "espnet_p_2_q_8_camvid.pth"
    assert_contract_error(
        run("export", "--model", "espnet", "--weights", weights, "--set", "alpha3=3"), 2, "alpha3", "8", "3"
    )
    assert_contract_error(run("export", "--model", "espnet-c", "--weights", weights), 2, "espnet")


@pytest.mark.data
def test_a_damaged_checkpoint_leaves_nothing_behind(run: Run, data_dir: Path, tmp_path: Path) -> None:
    whole = (data_dir / "weights/espnet/espnet_p_2_q_3.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "html.pth").write_text("<html>404</html>")
    (tmp_path / "empty.pth").write_bytes(b"")
    for name in ("cut.pth", "html.pth", "empty.pth", "missing.pth"):
        ran = run("export", "--model", "espnet", "--weights", name, "-o", "net.onnx")
        assert_contract_error(ran, 2, name)
    assert not (tmp_path / "net.onnx").exists()


def test_a_place_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert_contract_error(run(*SMALL, "-o", "file/net.onnx"), 3, "file/net.onnx")


def test_an_engine_has_a_passport_and_is_found_again(run: Run, small_onnx: Path, tmp_path: Path) -> None:
    for runtime in ("onnxruntime", "openvino"):
        pytest.importorskip(runtime)
        first = run("build", small_onnx, "--device", "cpu", "--runtime", runtime, "--json").document
        again = run("build", small_onnx, "--device", "cpu", "--runtime", runtime, "--json").document
        assert (first["cache"], again["cache"]) == ("built", "hit")
        assert first["engine"] == again["engine"]
        assert first["layers"]["convolution_precision_pct"] == {"fp32": 100.0}
        passport = json.loads(Path(first["engine"] + ".json").read_text())
        assert passport["runtime"] == runtime
        assert passport["onnx"] == "small.onnx"


def test_an_engine_that_was_changed_after_it_was_built_is_refused(run: Run, small_onnx: Path, tmp_path: Path) -> None:
    engine = tmp_path / "engine.onnx"
    assert run("build", small_onnx, "-o", engine).code == 0
    engine.write_bytes(engine.read_bytes() + b"\x08\x01")
    assert_contract_error(run("bench", engine, "--trials", "1"), 2, "passport")
    Path(f"{engine}.json").write_text("{")
    assert_contract_error(run("bench", engine, "--trials", "1"), 2, "engine.onnx.json")
