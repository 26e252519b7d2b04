"""TensorRT's calibration caches: against five that TensorRT wrote, byte for byte."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espdeploy.errors import InputFileError, UsageError
from espdeploy.quantize.table import TensorRange
from espdeploy.quantize.tensorrt_cache import TensorRTCache, read_cache, scale_of, version_code, write_cache

CACHES = [
    "trt7.2.3_resnet50_mlperf.cache",
    "trt8.5.1_plates_zxm97.cache",
    "trt10.0.1_tiny_cookbook.int8cache",
    "trt10.3_yolov8n_R300.cache",
    "trt10.10_bert_Hanner123.cache",
]
RELEASES = ["7.2.3", "8.5.1", "10.0.1", "10.3.0", "10.10.0"]


@pytest.mark.data
@pytest.mark.parametrize(("name", "release"), list(zip(CACHES, RELEASES, strict=True)))
def test_real_caches_are_read_and_come_back_byte_for_byte(name: str, release: str, data_dir: Path) -> None:
    path = data_dir / "logs/calib" / name
    expected = json.loads(path.with_name(f"{name}.expected.json").read_text())
    cache = read_cache(path)
    assert cache.header == expected["header"]
    assert cache.algorithm == expected["algorithm"]
    assert cache.version_code == int(expected["version_code"]) == version_code(release)
    assert len(cache.scales) == expected["entries"]
    assert next(iter(cache.scales)) == expected["first"]["name"]
    assert next(iter(cache.scales.values())) == expected["first"]["scale"]
    assert next(iter(cache.amax.values())) == pytest.approx(expected["first"]["dynamic_range_abs"], rel=1e-12)
    largest = max(cache.scales, key=lambda tensor: cache.scales[tensor])
    assert (largest, cache.scales[largest]) == (expected["max"]["name"], expected["max"]["scale"])
    assert cache.to_bytes() == path.read_bytes()


@pytest.mark.data
@pytest.mark.parametrize("name", CACHES[:4])  # the fifth holds infinity, which no range of ours does
def test_ranges_as_magnitudes_give_the_scales_that_tensorrt_wrote(name: str, data_dir: Path, tmp_path: Path) -> None:
    real = data_dir / "logs/calib" / name
    cache = read_cache(real)
    ranges = {tensor: TensorRange(amax=amax, lowest=-amax, highest=amax) for tensor, amax in cache.amax.items()}
    write_cache(ranges, tmp_path / "ours", version_code=cache.version_code)
    assert (tmp_path / "ours").read_bytes() == real.read_bytes()


@pytest.mark.data
def test_infinity_is_written_by_tensorrt_and_kept(data_dir: Path) -> None:
    """Attention masks of the BERT network hold infinity."""
    cache = read_cache(data_dir / "logs/calib/trt10.10_bert_Hanner123.cache")
    assert [name for name, scale in cache.scales.items() if math.isinf(scale)] == [
        "/bert/encoder/layer.0/attention/self/Add_output_0",
        "/bert/Where_2_output_0",
        "/bert/encoder/layer.1/attention/self/Add_output_0",
    ]


@pytest.mark.parametrize(
    ("release", "code"),
    [
        ("8.2.1", 8201),
        ("8.2.1.8", 8201),  # with the build number, as packages have it
        ("8.6.1", 8601),
        ("9.3.0", 9300),
        ("10.16.1", 101601),
        ("8201", 8201),  # as trtexec's first line shows it
        ("v100300", 100300),
    ],
)
def test_releases_have_the_codes_of_their_headers(release: str, code: int) -> None:
    assert version_code(release) == code


@pytest.mark.parametrize("release", ["", "eight", "8.2", "82", "2024", "1.2.3", "8.2.1.x", "-8.2.1", "8,2,1"])
def test_what_is_no_release(release: str) -> None:
    with pytest.raises(UsageError, match="no release of TensorRT"):
        version_code(release)


def ranges(**amax: float) -> dict[str, TensorRange]:
    return {name: TensorRange(amax=value, lowest=-value, highest=value) for name, value in amax.items()}


def test_a_cache_is_text_that_tensorrt_reads(tmp_path: Path) -> None:
    """1/127 is 3c010204 and 128/127 is 3f810204, as NumPy's float32 has them."""
    write_cache(ranges(x=1.0, y=128.0), tmp_path / "c", version_code=8201)
    assert (tmp_path / "c").read_bytes() == b"TRT-8201-EntropyCalibration2\nx: 3c010204\ny: 3f810204\n"
    for amax, digits in ((1.0, "3c010204"), (128.0, "3f810204")):
        assert np.array(np.float32(amax) / np.float32(127), ">f4").tobytes().hex() == digits


