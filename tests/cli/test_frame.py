"""What holds for every command: help, errors, exit codes, JSON, imports, signals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run, assert_contract_error, start

COMMANDS = [
    "models",
    "devices",
    "doctor",
    "export",
    "calibrate",
    "convert",
    "build",
    "bundle",
    "cache",
    "bench",
    "eval",
    "predict",
    "sensitivity",
    "profile",
    "run-bundle",
    "import",
    "explain",
    "parse",
    "report",
    "compare",
    "quickstart",
]
HEAVY = ["torch", "onnx", "onnxruntime", "openvino", "tensorrt", "onnxsim", "numpy", "PIL"]
BLOCKING = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {heavy!r}:
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Blocked())
from espdeploy.cli.main import main
sys.exit(main({arguments!r}))
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["devices"], ["models"], ["weights", "list"], ["bench", "--help"], ["--version"]]
)
def test_light_commands_work_with_every_heavy_package_blocked(arguments: list[str]) -> None:
    script = BLOCKING.format(heavy=set(HEAVY), arguments=arguments)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_completion_offers_networks_without_importing_torch() -> None:
    script = BLOCKING.format(heavy=set(HEAVY), arguments=[])
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={
            "PATH": "/usr/bin:/bin",
            "_ESPDEPLOY_COMPLETE": "complete_bash",
            "COMP_WORDS": "espdeploy export --model espnet-",
            "COMP_CWORD": "3",
        },
    )
    assert {"espnet-a", "espnet-b", "espnet-c"} <= set(done.stdout.split()), done


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, run: Run) -> None:
    ran = run(command, "--help")
    assert ran.code == 0
    assert f"espdeploy {command}" in ran.out


def test_no_command_shows_the_help(run: Run) -> None:
    ran = run()
    assert ran.code == 0
    assert "quickstart" in ran.out


def test_the_version_is_the_packages() -> None:
    from importlib.metadata import version

    done = subprocess.run([sys.executable, "-m", "espdeploy", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["espdeploy", version("espdeploy")]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["exportt"], "exportt"),
        (["export", "--modle", "espnet"], "--model"),
        (["export"], "--model"),
        (["models", "espnt"], "espnet"),
        (["models", "espnet", "--set", "alpha9=1"], "alpha3"),
        (["models", "espnet", "--set", "alpha3=many"], "alpha3"),
        (["models", "espnet", "--set", "alpha3"], "KEY=VALUE"),
        (["models", "--set", "alpha3=3"], "--set"),
        (["devices", "tx3"], "tx2"),
        (["export", "--model", "espnt"], "espnet"),
        (["export", "--model", "espnet", "--size", "big"], "--size"),
        (["export", "--model", "espnet", "--size", "100x64"], "96x64"),
        (["export", "--model", "espnet", "--batch", "many"], "dynamic"),
        (["export", "--model", "no.such.module:net"], "no.such.module"),
        (["bench"], "--model"),
        (["bench", "--model", "espnet", "--device", "cpu", "--freq", "824"], "--freq"),
        (["bench", "--model", "espnet", "--precision", "fp23"], "fp32"),
        (["bench", "--model", "espnet", "--runtime", "onxruntime"], "onnxruntime"),
        (["bench", "--model", "espnet", "--trials", "0"], "trials"),
        (["bench", "missing.onnx"], "missing.onnx"),
        (["bench", "missing.onnx", "--model", "espnet"], "not both"),
        (["bench", "--model", "espnet", "--precision", "int8"], "needs an engine"),
        (["build", "missing.onnx"], "missing.onnx"),
        (["eval", "missing.onnx", "--data", "."], "missing.onnx"),
        (["predict", "missing.onnx", "a.png", "-o", "out"], "missing.onnx"),
        (["report", "nowhere"], "nowhere"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_to_do(arguments: list[str], told: str, run: Run) -> None:
    assert_contract_error(run(*arguments), 2, told)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["bench", "--model", "espnet", "--device", "tx2", "--freq", "824"], "tx2"),
        (["bench", "--model", "espnet", "--device", "tx2", "--precision", "int8"], "DP4A"),
        (["build", "x.onnx", "--device", "tx2", "--precision", "int8"], "DP4A"),
    ],
)
def test_what_this_machine_or_device_lacks_ends_with_3(arguments: list[str], told: str, run: Run) -> None:
    assert_contract_error(run(*arguments), 3, told)


@pytest.mark.parametrize("arguments", [["models", "espnt"], ["export", "--modle", "x"], ["bench", "missing.onnx"]])
def test_with_json_an_error_is_one_document(arguments: list[str], run: Run) -> None:
    ran = run(*arguments, "--json")
    assert ran.code == 2
    assert set(ran.document) == {"error"}
    assert set(ran.document["error"]) == {"code", "what", "why", "do"}
    assert ran.document["error"]["code"] == 2
    assert "error:" not in ran.err


def test_a_traceback_is_shown_with_debug_alone(run: Run) -> None:
    assert "Traceback" not in run("models", "espnt").err
    assert "Traceback" in run("models", "espnt", "--debug").err
    assert "Traceback" in run("--debug", "models", "espnt").err


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    process = start(["devices", "--json"], tmp_path)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        text = process.stderr.read()
    process.wait(timeout=60)
    assert "Traceback" not in text
    assert "BrokenPipe" not in text


def test_no_colours_in_a_file_and_none_with_no_color(tmp_path: Path) -> None:
    process = start(["devices"], tmp_path)
    out, err = process.communicate(timeout=60)
    assert "\x1b" not in out + err


def test_devices_and_models_carry_the_contracts_keys(run: Run) -> None:
    devices = {item["name"]: item for item in run("devices", "--json").document}
    assert devices["tx2"]["gpu"]["compute_capability"] == "6.2"
    assert run("devices", "tx2", "--json").document == devices["tx2"]
    keys = {"name", "task", "params", "macs", "input_size", "size_mb", "source", "checkpoints"}
    models = {item["name"]: item for item in run("models", "--json").document}
    assert all(keys <= set(item) for item in models.values())
    assert models["espnet"]["params"] == 364_569
    assert models["espnet"]["input_size"] == [1024, 512]


def test_a_setting_changes_the_count(run: Run) -> None:
    pytest.importorskip("torch")
    one = run("models", "espnet", "--set", "alpha3=3", "--json").document
    assert one["params"] == 202_649  # counted with the authors' released code
    assert one["size_mb"] == pytest.approx(202_649 * 4 / 1e6)


def test_doctor_lists_checks_and_fails_only_on_required_ones(run: Run) -> None:
    ran = run("doctor", "--json")
    checks = ran.document["checks"]
    assert all({"name", "ok", "found", "hint"} <= set(check) for check in checks)
    assert ran.code == int(any(check["required"] and not check["ok"] for check in checks))
    on_tx2 = run("doctor", "--device", "tx2", "--json")
    assert on_tx2.code == 1  # CI is no TX2
    assert json.loads(on_tx2.out)["checks"]


def test_an_interrupt_while_the_program_loads_shows_no_traceback() -> None:
    code = (
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'espdeploy.cli.main':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from espdeploy.__main__ import main\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (130, "error: stopped before anything was begun\n")
