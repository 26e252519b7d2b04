"""The ESPNet family as registry entries: facts of the paper and of the released files, no PyTorch.

Paper: "ESPNet: Efficient Spatial Pyramid of Dilated Convolutions for Semantic Segmentation", ECCV 2018.
"""

from __future__ import annotations

from espdeploy.artifacts import Preprocessing
from espdeploy.networks.classes import CAMVID, CITYSCAPES
from espdeploy.networks.entry import DataVariant, NetworkEntry, Published, ReleasedCheckpoint, Setting
from espdeploy.networks.module_formulas import MODULES
from espdeploy.specs import ImageSize

_PAPER = "ESPNet, Mehta et al., ECCV 2018 (arXiv 1803.06815)"
_FACTORY = "espdeploy.networks.espnet"
_WEIGHTS = "espdeploy.networks.espnet_weights"
_TABLE_2F = "ESPNet paper, Table 2f (100 epochs)"
_TABLE_2G = "ESPNet paper, Table 2g (300 epochs)"
_VALIDATION = "Cityscapes validation"
_REPOSITORY = "https://raw.githubusercontent.com/sacmehta/ESPNet"
_ENCODERS = f"{_REPOSITORY}/61610a48c66e73feba0e547ef3cea966298b4847/pretrained/encoder"
_DECODERS = f"{_REPOSITORY}/f35e34e4fa03b0bfb97464263ae38c6236ddb5c1/pretrained/decoder"
_CAMVID_DECODERS = f"{_REPOSITORY}/c04861e438f7bea103388e3c1de316649bb6670f/pretrained/decoder"
_LICENCE = "MIT"

_CITYSCAPES = DataVariant(
    name="cityscapes",
    classes=CITYSCAPES,
    preprocessing=Preprocessing(
        channel_order="BGR",
        divisor=1.0,
        mean=(72.3923111, 82.90893555, 73.15840149),
        std=(45.3192215, 46.15289307, 44.91483307),
        post_divisor=255.0,
    ),
    size=ImageSize(width=1024, height=512),
)
_CAMVID = DataVariant(
    name="camvid",
    classes=CAMVID,
    preprocessing=Preprocessing(
        channel_order="BGR",
        divisor=1.0,
        mean=(109.4046, 107.4245, 105.0918),
        std=(77.1555, 78.3633, 77.0293),
        post_divisor=255.0,
    ),
    size=ImageSize(width=480, height=360),
)
_DATA = (_CITYSCAPES, _CAMVID)

_DECODER = Setting(
    name="decoder",
    kind="int",
    default=16,
    choices=(16, 19),
    help="channels joined before the last 3x3 convolution: level 1 alone, or with the input reinforcement",
)

#: what the studies of ESPNet-C vary (Figure 5, Table 2b, section 3.1)
_STUDY = (
    Setting(
        name="module",
        kind="str",
        default="esp",
        choices=MODULES,
        help="in the place of the ESP modules; with another than esp, strided convolutions halve the resolution",
    ),
    Setting(
        name="hff",
        kind="bool",
        default=True,
        help="hierarchical feature fusion in ESP modules; a checkpoint does not tell it",
        in_weights=False,
    ),
    Setting(
        name="residual",
        kind="bool",
        default=True,
        help="whether esp, shufflenet, resnext and resnet modules add their input; a checkpoint does not tell it",
        in_weights=False,
    ),
)


def _settings(alpha3: int) -> tuple[Setting, ...]:
    return (
        Setting(name="alpha2", kind="int", default=2, minimum=1, maximum=100, help="ESP modules at level 2"),
        Setting(name="alpha3", kind="int", default=alpha3, minimum=1, maximum=100, help="ESP modules at level 3"),
        Setting(name="k", kind="int", default=5, minimum=2, maximum=8, help="width divider of the ESP modules"),
        Setting(name="classes", kind="int", default=20, minimum=1, maximum=10_000, help="channels of the output"),
    )


