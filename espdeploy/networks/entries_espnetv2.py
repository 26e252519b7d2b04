"""ESPNetv2 as registry entries: facts of the paper, of the released files and of their table, no PyTorch.

Paper: "ESPNetv2: A Light-weight, Power Efficient, and General Purpose Convolutional Neural Network", CVPR 2019.
The segmentation checkpoints are those of the authors' later repository, EdgeNets.
"""

from __future__ import annotations

from espdeploy.artifacts import Preprocessing
from espdeploy.networks.classes import CITYSCAPES, IMAGENET, PASCAL
from espdeploy.networks.entry import (
    PAPERS_SIZE,
    DataVariant,
    NetworkEntry,
    Published,
    ReleasedCheckpoint,
    Setting,
    SettingValue,
)
from espdeploy.specs import ImageSize

_PAPER = "ESPNetv2, Mehta et al., CVPR 2019 (arXiv 1811.11431)"
_WEIGHTS = "espdeploy.networks.espnetv2_weights"
_TABLE_2 = "ESPNetv2 paper, Table 2 and Figure 3"
_TABLE_4 = "ESPNetv2 paper, Table 4 (90 epochs, fixed learning rate)"
_TABLE_5 = "ESPNetv2 paper, Table 5"
_FIGURE_7 = "ESPNetv2 paper, Figure 7c; multiply-adds at 224x224"
_ZOO = "table of the EdgeNets model zoo"
_IMAGENET_VALIDATION = "ImageNet validation, one crop"
_CITYSCAPES_VALIDATION = "Cityscapes validation"
_PASCAL_VALIDATION = "PASCAL VOC validation"
_EDGENETS = "https://raw.githubusercontent.com/sacmehta/EdgeNets"
_EDGENETS_FOLDER = "model/segmentation/model_zoo/espnetv2"
_EDGENETS_LICENCE = "MIT"
#: the commits that brought the files, by data set and input size; scale 2.0 for Cityscapes came with another
_EDGENETS_COMMITS = {
    "city_1024x512": "5de7b80b17cdb9328a939d10638e9782f2854f77",
    "city_512x256": "ad6e0c7ebefba57f27841ced0afecc8a6d45d9c1",
    "pascal_256x256": "3c28cce4de707ad4ad9732ebfc7e11a05e99359b",
    "pascal_384x384": "3c28cce4de707ad4ad9732ebfc7e11a05e99359b",
}
_EDGENETS_COMMIT_2_0 = "5976d678ee754b846d09485f2fbd059e6f30883b"
#: weights of the paper's decoder; that repository states no licence
_ESPNETV2 = (
    "https://raw.githubusercontent.com/sacmehta/ESPNetv2/8ec3e8779a2dee327310206a2a20df7e1a7a02b5"
    "/segmentation/pretrained_models"
)

_PREPROCESSING = Preprocessing(
    channel_order="RGB", divisor=255.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)
_IMAGENET_224 = DataVariant(
    name="imagenet", classes=IMAGENET, preprocessing=_PREPROCESSING, size=ImageSize(width=224, height=224)
)
_CITYSCAPES_1024 = DataVariant(
    name="cityscapes", classes=CITYSCAPES, preprocessing=_PREPROCESSING, size=ImageSize(width=1024, height=512)
)
_PASCAL_256 = DataVariant(
    name="pascal", classes=PASCAL, preprocessing=_PREPROCESSING, size=ImageSize(width=256, height=256)
)

_SCALES = (0.5, 1.0, 1.25, 1.5, 1.75, 2.0)


def _scale(default: float) -> Setting:
    return Setting(name="scale", kind="float", default=default, choices=_SCALES, help="width of every level")


def _classes(default: int) -> Setting:
    return Setting(
        name="classes", kind="int", default=default, minimum=1, maximum=10_000, help="channels of the output"
    )


