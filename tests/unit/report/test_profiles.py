"""Profiles on the page: what is drawn, what is left out and why, and that no file can break it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espdeploy.errors import InputFileError
from espdeploy.pipeline.report import write_report
from espdeploy.report import html, profiled, profiles
from espdeploy.report.html import render
from espdeploy.report.profiled import ProfilePart
from espdeploy.store import append

HOSTILE = "</text><script>alert(1)</script>\"'{{ 7*7 }}\x00\u202e"
Drawn = Callable[..., Any]


def part_of(document: dict[str, Any]) -> ProfilePart:
    (part,) = profiled.build([profiles.decode(json.dumps(document).encode(), file="a.profile.json")])
    return part


def drawn_figures(part: ProfilePart) -> dict[str, str]:
    return {figure.name: str(html.draw(figure)) for figure in part.figures}


def bars(drawn: str) -> list[float]:
    return [float(width) for width in re.findall(r'class="mark part c\d" [^>]*width="([\d.]+)"', drawn)]


def test_all_parts_are_drawn_and_say_that_they_are_simulated(example_records: ModuleType) -> None:
    part = part_of(example_records.profile_document())
    assert [figure.name for figure in part.figures] == [
        "Top kernels",
        "By what kernels do",
        "Efficiency",
        "Roofline",
        "Top layers",
        "Top modules of the network",
    ]
    assert part.tags[0].text == "SIMULATED"
    assert all(">SIMULATED</text>" in drawn for drawn in drawn_figures(part).values())
    assert part.absent == ()
    assert {fact.name: fact.value for fact in part.facts}["Memory alignment"] == "19.7 % of the time"


def test_bars_are_as_long_as_their_shares_and_the_tenth_is_the_last(example_records: ModuleType) -> None:
    document = example_records.profile_document()
    part = part_of(document)
    drawn = bars(drawn_figures(part)["Top kernels"])
    shares = [kernel["time_pct"] for kernel in document["kernels"]][:10]
    assert len(document["kernels"]) == 12
    assert len(drawn) == 10
    assert [width / drawn[0] for width in drawn] == pytest.approx([pct / shares[0] for pct in shares], abs=0.002)
    assert "2 other kernels take the remaining 1.40 %." in part.figures[0].captions


def test_the_roof_bends_where_memory_and_arithmetic_meet(example_records: ModuleType) -> None:
    roofline = {"peak_gflops": 1000.0, "bandwidth_gb_s": 100.0, "intensity_flop_per_byte": 1.0, "achieved_gflops": 50.0}
    part = part_of(example_records.profile_document(explanation={"roofline": roofline}))
    (figure,) = [figure for figure in part.figures if figure.name == "Roofline"]
    drawn = str(html.draw(figure))
    ((x0, y0, x1, y1, x2, y2),) = [
        tuple(map(float, found))
        for found in re.findall(r'class="mark roof" d="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"', drawn)
    ]
    assert y1 == y2
    ticks = dict(re.findall(r'class="tick middle" x="([\d.]+)"[^>]*>([\d.,]+)<', drawn))
    places = {float(label.replace(",", "")): float(x) for x, label in ticks.items()}
    assert x1 == pytest.approx(places[10.0], abs=0.2)  # 1000 GFLOP/s over 100 GB/s
    assert x0 < x1 < x2
    assert y0 > y1
    # memory allows 100 GFLOP/s at 1 FLOP/byte, and half of it was reached
    assert "100 GFLOP/s can be reached (hollow mark)." in figure.captions
    assert "This run reached 50.0 GFLOP/s, 50.0 % of it." in figure.captions


def test_what_explain_prints_is_read_as_it_is(example_records: ModuleType) -> None:
    explanation = {
        "limits": [
            {"code": "launch", "share_pct": None, "evidence": {"enqueue_ms": 1 / 3}, "text": "bound", "do": "graph"}
        ],
        "roofline": {"peak_gflops": 1000.0, "dram_gb_s": 100.0, "intensity": 20.0, "achieved_gflops": None},
        "layers": [{"name": "conv", "mean_ms": 1.0, "time_pct": 100.0}],
        "modules": [{"module": "encoder", "mean_ms": 1.0, "time_pct": None}],
    }
    part = part_of({"kind": "trtexec", "layers": [], "explanation": explanation})
    assert [figure.name for figure in part.figures] == ["Roofline", "Top layers", "Top modules of the network"]
    assert part.limits[0].evidence == "enqueue 0.3333 ms"
    assert "What the run reached is not known." in part.figures[0].captions


def test_a_damaged_part_is_left_out_with_the_reason_and_the_rest_is_shown(example_records: ModuleType) -> None:
    broken = example_records.profile_document(kernels=[{"name": 7}], metrics=None, modules="x")
    part = part_of(broken)
    assert [figure.name for figure in part.figures] == ["By what kernels do", "Roofline", "Top layers"]
    assert part.absent[0].startswith("kernels left out: Expected `str`, got `int`")
    assert part.absent[1].startswith("modules left out: Expected `array`")
    assert part.absent[2].startswith("no efficiencies: the profile holds no counters")


def test_a_bare_document_of_each_kind_says_what_it_lacks() -> None:
    for kind in profiles.KINDS:
        part = part_of({"kind": kind})
        assert part.figures == ()
        assert len(part.absent) >= 2
        assert part.absent[-1].startswith("no roofline, and nothing on what limits the run")
    with pytest.raises(InputFileError, match="not a profile"):
        profiles.decode(b'{"kind": "tegrastats"}', file="x")


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_any_json_in_any_place_is_drawn_or_left_out(example_records: ModuleType, data: st.DataObject) -> None:
    document = example_records.profile_document()
    for key in data.draw(st.lists(st.sampled_from(sorted(set(document) - {"kind"})), max_size=4)):
        document[key] = data.draw(_JSON)
    roofline = document["explanation"].get("roofline") if isinstance(document["explanation"], dict) else None
    if isinstance(roofline, dict):
        roofline[data.draw(st.sampled_from(sorted(roofline) or ["x"]))] = data.draw(_JSON)
    for drawn in drawn_figures(part_of(document)).values():
        assert not re.search(r'="[^"]*\b(?:nan|inf)\b', drawn)


@given(st.binary(max_size=100))
def test_no_bytes_crash_the_reader(content: bytes) -> None:
    with pytest.raises(InputFileError):
        profiles.decode(content, file="x")


def test_hostile_names_are_only_ever_text(example_records: ModuleType) -> None:
    def hostile(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                f"{HOSTILE}{key}" if key in {"gemm", "memory"} else key: hostile(item) for key, item in value.items()
            }
        if isinstance(value, list):
            return [hostile(item) for item in value]
        return HOSTILE if isinstance(value, str) else value

    document = hostile(example_records.profile_document()) | {"kind": "nvprof"}
    read = profiles.decode(json.dumps(document).encode(), file=HOSTILE)
    page = render(
        [example_records.make()], generated="2026-02-03T11:00:00+00:00", espdeploy_version="0", profiles=[read]
    )
    assert "<script" not in page
    assert "alert(1)" in page
    assert "\x00" not in page
    assert "{{ 7*7 }}" in page


def test_a_folder_of_records_and_profiles_is_one_page(tmp_path: Path, example_records: ModuleType) -> None:
    append(example_records.make(), tmp_path)
    (tmp_path / "a.profile.json").write_text(json.dumps(example_records.profile_document()), encoding="utf-8")
    (tmp_path / "b.profile.json").write_text("{", encoding="utf-8")
    (tmp_path / "c.profile.json").write_bytes(b" " * (profiles.MAX_BYTES + 1))
    written = write_report(tmp_path, None)
    assert (written.records, written.profiles) == (1, 1)
    assert {Path(path).name: reason.partition(":")[0] for path, reason in written.left_out.items()} == {
        "b.profile.json": "not JSON text, or cut short (Input data was truncated)",
        "c.profile.json": "too large for a profile",
    }
    page = written.path.read_text(encoding="utf-8")
    assert '<a href="#profiles">' in page
    assert "P1 was made on a simulated device" in page


def test_profiles_alone_are_no_results(tmp_path: Path, example_records: ModuleType) -> None:
    (tmp_path / "a.profile.json").write_text(json.dumps(example_records.profile_document()), encoding="utf-8")
    with pytest.raises(InputFileError) as caught:
        write_report(tmp_path, None)
    assert "profiles, which stand beside records" in str(caught.value.why)
