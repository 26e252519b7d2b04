"""The runtimes agree with PyTorch, say what they run, and refuse what they cannot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from espdeploy.backends.registry import RUNTIMES, open_runner
from espdeploy.backends.source import FileSource, ModuleSource, Source
from espdeploy.errors import InputFileError, UsageError
from espdeploy.specs import RunSpec

torch = pytest.importorskip("torch")
FILE_RUNTIMES = ["onnxruntime", "openvino"]


def source_for(runtime: str, conv_onnx: Path, conv_weight: np.ndarray, batch: int) -> Source:
    if runtime != "torch":
        pytest.importorskip(RUNTIMES[runtime][2])
        return FileSource(path=conv_onnx)
    module = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False)
    module.weight.data = torch.from_numpy(conv_weight)
    return ModuleSource(module=module.requires_grad_(False), input_shape=(batch, 3, 16, 24), card=None)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("runtime", [*FILE_RUNTIMES, "torch"])  # those of NVIDIA GPUs stand in tests/gpu
def test_every_runtime_computes_the_convolution(
    runtime: str, batch: int, conv_onnx: Path, conv_weight: np.ndarray
) -> None:
    image = np.random.default_rng(1).standard_normal((batch, 3, 16, 24), dtype=np.float32)
    exact = torch.nn.functional.conv2d(
        torch.from_numpy(image).double(), torch.from_numpy(conv_weight).double(), padding=1
    ).numpy()
    source = source_for(runtime, conv_onnx, conv_weight, batch)
    with open_runner(source, RunSpec(runtime=runtime, threads=1)) as runner:
        output = runner.infer({"input": image})["output"]
        again = runner.stepper({"input": image})
        again()
        assert output.dtype == np.float32
        assert np.abs(output - exact).max() / np.abs(exact).max() < 1e-6
        assert runner.facts.runtime == runtime
        assert runner.facts.threads == 1
        assert runner.facts.precision_share_pct == {"fp32": 100.0}
        assert [item.name for item in runner.inputs] == ["input"]


def test_outputs_of_earlier_runs_stay_as_they_were(conv_onnx: Path) -> None:
    pytest.importorskip("openvino")
    random = np.random.default_rng(2)
    first, second = (random.standard_normal((1, 3, 16, 24), dtype=np.float32) for _ in range(2))
    with open_runner(FileSource(path=conv_onnx), RunSpec(runtime="openvino", threads=1)) as runner:
        kept = runner.infer({"input": first})["output"]
        before = kept.copy()
        runner.infer({"input": second})
        assert np.array_equal(kept, before)


def test_openvino_computes_bf16_only_when_it_is_asked_for(conv_onnx: Path) -> None:
    pytest.importorskip("openvino")
    from espdeploy.backends.openvino import core as shared_core

    if "BF16" not in shared_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bf16 units")
    image = {"input": np.random.default_rng(3).standard_normal((1, 3, 16, 24), dtype=np.float32)}
    outputs = {}
    for precision in ("fp32", "bf16"):
        spec = RunSpec(runtime="openvino", precision=precision, threads=1)
        with open_runner(FileSource(path=conv_onnx), spec) as runner:
            outputs[precision] = runner.infer(image)["output"]
            shares = runner.facts.precision_share_pct
            assert shares == {precision: 100.0}
    error = np.abs(outputs["fp32"] - outputs["bf16"]).max() / np.abs(outputs["fp32"]).max()
    assert 1e-4 < error < 2e-2  # bf16 keeps 8 bits of mantissa


@pytest.mark.parametrize("runtime", FILE_RUNTIMES)
@pytest.mark.parametrize(
    ("shape", "name"),
    [((1, 3, 16, 16), "input"), ((1, 4, 16, 24), "input"), ((3, 16, 24), "input"), ((1, 3, 16, 24), "x")],
)
def test_a_wrong_input_is_named(runtime: str, shape: tuple[int, ...], name: str, conv_onnx: Path) -> None:
    pytest.importorskip(RUNTIMES[runtime][2])
    with (
        open_runner(FileSource(path=conv_onnx), RunSpec(runtime=runtime, threads=1)) as runner,
        pytest.raises(UsageError, match="input"),
    ):
        runner.infer({name: np.zeros(shape, dtype=np.float32)})


@pytest.mark.parametrize("runtime", FILE_RUNTIMES)
def test_a_file_that_is_no_onnx_graph_is_refused_before_a_runtime_sees_it(runtime: str, tmp_path: Path) -> None:
    rubbish = {
        "empty.onnx": b"",
        "text.onnx": b"<!DOCTYPE html><html>not found</html>" * 20,
        "zeros.onnx": bytes(4096),
        "binary.onnx": np.random.default_rng(0).bytes(4096),
    }
    for name, content in rubbish.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputFileError, match=name):
            open_runner(FileSource(path=tmp_path / name), RunSpec(runtime=runtime, threads=1))


@pytest.mark.parametrize("runtime", FILE_RUNTIMES)
def test_a_graph_cut_anywhere_is_refused(runtime: str, conv_onnx: Path, tmp_path: Path) -> None:
    pytest.importorskip(RUNTIMES[runtime][2])
    whole = conv_onnx.read_bytes()
    cut = tmp_path / "cut.onnx"
    for length in range(0, len(whole) - 1, 37):
        cut.write_bytes(whole[:length])
        with pytest.raises(InputFileError), open_runner(FileSource(path=cut), RunSpec(runtime=runtime, threads=1)):
            pass


def test_torch_runs_no_files_and_gives_its_threads_back(conv_onnx: Path, conv_weight: np.ndarray) -> None:
    with pytest.raises(InputFileError, match="not ONNX files"):
        open_runner(FileSource(path=conv_onnx), RunSpec(runtime="torch", threads=1))
    before = torch.get_num_threads()
    source = source_for("torch", conv_onnx, conv_weight, 1)
    with open_runner(source, RunSpec(runtime="torch", threads=before + 1)) as runner:
        assert runner.facts.threads == before + 1
    assert torch.get_num_threads() == before


def test_an_unknown_runtime_names_the_nearest(conv_onnx: Path) -> None:
    with pytest.raises(UsageError) as caught:
        open_runner(FileSource(path=conv_onnx), RunSpec(runtime="onxruntime", threads=1))
    assert "onnxruntime" in caught.value.why


@pytest.mark.parametrize(("runtime", "precision"), [("onnxruntime", "bf16"), ("openvino", "int4")])
def test_a_precision_that_the_runtime_lacks_is_refused(runtime: str, precision: str, conv_onnx: Path) -> None:
    with pytest.raises(UsageError, match=precision):
        open_runner(FileSource(path=conv_onnx), RunSpec(runtime=runtime, precision=precision, threads=1))


#: two runners at once, the first closed first, and then what Ctrl-C is
_SIGNALLED = """
import gc, signal, sys
import subprocess
import sys
from pathlib import Path
from espdeploy.backends.registry import open_runner
from espdeploy.backends.source import FileSource
from espdeploy.specs import RunSpec
source = FileSource(path=Path(sys.argv[1]))
first, second = (open_runner(source, RunSpec(runtime="openvino", threads=1)) for _ in range(2))
first.__enter__(), second.__enter__()
first.__exit__(None, None, None)
second.__exit__(None, None, None)
del first, second
gc.collect()
signal.signal(signal.SIGTERM, lambda *_: print("heard"))
signal.raise_signal(signal.SIGTERM)
"""


def test_a_signal_after_openvino_is_heard(conv_onnx: Path) -> None:
    """OpenVINO itself leaves the stack for signal handlers in memory that it has given back."""
    pytest.importorskip("openvino")
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", _SIGNALLED, str(conv_onnx)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr
