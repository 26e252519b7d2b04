"""Suites: every shipped one loads and can be done by its devices, and mistakes in one are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from espdeploy import suites
from espdeploy.errors import InputFileError, UsageError
from espdeploy.networks.registry import REGISTRY
from espdeploy.pipeline.sweeping.plan import command_of, plan

HEAD = 'name = "mine"\ndescription = "d"\n'
MATRIX = '[[matrix]]\ndevices = ["cpu"]\nmodels = ["espnet"]\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_every_shipped_suite_asks_for_what_its_networks_and_devices_have(tmp_path: Path) -> None:
    names = suites.suite_names()
    assert set(names) >= {"espnet-tx2", "espnet-desktop", "espnet-laptop", "espnet-image-sizes", "espnetv2-power"}
    for name in names:
        found = suites.suite(name)
        planned = plan(found, tmp_path / "none")  # checks every cell against its device
        assert planned
        assert {item.cell.model.name for item in planned} <= set(REGISTRY)
        named = {item.cell.model.label or item.cell.model.name for item in planned}
        assert {figure.model for figure in found.published} <= named


def test_the_paper_s_powers_stand_at_their_frequencies() -> None:
    """Figure 7 f and g of the ESPNet paper: 1.0, 1.5, 2.9 W at 824 MHz and 2.2, 4.6, 6.7 W at 1134 MHz."""
    figures = suites.suite("espnet-tx2").published
    power = {(figure.model, figure.gpu_mhz): figure.value for figure in figures if figure.metric == "power_w"}
    assert power == {
        ("espnet", 824): 1.0, ("enet", 824): 1.5, ("erfnet", 824): 2.9,
        ("espnet", 1134): 2.2, ("enet", 1134): 4.6, ("erfnet", 1134): 6.7,
    }  # fmt: skip


def test_a_matrix_is_every_combination_and_ids_follow_what_is_asked(tmp_path: Path) -> None:
    text = (
        HEAD + '[[matrix]]\ndevices = ["cpu"]\nmodels = ["espnet", {name = "enet", label = "the other"}]\n'
        'sizes = ["64x64", "128x64"]\nprecisions = ["fp32", "bf16"]\n'
    )
    first = suites.cells(suites.read_suite(written(tmp_path, text)))
    assert len(first) == 8
    assert len({cell.id for cell in first}) == 8
    renamed = suites.cells(suites.read_suite(written(tmp_path, text.replace("the other", "another"))))
    assert [cell.id for cell in renamed] == [cell.id for cell in first]  # a label changes no measurement
    longer = suites.cells(suites.read_suite(written(tmp_path, text + "[run]\ntrials = 7\n")))
    assert not {cell.id for cell in longer} & {cell.id for cell in first}
    assert "--trials 7" in command_of(longer[0])


def test_the_id_of_a_network_of_the_zoo_stays(tmp_path: Path) -> None:
    """Results of earlier releases would be measured again."""
    (cell,) = suites.cells(suites.read_suite(written(tmp_path, HEAD + MATRIX)))
    assert cell.id == "a38784f2b92589a7"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD, "no [[matrix]]"),
        (HEAD + MATRIX.replace("models", "modles"), 'did you mean "models"'),
        (HEAD + MATRIX + "sizes = [1]\n", "sizes"),
        (HEAD + MATRIX + 'sizes = ["big"]\n', "big"),
        (HEAD + MATRIX + "precisions = []\n", "precisions of a [[matrix]] is empty"),
        (HEAD + MATRIX.replace('["espnet"]', "[]"), "models of a [[matrix]] is empty"),
        (HEAD + MATRIX + MATRIX, "two cells are alike: espnet cpu fp32"),
        (HEAD + MATRIX + '[run]\ntrails = 3\n', 'did you mean "trials"'),
        (HEAD.replace("mine", "other") + MATRIX, "named after it"),
        ("[[[", "cannot read"),
    ],
)  # fmt: skip
def test_mistakes_are_found_before_anything_runs(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputFileError) as caught:
        suites.read_suite(written(tmp_path, text))
    assert said in f"{caught.value.what} {caught.value.why}"


def test_a_cell_that_its_device_cannot_do_is_refused(tmp_path: Path) -> None:
    text = HEAD + MATRIX.replace("cpu", "tx2") + 'precisions = ["int8"]\n'
    from espdeploy.errors import EspdeployError

    with pytest.raises(EspdeployError) as caught:
        plan(suites.read_suite(written(tmp_path, text)), tmp_path)
    assert caught.value.exit_code == 3
    with pytest.raises(UsageError):
        plan(suites.read_suite(written(tmp_path, HEAD + MATRIX + 'freq = ["624"]\n')), tmp_path)
    with pytest.raises(UsageError, match="no cell"):
        plan(suites.read_suite(written(tmp_path, HEAD + MATRIX)), tmp_path, only=["nothing"])
