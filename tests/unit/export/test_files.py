"""ONNX files: every kind of bad input is told apart, and what is written is the same each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from espdeploy import __version__, export
from espdeploy.artifacts import ModelCard, sha256_of
from espdeploy.errors import InputFileError, MissingCapability

CARD = ModelCard(name="espnet", task="segmentation", settings={"alpha3": 8}, params=3)


def scaled(opset: int = 13, ir_version: int = 7) -> onnx.ModelProto:
    return parser.parse_model(
        f"""<ir_version: {ir_version}, opset_import: ["" : {opset}]>
        g (float[n, 3, 4, 4] input) => (float[n, 3, 4, 4] output)
        <float[1] factor = {{2.0}}> {{ output = Mul(input, factor) }}"""
    )


def external(folder: Path) -> Path:
    model = scaled()
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((3, 4, 4), 2, np.float32), "factor"))
    path = folder / "split.onnx"
    onnx.save(model, path, save_as_external_data=True, location="split.data", size_threshold=0)
    return path


def test_what_is_saved_is_read_back_with_its_card(tmp_path: Path) -> None:
    artifact = export.save(scaled(), tmp_path / "new" / "m.onnx", CARD)
    facts = export.inspect(export.load(artifact.path))
    assert facts.card == CARD == artifact.card
    assert artifact.sha256 == sha256_of(artifact.path)
    assert (artifact.opset, artifact.input_shape) == (13, ("n", 3, 4, 4))
    assert (facts.opset, facts.nodes, facts.outputs[0].name, facts.outputs[0].dtype) == (13, 1, "output", "float32")


def test_the_same_model_gives_the_same_bytes_and_stays_untouched(tmp_path: Path) -> None:
    model = scaled()
    before = model.SerializeToString(deterministic=True)
    contents = []
    for name in ("a.onnx", "b.onnx"):
        export.save(model, tmp_path / name, CARD)
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(("opset", "ir_version"), [(13, 7), (17, 8), (20, 9), (21, 10)])
def test_the_file_format_is_the_oldest_that_holds_the_opset(tmp_path: Path, opset: int, ir_version: int) -> None:
    # versions: ONNX's table of releases (Versioning.md): 1.8 IR 7 opset 13, 1.12 IR 8 opset 17, 1.15 IR 9 opset 20
    export.save(scaled(opset, ir_version=10), tmp_path / "m.onnx", None)
    written = onnx.load(tmp_path / "m.onnx")
    assert written.ir_version == ir_version
    assert (written.producer_name, written.producer_version) == ("espdeploy", __version__)


def test_metadata_of_others_is_kept_and_ours_replaced(tmp_path: Path) -> None:
    model = scaled()
    onnx.helper.set_model_props(model, {"author": "someone", **CARD.to_metadata()})
    newer = ModelCard(name="other", task="segmentation", settings={})
    artifact = export.save(model, tmp_path / "m.onnx", newer)
    written = {entry.key: entry.value for entry in onnx.load(artifact.path).metadata_props}
    assert written == {"author": "someone", **newer.to_metadata()}
    assert export.save(model, tmp_path / "kept.onnx", None).card == CARD


def test_a_place_that_cannot_be_written_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MissingCapability, match="cannot write"):
        export.save(scaled(), tmp_path / "file" / "m.onnx", None)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_notes_of_the_exporter_do_not_travel(tmp_path: Path) -> None:
    model = scaled(opset=20)
    model.graph.node[0].metadata_props.add(key="pkg.torch.onnx.stack_trace", value="/home/someone/net.py")
    model.graph.node[0].doc_string = "/home/someone/net.py"
    export.save(model, tmp_path / "m.onnx", None)
    assert b"/home/someone" not in (tmp_path / "m.onnx").read_bytes()


@pytest.mark.parametrize(
    ("content", "why", "do"),
    [
        (b"", "empty", "fetch it again"),
        (b"\n<!DOCTYPE html><html></html>", "web page", "fetch the file itself"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS pointer", "git lfs pull"),
        (b"PK\x03\x04 a checkpoint", "ZIP archive", "--weights"),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), "damaged", "again"),
        (scaled().SerializeToString()[:-20], "damaged", "again"),
    ],
)
def test_what_is_not_onnx_is_told_apart(tmp_path: Path, content: bytes, why: str, do: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(InputFileError, match="is not an ONNX file") as caught:
        export.load(path)
    assert str(path) in caught.value.what
    assert why in caught.value.why
    assert do in caught.value.do


def test_every_cut_of_a_file_is_an_error_of_ours(tmp_path: Path) -> None:
    whole = scaled().SerializeToString()
    path = tmp_path / "m.onnx"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputFileError):
            export.load(path)


def test_a_missing_file_names_the_one_that_was_meant(tmp_path: Path) -> None:
    export.save(scaled(), tmp_path / "espnet.onnx", None)
    with pytest.raises(InputFileError, match="does not exist") as caught:
        export.load(tmp_path / "esp-net.onnx")
    assert caught.value.do == 'did you mean "espnet.onnx"?'


def test_a_folder_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="is a folder"):
        export.load(tmp_path)


@pytest.mark.parametrize(("opset", "do"), [(5, "--opset 20"), (99, "pip install -U onnx")])
def test_an_opset_that_nothing_here_reads(tmp_path: Path, opset: int, do: str) -> None:
    model = scaled()
    model.opset_import[0].version = opset
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputFileError, match=f"is of opset {opset}; 7 to ") as caught:
        export.load(tmp_path / "m.onnx")
    assert do in caught.value.do


def test_a_graph_that_breaks_a_rule(tmp_path: Path) -> None:
    model = scaled()
    model.graph.node[0].input[0] = "nowhere"
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputFileError, match="no valid ONNX model"):
        export.load(tmp_path / "m.onnx")


def test_external_weights_are_read_into_the_model(tmp_path: Path) -> None:
    model = export.load(external(tmp_path))
    assert numpy_helper.to_array(model.graph.initializer[0]).tolist() == np.full((3, 4, 4), 2.0).tolist()


def test_missing_external_weights_are_named(tmp_path: Path) -> None:
    path = external(tmp_path)
    (tmp_path / "split.data").unlink()
    with pytest.raises(InputFileError, match=r"keeps its weights in split\.data, which is not beside it"):
        export.load(path)


def test_external_weights_that_are_cut_off(tmp_path: Path) -> None:
    path = external(tmp_path)
    (tmp_path / "split.data").write_bytes(b"1234")
    with pytest.raises(InputFileError, match="cannot be read"):
        export.load(path)


def test_a_file_over_two_gigabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with path.open("wb") as stream:
        stream.truncate(2**31)  # sparse: takes no room
    with pytest.raises(InputFileError, match=r"has 2\.1 GB; an ONNX file ends at 2 GB"):
        export.load(path)