def _not_at_hand(name: str, alpha3: int, miou_pct: float, *, url: str) -> ReleasedCheckpoint:
    """A released file for Cityscapes that nobody here has had, so that its SHA-256 is not known."""
    return ReleasedCheckpoint(
        name=name,
        sha256=None,
        data="cityscapes",
        size=_CITYSCAPES.size,
        settings={"alpha2": 2, "alpha3": alpha3},
        metric="miou_pct",
        value=miou_pct,
        source=f"{_TABLE_2G}, {_VALIDATION}",
        url=url,
        licence=_LICENCE,
    )


def _row(alpha3: int, params: int, miou_pct: float, *, source: str = _TABLE_2G) -> Published:
    return Published(
        settings={"alpha3": alpha3},
        params=params,
        metric="miou_pct",
        value=miou_pct,
        data=_VALIDATION,
        source=source,
    )


def _row_by_k(k: int, params: int, miou_pct: float) -> Published:
    return Published(
        settings={"alpha3": 3, "k": k},
        params=params,
        metric="miou_pct",
        value=miou_pct,
        data=_VALIDATION,
        source="ESPNet paper, Table 2e",
    )


_ESPNET_A = NetworkEntry(
    name="espnet-a",
    task="segmentation",
    paper=_PAPER,
    settings=_settings(3),
    data=_DATA,
    size_multiple=8,
    min_size=ImageSize(width=8, height=8),
    params=168_352,
    macs=2_004_353_024,
    factory=f"{_FACTORY}:espnet_a",
    weights_format=_WEIGHTS,
    published=(
        _row(3, 183_000, 39.0, source=_TABLE_2F),
        _row_by_k(2, 358_000, 41.5),
        _row_by_k(4, 215_000, 37.8),
        _row_by_k(5, 183_000, 38.1),
        _row_by_k(6, 165_000, 35.9),
        _row_by_k(7, 152_000, 32.1),
        _row_by_k(8, 143_000, 30.3),
    ),
    differences={
        "params": "the table does not print the network that the text and Figure 4a describe, which is what is built "
        "here; the 0.183 M of K = 5 are what it counts with a strided ESP module of 128 to 128 channels"
    },
    note="built as the paper's text and Figure 4a describe it: 168,352 parameters, where Table 2f prints 0.183 M",
)

_ESPNET_B = NetworkEntry(
    name="espnet-b",
    task="segmentation",
    paper=_PAPER,
    settings=_settings(3),
    data=_DATA,
    size_multiple=8,
    min_size=ImageSize(width=8, height=8),
    params=186_512,
    macs=2_143_289_344,
    factory=f"{_FACTORY}:espnet_b",
    weights_format=_WEIGHTS,
    published=(_row(3, 186_000, 40.0, source=_TABLE_2F),),
)

_ESPNET_C = NetworkEntry(
    name="espnet-c",
    task="segmentation",
    paper=_PAPER,
    settings=(*_settings(8), *_STUDY),
    data=_DATA,
    size_multiple=8,
    min_size=ImageSize(width=8, height=8),
    params=349_449,
    macs=3_470_155_776,
    factory=f"{_FACTORY}:espnet_c",
    weights_format=_WEIGHTS,
    checkpoints=(
        ReleasedCheckpoint(
            name="espnetc_p_2_q_8.pth",
            sha256="836f28a2a31bd4fc8997001ab6b620d1f9b7b274a03b32d9f3a95c17a011b438",
            data="cityscapes",
            size=_CITYSCAPES.size,
            settings={"alpha2": 2, "alpha3": 8},
            metric="miou_pct",
            value=53.3,
            source="ESPNet paper, Table 2g, Cityscapes validation",
            url=f"{_ENCODERS}/espnet_p_2_q_8.pth",
            licence=_LICENCE,
            size_bytes=1_433_605,
        ),
        _not_at_hand("espnetc_p_2_q_3.pth", 3, 49.0, url=f"{_ENCODERS}/espnet_p_2_q_3.pth"),
        _not_at_hand("espnetc_p_2_q_5.pth", 5, 51.2, url=f"{_ENCODERS}/espnet_p_2_q_5.pth"),
    ),
    published=(_row(3, 187_000, 49.0), _row(5, 252_000, 51.2), _row(8, 349_000, 53.3)),
    modules="espdeploy.networks.module_formulas:figures",
    counted_modules=(7_680, 32_000),
    note="module replaces the ESP modules of levels 2 and 3. With another than esp, standard strided convolutions "
    "halve the resolution, as in the paper's study (Figure 5, alpha3=3, k=5; shufflenet with k=4): its resnet counts "
    "1,204,514 parameters, 6.42 times the 187,529 of esp, where the text says 6.5. Where k does not divide the "
    "channels, the formulas take floor(N / k) and give the rest to the first branch",
)

