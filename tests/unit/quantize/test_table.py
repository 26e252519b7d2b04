"""The calibration table: what is written comes back, what is no table is named, another network is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espdeploy import lazy
from espdeploy.artifacts import ModelCard, Preprocessing, sha256_of
from espdeploy.errors import InputFileError, InternalError
from espdeploy.quantize.table import (
    TABLE_SCHEMA,
    CalibrationTable,
    TensorRange,
    check_fits,
    graph_sha256,
    read_table,
    write_table,
)

PLAIN = Preprocessing(channel_order="RGB", divisor=255.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
SHA = "0123456789abcdef" * 4


def table(**changes: Any) -> CalibrationTable:
    fields: dict[str, Any] = {
        "schema": TABLE_SCHEMA,
        "method": "entropy",
        "images": 25,
        "onnx_sha256": SHA,
        "graph_sha256": SHA,
        "data_sha256": SHA,
        "recipe": "camvid",
        "preprocessing": PLAIN,
        "random": False,
        "espdeploy_version": "0.4",
        "created": "2026-01-01T00:00:00+00:00",
        "ranges": {"x": TensorRange(amax=2.0, lowest=-1.5, highest=2.5)},
    }
    return CalibrationTable(**{**fields, **changes})


finite = st.floats(allow_nan=False, allow_infinity=False)
triple = st.tuples(finite, finite, finite)
text = st.text(st.characters(codec="utf-8"))
ranges = st.builds(
    lambda amax, ends: TensorRange(amax=abs(amax), lowest=min(ends), highest=max(ends)),
    finite,
    st.tuples(finite, finite),
)
preprocessings = st.builds(
    Preprocessing, channel_order=st.sampled_from(["RGB", "BGR"]), divisor=finite, mean=triple, std=triple
)
tables = st.builds(
    CalibrationTable,
    schema=st.just(TABLE_SCHEMA),
    method=st.sampled_from(["minmax", "entropy", "percentile", "mse"]),
    images=st.integers(1, 10**6),
    onnx_sha256=text,
    graph_sha256=st.none() | text,
    data_sha256=st.none() | text,
    recipe=st.none() | text,
    preprocessing=st.none() | preprocessings,
    random=st.booleans(),
    espdeploy_version=text,
    created=text,
    ranges=st.dictionaries(text, ranges, max_size=5),
    skipped=st.lists(text, max_size=3).map(tuple),
    constant=st.lists(text, max_size=3).map(tuple),
    seed=st.none() | st.integers(0, 2**31),
)


@given(tables)
def test_what_is_written_comes_back(tmp_path_factory: pytest.TempPathFactory, written: CalibrationTable) -> None:
    path = tmp_path_factory.mktemp("tables") / "t.json"
    write_table(written, path)
    back = read_table(path)
    assert back == written
    assert list(back.ranges) == list(written.ranges)  # the network's order


def test_the_file_holds_the_fields_that_scripts_read(tmp_path: Path) -> None:
    write_table(table(), tmp_path / "t.json")
    document = json.loads((tmp_path / "t.json").read_text())
    assert document["schema"] == 1
    assert document["ranges"] == {"x": {"amax": 2.0, "lowest": -1.5, "highest": 2.5}}
    assert document["random"] is False
    assert {"method", "images", "onnx_sha256", "data_sha256", "recipe", "preprocessing", "skipped"} <= set(document)


@pytest.mark.parametrize(
    "ranges",
    [
        {"x": TensorRange(amax=math.nan, lowest=0, highest=1)},
        {"x": TensorRange(amax=1, lowest=-math.inf, highest=1)},
        {"x": TensorRange(amax=-1, lowest=0, highest=1)},
        {"x": TensorRange(amax=1, lowest=2, highest=1)},
    ],
)
def test_a_range_that_is_none_is_never_stored(ranges: dict[str, TensorRange], tmp_path: Path) -> None:
    with pytest.raises(InternalError, match='"x"'):
        write_table(table(ranges=ranges), tmp_path / "t.json")
    assert list(tmp_path.iterdir()) == []


def document(**changes: object) -> bytes:
    return msgspec.json.encode(msgspec.to_builtins(table()) | changes)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        (b"TRT-8501-EntropyCalibration2\nx: 3c010204\n", "no calibration table"),
        (b"\xff\xfe\x00\x01", "no calibration table"),
        (b"[1, 2]", "no calibration table"),
        (b'{"schema": 1}', "no calibration table"),
        (b'{"schema": 99, "model": {}}', "no calibration table"),  # a record of a newer release is no table
        (document(schema=TABLE_SCHEMA + 1, ranges="of another kind"), f"schema {TABLE_SCHEMA + 1}"),
        (document(schema=0), "schema 0"),
        (document(images=0), "no image"),
        (document(images="many"), "no calibration table"),
        (document(ranges={"x": {"amax": -1.0, "lowest": 0.0, "highest": 1.0}}), "upside down"),
        (document(ranges={"x": {"amax": 1.0, "lowest": 0.0}}), "no calibration table"),
        (b"[" * 100_000, "no calibration table"),
    ],
)
def test_what_is_no_table_is_named(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(content)
    with pytest.raises(InputFileError) as caught:
        read_table(path)
    assert "t.json" in caught.value.what
    assert told in caught.value.what
    assert caught.value.do


def test_a_table_cut_at_any_place_is_refused(tmp_path: Path) -> None:
    write_table(table(), tmp_path / "whole.json")
    whole = (tmp_path / "whole.json").read_bytes().rstrip()
    for length in range(len(whole)):
        (tmp_path / "cut.json").write_bytes(whole[:length])
        with pytest.raises(InputFileError, match=r"cut\.json"):
            read_table(tmp_path / "cut.json")


def test_a_table_that_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="does not exist"):
        read_table(tmp_path / "none.json")
    with pytest.raises(InputFileError, match="not a file"):
        read_table(tmp_path)


# --- does it fit the network? --------------------------------------------------------------------------------------

NET = """g (float[1,3,8,8] x) => (float[1,1,8,8] y) <float[1,3,1,1] w = {WEIGHT, 2, 3}>
{ TENSOR = Conv(x, w) y = Relu(TENSOR) }"""


def network(
    path: Path, *, weight: float = 1.0, tensor: str = "c", opset: int = 13, card: ModelCard | None = None
) -> Path:
    onnx = pytest.importorskip("onnx")
    text = NET.replace("WEIGHT", str(weight)).replace("TENSOR", tensor)
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> {text}')
    if card is not None:
        onnx.helper.set_model_props(model, card.to_metadata())
    onnx.save(model, path)
    return path


def made_from(path: Path, **changes: Any) -> CalibrationTable:
    one = TensorRange(amax=1, lowest=0, highest=1)
    fields: dict[str, Any] = {"onnx_sha256": sha256_of(path), "graph_sha256": graph_sha256(path)}
    return table(**{**fields, "ranges": {"x": one, "c": one, "y": one}, **changes})


def card(preprocessing: Preprocessing, name: str = "net") -> ModelCard:
    return ModelCard(name=name, task="semantic-segmentation", settings={}, preprocessing=preprocessing)


def test_a_table_fits_the_network_that_it_was_made_from(tmp_path: Path) -> None:
    net = network(tmp_path / "a.onnx")
    check_fits(made_from(net), net)


def test_other_metadata_notes_and_shapes_are_the_same_network(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    net = network(tmp_path / "a.onnx", card=card(PLAIN))
    made = made_from(net)
    model = onnx.shape_inference.infer_shapes(onnx.load(net))
    model.producer_version = "9.9"
    model.graph.doc_string = "made elsewhere"
    model.graph.node[0].doc_string = "file.py:12"
    model.graph.initializer[0].doc_string = "weight"
    onnx.helper.set_model_props(model, card(PLAIN, name="renamed").to_metadata())
    onnx.save(model, tmp_path / "b.onnx")
    assert sha256_of(tmp_path / "b.onnx") != sha256_of(net)
    check_fits(made, tmp_path / "b.onnx")


def test_weights_outside_the_file_count_too(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(network(tmp_path / "a.onnx"))
    (weight,) = model.graph.initializer
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight), "w"))  # raw bytes can move out
    onnx.save(model, tmp_path / "a.onnx")
    made = made_from(tmp_path / "a.onnx")
    onnx.save(model, tmp_path / "b.onnx", save_as_external_data=True, location="b.bin", size_threshold=0)
    check_fits(made, tmp_path / "b.onnx")
    made = made_from(tmp_path / "b.onnx")
    (tmp_path / "b.bin").write_bytes(bytes(len((tmp_path / "b.bin").read_bytes())))
    assert made.onnx_sha256 == sha256_of(tmp_path / "b.onnx")
    with pytest.raises(InputFileError, match="another network"):
        check_fits(made, tmp_path / "b.onnx")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"weight": 1.5}, "weights or settings differ"),
        ({"opset": 14}, "weights or settings differ"),
        ({"tensor": "other"}, "lacks the tensors c"),
    ],
)
def test_another_network_is_refused_with_both_digests(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    net = network(tmp_path / "a.onnx")
    other = network(tmp_path / "b.onnx", **change)
    with pytest.raises(InputFileError) as caught:
        check_fits(made_from(net), other, named="a.calibration.json")
    assert "a.calibration.json was made from another network than" in caught.value.what
    assert "b.onnx" in caught.value.what
    assert told in caught.value.why
    for digest in (graph_sha256(net), graph_sha256(other)):
        assert str(digest)[:12] in caught.value.why
    assert "espdeploy calibrate" in caught.value.do


def test_other_pre_processing_in_the_same_network_is_refused(tmp_path: Path) -> None:
    """Ranges of images that were scaled otherwise are ranges of other activations."""
    net = network(tmp_path / "a.onnx", card=card(PLAIN))
    scaled = Preprocessing(channel_order="BGR", divisor=255.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    other = network(tmp_path / "b.onnx", card=card(scaled))
    with pytest.raises(InputFileError) as caught:
        check_fits(made_from(net), other)
    assert "pre-processing" in caught.value.what
    assert "channel_order RGB in the table, BGR in the file" in caught.value.why
    check_fits(made_from(net), network(tmp_path / "c.onnx"))  # a file that states none contradicts nothing


def test_without_onnx_the_file_itself_must_be_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = network(tmp_path / "a.onnx")
    made, other = made_from(net), network(tmp_path / "b.onnx", weight=1.5)
    monkeypatch.setattr(lazy, "available", lambda module: module != "onnx")
    assert graph_sha256(net) is None
    check_fits(made, net)
    with pytest.raises(InputFileError) as caught:
        check_fits(made, other)
    assert sha256_of(other)[:12] in caught.value.why


def test_a_network_that_is_none(tmp_path: Path) -> None:
    net = network(tmp_path / "a.onnx")
    (tmp_path / "cut.onnx").write_bytes(net.read_bytes()[:20])
    with pytest.raises(InputFileError, match=r"cut\.onnx"):
        check_fits(made_from(net), tmp_path / "cut.onnx")
    with pytest.raises(InputFileError, match="does not exist"):
        check_fits(made_from(net), tmp_path / "none.onnx")