names = st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1)
scales = st.floats(min_value=0, width=32, allow_nan=False)


@given(
    st.dictionaries(names, scales, max_size=6),
    st.integers(5000, 120_000),
    st.sampled_from(["EntropyCalibration2", "MinMaxCalibration"]),
)
def test_any_names_and_scales_come_back(
    tmp_path_factory: pytest.TempPathFactory, entries: dict[str, float], code: int, algorithm: str
) -> None:
    cache = TensorRTCache(version_code=code, algorithm=algorithm, scales=entries)
    path = tmp_path_factory.mktemp("caches") / "c"
    path.write_bytes(cache.to_bytes())
    assert read_cache(path) == cache
    assert list(read_cache(path).scales) == list(entries)


@pytest.mark.parametrize(
    "name", ["a: b", "a: 3c010204", ": x", "a:", " spaced ", "two\rlines\u2028", "(Unnamed Layer* 0) [Conv]"]
)
def test_names_that_look_like_entries_come_back(name: str, tmp_path: Path) -> None:
    write_cache(ranges(**{name: 2.0}), tmp_path / "c", version_code=8201)
    assert list(read_cache(tmp_path / "c").scales) == [name]


@given(st.floats(min_value=0, max_value=float(np.finfo(np.float32).max), width=32))
def test_every_magnitude_has_a_scale_that_a_gpu_can_divide_by(amax: float) -> None:
    scale = np.float32(scale_of(amax))
    assert scale > 0
    assert np.isfinite(np.float32(1) / scale)
    if amax >= 127 * float(np.finfo(np.float32).tiny):
        assert scale == np.float32(amax) / np.float32(127)


def test_a_tensor_of_zeros_gets_the_scale_of_one(tmp_path: Path) -> None:
    write_cache(ranges(zeros=0.0, one=1.0), tmp_path / "c", version_code=100300)
    scales = read_cache(tmp_path / "c").scales
    assert scales["zeros"] == scales["one"] > 0


@pytest.mark.parametrize("name", ["", "two\nlines"])
def test_a_name_that_no_line_can_hold_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot stand"):
        write_cache(ranges(**{name: 1.0}), tmp_path / "c", version_code=8201)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scale", [math.nan, -1.0, 1e39])
def test_a_scale_that_is_none_is_refused(scale: float) -> None:
    with pytest.raises(UsageError, match='"x"'):
        TensorRTCache(version_code=8201, algorithm="EntropyCalibration2", scales={"x": scale}).to_bytes()


HEAD = b"TRT-8501-EntropyCalibration2\n"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no TensorRT calibration cache"),
        (b"x: 3c010204\n", "no TensorRT calibration cache"),
        (b'{"schema": 1}', "no TensorRT calibration cache"),
        (b"TRT-8XXX-EntropyCalibration2\nx: 3c010204\n", "no TensorRT calibration cache"),
        (b"\x00\xff\xfe" * 100, "no TensorRT calibration cache"),
        (HEAD + b"x 3c010204\n", "line 2"),
        (HEAD + b"x: 3c010204\ny: 3c01020\xc3\xa4\n", "line 3"),
        (HEAD + b"x: 3c0102040\n", "line 2"),
        (HEAD + b"x: \n", "line 2"),
        (HEAD + b": 3c010204\n", "line 2"),
        (HEAD + b"x: 0.0078\n", "line 2"),
        (HEAD + b"x: 7fc00000\n", "nan"),
        (HEAD + b"x: bf800000\n", "-1.0"),
        (HEAD + b"x: 3c010204\ny: 3c010204\nx: 3c010204\n", 'line 4 of {path} names the tensor "x" again'),
    ],
)
def test_a_damaged_cache_says_where(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "c"
    path.write_bytes(content)
    with pytest.raises(InputFileError) as caught:
        read_cache(path)
    assert str(path) in caught.value.what
    assert told.format(path=path) in caught.value.what
    assert caught.value.do


def test_a_cache_that_other_tools_wrote(tmp_path: Path) -> None:
    """Line ends of Windows, an empty line at the end, capitals, and digits without leading zeros."""
    (tmp_path / "c").write_bytes(b"TRT-8501-MinMaxCalibration\r\nx: 3C010204\r\nzeros: 0\r\n\r\n")
    cache = read_cache(tmp_path / "c")
    assert cache.algorithm == "MinMaxCalibration"
    assert cache.scales == {"x": pytest.approx(1 / 127), "zeros": 0.0}


def test_a_cache_that_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="does not exist"):
        read_cache(tmp_path / "none")
    with pytest.raises(InputFileError, match="not a file"):
        read_cache(tmp_path)
