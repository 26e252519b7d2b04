"""Which records of an interrupted sweep count as done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from espdeploy import store, suites
from espdeploy.errors import EspdeployError
from espdeploy.pipeline.sweeping.plan import command_of, plan
from espdeploy.records import GpuFrequency
from tests import example_records

_HEAD = 'name = "mine"\ndescription = "d"\n'
_MATRIX = '[[matrix]]\ndevices = ["tx2"]\nmodels = ["espnet"]\n'


def write(folder: Path, more: str, head: str = "") -> suites.Suite:
    (folder / "mine.toml").write_text(f"{_HEAD}{head}{_MATRIX}{more}\n")
    return suites.suite(str(folder / "mine.toml"))


@pytest.mark.parametrize(
    ("asked", "ran", "done"),
    [
        ("624,824,1134", (1134, 624, 824, 1134), True),  # the first comes again at the end
        ("624,824,1134", (1134, 624, 824), False),  # stopped before that
        ("624,1134", (624, 1134), True),
        ("624,1134", (624,), False),
        ("all", (1300.5, 114.75), False),
        ("all", (1300.5, 114.75, 624.75, 1300.5), True),
        ("824", (824,), True),
    ],
)
def test_a_list_of_frequencies_is_done_when_it_came_to_its_end(
    tmp_path: Path, asked: str, ran: Sequence[float], done: bool
) -> None:
    suite = write(tmp_path, f'freq = ["{asked}"]')
    (cell,) = suites.cells(suite)
    for number, mhz in enumerate(ran):
        device = example_records.device(gpu_freq_mhz=GpuFrequency(requested=mhz, set=mhz, mean=mhz))
        sweep = "one request" if len(ran) > 1 or "," in asked else None
        record = example_records.make(id=f"{number:012x}", device=device, cell=cell.id, sweep=sweep)
        store.append(record, tmp_path / "results")
    (planned,) = plan(suite, tmp_path / "results")
    assert planned.done is done
    assert len(planned.records) == (len(ran) if done else 0)


@pytest.mark.parametrize(
    ("head", "more", "said"),
    [
        ("[run]\nduration_s = nan\n", "", "is no time"),
        ("[run]\nsample_ms = 0\n", "", "is no period"),
        ("[run]\ntrials = 0\n", "", "measure nothing"),
        ("", "batches = [0]", "0 in batches"),
        ("", "threads = [-2]", "-2 in threads"),
        ("", 'runtimes = ["trtexec"]\n[[matrix]]\ndevices = ["cpu"]\nmodels = ["espnot"]', "espnot"),
    ],
)
def test_what_no_bench_could_do_is_refused_before_the_first_cell(
    tmp_path: Path, head: str, more: str, said: str
) -> None:
    with pytest.raises(EspdeployError) as told:
        plan(write(tmp_path, more, head), tmp_path / "results")
    assert told.value.exit_code == 2
    assert said in told.value.what


def test_the_command_of_a_cell_measures_what_the_cell_does(tmp_path: Path) -> None:
    suite = write(tmp_path, "", "[run]\nwarmup_max_s = 7.0\nsample_ms = 50.0\n")
    command = command_of(suites.cells(suite)[0])
    assert "--warmup-max-s 7 " in f"{command} "
    assert "--sample-ms 50 " in f"{command} "