def _top1(
    settings: dict[str, SettingValue], params: int, macs: int, top1_pct: float | None, *, source: str
) -> Published:
    return Published(
        settings=settings,
        params=params,
        macs=macs,
        metric=None if top1_pct is None else "top1_pct",
        value=top1_pct,
        data=None if top1_pct is None else _IMAGENET_VALIDATION,
        source=source,
    )


def _imagenet_not_at_hand(scale: float, top1_pct: float) -> ReleasedCheckpoint:
    """A file that the authors' page names, at an address that is not confirmed, and that nobody here has had."""
    return ReleasedCheckpoint(
        name=f"espnetv2_s_{scale}.pth",
        sha256=None,
        data="imagenet",
        size=_IMAGENET_224.size,
        settings={"scale": scale},
        metric="top1_pct",
        value=top1_pct,
        source=f"the authors' ESPNetv2 repository, imagenet/pretrained_weights, {_IMAGENET_VALIDATION}",
    )


_CLASSIFICATION = NetworkEntry(
    name="espnetv2",
    task="classification",
    paper=_PAPER,
    settings=(
        _scale(1.0),
        _classes(1000),
        Setting(name="hff", kind="bool", default=True, help="hierarchical feature fusion", in_weights=False),
        Setting(name="shortcut", kind="bool", default=True, help="long-range shortcut from the image"),
        Setting(
            name="reduction",
            kind="str",
            default="group",
            choices=("group", "pointwise"),
            help="first convolution of the EESP units: in four groups, or plain",
        ),
    ),
    data=(_IMAGENET_224,),
    size_multiple=1,
    min_size=ImageSize(width=1, height=1),
    params=1_670_072,
    macs=86_744_404,
    factory="espdeploy.networks.espnetv2:espnetv2",
    weights_format=_WEIGHTS,
    checkpoints=(
        _imagenet_not_at_hand(0.5, 57.7),
        _imagenet_not_at_hand(1.0, 66.1),
        _imagenet_not_at_hand(1.25, 67.9),
        _imagenet_not_at_hand(1.5, 69.2),
        _imagenet_not_at_hand(2.0, 72.1),
    ),
    published=(
        _top1({"scale": 0.5}, 1_240_000, 28_000_000, 57.7, source=_TABLE_2),
        _top1({"scale": 1.0}, 1_670_000, 86_000_000, 66.1, source=_TABLE_2),
        _top1({"scale": 1.25}, 1_970_000, 123_000_000, 67.9, source=_TABLE_2),
        _top1({"scale": 1.5}, 2_310_000, 169_000_000, 69.2, source=_TABLE_2),
        _top1({"scale": 1.75}, 3_030_000, 224_000_000, None, source=_TABLE_2),
        _top1({"scale": 2.0}, 3_490_000, 284_000_000, 72.1, source=_TABLE_2),
        _top1({"scale": 1.0, "hff": False, "shortcut": False}, 1_660_000, 84_000_000, 58.94, source=_TABLE_4),
        _top1({"scale": 1.0, "shortcut": False}, 1_660_000, 84_000_000, 60.07, source=_TABLE_4),
        _top1({"scale": 1.0}, 1_670_000, 86_000_000, 61.20, source=_TABLE_4),
        _top1({"scale": 0.5, "reduction": "pointwise"}, 1_300_000, 39_000_000, 57.14, source=_TABLE_5),
        _top1({"scale": 1.0, "reduction": "pointwise"}, 1_920_000, 127_000_000, 67.14, source=_TABLE_5),
    ),
    differences={"macs": "in print, the fully connected layer is left out"},
    note="the printed multiply-adds leave the fully connected layer out, 1.02 M or 1.28 M of them. As in the authors' "
    "code, the strided units hold an activation, and the last one an image shortcut, that they do not use: these count "
    "as parameters, and an exported file does not have them",
)


def _miou(
    settings: dict[str, SettingValue],
    miou_pct: float,
    data: str,
    *,
    source: str,
    counts: tuple[int, int] | None = None,
    macs_size: ImageSize = PAPERS_SIZE,
) -> Published:
    params, macs = counts or (None, None)
    return Published(
        settings=settings,
        params=params,
        macs=macs,
        metric="miou_pct",
        value=miou_pct,
        data=data,
        source=source,
        macs_size=macs_size,
    )


def _zoo(scale: float, variant: DataVariant, params: int, macs: int, miou_pct: float) -> Published:
    """A row of the EdgeNets table, whose sizes are the variants' own."""
    classes = len(variant.classes.names) if variant.classes else 0
    return _miou(
        {"scale": scale, "head": "edgenets", "classes": classes},
        miou_pct,
        _CITYSCAPES_VALIDATION if variant is _CITYSCAPES_1024 else _PASCAL_VALIDATION,
        source=f"{_ZOO}; multiply-adds at {variant.size}",
        counts=(params, macs),
        macs_size=variant.size,
    )


def _edgenets_url(name: str, scale: float, kind: str) -> str:
    commit = _EDGENETS_COMMIT_2_0 if scale == 2.0 else _EDGENETS_COMMITS[kind]
    return f"{_EDGENETS}/{commit}/{_EDGENETS_FOLDER}/{name}"


def _edgenets_not_at_hand(scale: float, kind: str) -> ReleasedCheckpoint:
    """A file of the EdgeNets model zoo that nobody here has had, so that its SHA-256 is not known."""
    name = f"espnetv2_s_{scale}_{kind}.pth"
    data, _, size = kind.partition("_")
    return ReleasedCheckpoint(
        name=name,
        sha256=None,
        data="cityscapes" if data == "city" else data,
        size=ImageSize.parse(size),
        settings={"scale": scale, "head": "edgenets", "classes": 20 if data == "city" else 21},
        metric=None,
        value=None,
        source="EdgeNets model zoo",
        url=_edgenets_url(name, scale, kind),
        licence=_EDGENETS_LICENCE,
    )


def _paper_head_not_at_hand(scale: float) -> ReleasedCheckpoint:
    """A file with the paper's decoder that nobody here has had, so that its SHA-256 is not known."""
    name = f"espnetv2_segmentation_s_{scale}.pth"
    return ReleasedCheckpoint(
        name=name,
        sha256=None,
        data="cityscapes",
        size=_CITYSCAPES_1024.size,
        settings={"scale": scale, "head": "paper", "classes": 20},
        metric=None,
        value=None,
        source="the authors' ESPNetv2 repository",
        url=f"{_ESPNETV2}/{name}",
    )