_ESPNET = NetworkEntry(
    name="espnet",
    task="segmentation",
    paper=_PAPER,
    settings=(*_settings(8), _DECODER),
    data=_DATA,
    size_multiple=8,
    min_size=ImageSize(width=8, height=8),
    params=364_569,
    macs=4_709_441_536,
    factory=f"{_FACTORY}:espnet",
    weights_format=_WEIGHTS,
    checkpoints=(
        ReleasedCheckpoint(
            name="espnet_p_2_q_8.pth",
            sha256="343b0e77e8545d36113c4f3efbf1ee349256f25c97c9f9d5ddefe45f2f49763e",
            data="cityscapes",
            size=_CITYSCAPES.size,
            settings={"alpha2": 2, "alpha3": 8, "decoder": 16},
            metric="miou_pct",
            value=60.34,
            source="ESPNet paper, Table 4a, Cityscapes test",
            url=f"{_DECODERS}/espnet_p_2_q_8.pth",
            licence=_LICENCE,
            size_bytes=1_501_621,
        ),
        ReleasedCheckpoint(
            name="espnet_p_2_q_3.pth",
            sha256="8f3eb198fb15e5da7fa8d258d5f0fc4a4213e1124f415f6fc54d2772d585a7fc",
            data="cityscapes",
            size=_CITYSCAPES.size,
            settings={"alpha2": 2, "alpha3": 3, "decoder": 16},
            metric="miou_pct",
            value=56.3,
            source="ESPNet paper, Table 2g, Cityscapes validation",
            url=f"{_DECODERS}/espnet_p_2_q_3.pth",
            licence=_LICENCE,
            size_bytes=840_008,
        ),
        ReleasedCheckpoint(
            name="espnet_p_2_q_8_camvid.pth",
            sha256="7d354a257170322086dcd4c1e89a482454cf2c9d30b085e70883878dd59301af",
            data="camvid",
            size=_CAMVID.size,
            settings={"alpha2": 2, "alpha3": 8, "classes": 12, "decoder": 19},
            metric="miou_pct",
            value=68.69,
            source="the authors' code over 51 CamVid validation frames, void left out",
            url=f"{_CAMVID_DECODERS}/espnet_p_2_q_8_camvid.pth",
            licence=_LICENCE,
            size_bytes=1_460_677,
        ),
        _not_at_hand("espnet_p_2_q_5.pth", 5, 57.9, url=f"{_DECODERS}/espnet_p_2_q_5.pth"),
    ),
    published=(
        _row(3, 202_000, 56.3),
        _row(5, 267_000, 57.9),
        _row(8, 364_000, 61.4),
        Published(
            settings={"alpha3": 8},
            params=364_000,
            macs=424_000_000,
            metric="miou_pct",
            value=60.34,
            data="Cityscapes test",
            source="ESPNet paper, Table 4a; multiply-adds at 224x224 from the ESPNetv2 paper, Figure 7c",
        ),
    ),
    note="the 424 M multiply-adds printed for 224x224 leave the transposed convolutions out: with them 451 M",
    differences={"macs": "in print, transposed convolutions are left out"},
)

ENTRIES: tuple[NetworkEntry, ...] = (_ESPNET, _ESPNET_C, _ESPNET_B, _ESPNET_A)