_SEGMENTATION = NetworkEntry(
    name="espnetv2-seg",
    task="segmentation",
    paper=_PAPER,
    settings=(
        _scale(1.5),
        Setting(
            name="head",
            kind="str",
            default="paper",
            choices=("paper", "edgenets"),
            help="the decoder: that of the paper's figures, or that of the released checkpoints",
        ),
        _classes(20),
    ),
    data=(_CITYSCAPES_1024, _PASCAL_256),
    size_multiple=16,
    min_size=ImageSize(width=16, height=16),
    params=725_166,
    macs=3_361_136_640,
    factory="espdeploy.networks.espnetv2_seg:espnetv2_seg",
    weights_format=_WEIGHTS,
    checkpoints=(
        ReleasedCheckpoint(
            name="espnetv2_s_1.0_city_1024x512.pth",
            sha256="0918c833fed889e32901ce739b1784fdd2b79f95a9aea199a469ca3394dd7a14",
            data="cityscapes",
            size=_CITYSCAPES_1024.size,
            settings={"scale": 1.0, "head": "edgenets", "classes": 20},
            metric="miou_pct",
            value=60.1,
            source=f"{_ZOO}, {_CITYSCAPES_VALIDATION}",
            url=_edgenets_url("espnetv2_s_1.0_city_1024x512.pth", 1.0, "city_1024x512"),
            licence=_EDGENETS_LICENCE,
            size_bytes=1_107_690,
        ),
        ReleasedCheckpoint(
            name="espnetv2_s_2.0_city_512x256.pth",
            sha256="6b6f26b567c82bb4d6624387f24ed505613edafad19222e1707993fbe0d1d8f6",
            data="cityscapes",
            size=ImageSize(width=512, height=256),
            settings={"scale": 2.0, "head": "edgenets", "classes": 20},
            metric="miou_pct",
            value=50.4,
            source=f"{_ZOO} (a row that it does not display), {_CITYSCAPES_VALIDATION}",
            url=_edgenets_url("espnetv2_s_2.0_city_512x256.pth", 2.0, "city_512x256"),
            licence=_EDGENETS_LICENCE,
            size_bytes=3_376_094,
        ),
        ReleasedCheckpoint(
            name="espnetv2_s_0.5_pascal_256x256.pth",
            sha256="9c7bebecd73c603a7eb2d8833eb2c54d0627e37e731548b7833291873e0a2e67",
            data="pascal",
            size=_PASCAL_256.size,
            settings={"scale": 0.5, "head": "edgenets", "classes": 21},
            metric="miou_pct",
            value=39.82,
            source=f"{_ZOO}, {_PASCAL_VALIDATION}",
            url=_edgenets_url("espnetv2_s_0.5_pascal_256x256.pth", 0.5, "pascal_256x256"),
            licence=_EDGENETS_LICENCE,
            size_bytes=469_363,
        ),
        _edgenets_not_at_hand(0.5, "city_1024x512"),
        _edgenets_not_at_hand(1.5, "city_1024x512"),
        _edgenets_not_at_hand(2.0, "city_1024x512"),
        _edgenets_not_at_hand(0.5, "city_512x256"),
        _edgenets_not_at_hand(1.0, "city_512x256"),
        _edgenets_not_at_hand(1.5, "city_512x256"),
        _edgenets_not_at_hand(1.0, "pascal_256x256"),
        _edgenets_not_at_hand(1.5, "pascal_256x256"),
        _edgenets_not_at_hand(2.0, "pascal_256x256"),
        _edgenets_not_at_hand(0.5, "pascal_384x384"),
        _edgenets_not_at_hand(1.0, "pascal_384x384"),
        _edgenets_not_at_hand(1.5, "pascal_384x384"),
        _edgenets_not_at_hand(2.0, "pascal_384x384"),
        _paper_head_not_at_hand(0.5),
        _paper_head_not_at_hand(1.0),
        _paper_head_not_at_hand(1.5),
    ),
    published=(
        _miou({"scale": 0.5}, 54.7, "Cityscapes test", source=_FIGURE_7, counts=(99_000, 54_000_000)),
        _miou({"scale": 1.5}, 62.1, "Cityscapes test", source=_FIGURE_7, counts=(725_000, 322_000_000)),
        _miou({"scale": 2.0}, 62.7, _CITYSCAPES_VALIDATION, source="ESPNetv2 paper, Figure 7b"),
        _zoo(0.5, _CITYSCAPES_1024, 80_000, 597_560_000, 53.9),
        _zoo(1.0, _CITYSCAPES_1024, 230_000, 1_086_590_000, 60.1),
        _zoo(1.5, _CITYSCAPES_1024, 470_000, 1_714_570_000, 63.8),
        _zoo(2.0, _CITYSCAPES_1024, 790_000, 2_699_050_000, 66.4),
        _zoo(0.5, _PASCAL_256, 80_000, 74_880_000, 39.82),
        _zoo(1.0, _PASCAL_256, 230_000, 136_000_000, 54.14),
        _zoo(1.5, _PASCAL_256, 470_000, 214_510_000, 59.39),
        _zoo(2.0, _PASCAL_256, 790_000, 337_580_000, 63.36),
    ),
    note="the paper's decoder is built from the authors' public network, for the paper does not describe it; no file "
    "with its weights is at hand. Strided units hold an activation that they do not use, as the authors' do: it counts "
    "as parameters, and an exported file does not have it",
)

ENTRIES: tuple[NetworkEntry, ...] = (_CLASSIFICATION, _SEGMENTATION)
