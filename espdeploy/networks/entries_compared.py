"""The networks that both papers compare with, as registry entries: facts of their papers, no PyTorch.

ENet and ERFNet for segmentation; MobileNets and ShuffleNets, whose power the ESPNetv2 paper measures, for
classification at about 300 M and at 28 to 40 M multiply-adds (each note says which setting that is).
"""

from __future__ import annotations

from collections.abc import Mapping

from espdeploy.artifacts import Preprocessing
from espdeploy.networks.classes import CAMVID, CITYSCAPES, IMAGENET
from espdeploy.networks.entry import PAPERS_SIZE, DataVariant, NetworkEntry, Published, Setting, SettingValue
from espdeploy.specs import ImageSize

_MILLION = 1_000_000
_IMAGENET_VALIDATION = "ImageNet validation, one crop"
_CITYSCAPES_TEST = "Cityscapes test"
_ESPNETV2_FIGURE_7C = "ESPNetv2 paper, Figure 7c; multiply-adds at 224x224"

#: both train on RGB images in 0..1, without means and deviations
_UNIT_RGB = Preprocessing(channel_order="RGB", divisor=255.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
_CITYSCAPES_1024 = DataVariant(
    name="cityscapes", classes=CITYSCAPES, preprocessing=_UNIT_RGB, size=ImageSize(width=1024, height=512)
)
_CAMVID_480 = DataVariant(name="camvid", classes=CAMVID, preprocessing=_UNIT_RGB, size=ImageSize(width=480, height=360))
#: means and deviations of ImageNet's training images, as PyTorch users take them
_IMAGENET_224 = DataVariant(
    name="imagenet",
    classes=IMAGENET,
    preprocessing=Preprocessing(
        channel_order="RGB", divisor=255.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    ),
    size=ImageSize(width=224, height=224),
)


def _classes(default: int) -> Setting:
    return Setting(
        name="classes", kind="int", default=default, minimum=1, maximum=10_000, help="channels of the output"
    )


_FREE_WIDTH = Setting(
    name="width", kind="float", default=1.0, minimum=0.1, maximum=2.0, help="multiplier of every channel count"
)


def _row(
    settings: Mapping[str, SettingValue],
    macs_m: int,
    top1_pct: float,
    source: str,
    *,
    params_m: float | None = None,
    macs_size: ImageSize = PAPERS_SIZE,
) -> Published:
    """A printed row of a classification network; both counts in millions."""
    return Published(
        settings=settings,
        source=source,
        params=None if params_m is None else round(params_m * _MILLION),
        macs=macs_m * _MILLION,
        metric="top1_pct",
        value=top1_pct,
        data=_IMAGENET_VALIDATION,
        macs_size=macs_size,
    )


_ENET = NetworkEntry(
    name="enet",
    task="segmentation",
    paper="ENet, Paszke et al., 2016 (arXiv 1606.02147)",
    settings=(
        Setting(
            name="form",
            kind="str",
            default="pytorch",
            choices=("pytorch", "torch7"),
            help="the form common in PyTorch, or the wider one with biases of the first release",
        ),
        _classes(20),
    ),
    data=(_CITYSCAPES_1024, _CAMVID_480),
    size_multiple=8,
    min_size=ImageSize(width=8, height=8),
    params=351_804,
    macs=4_056_285_184,
    factory="espdeploy.networks.enet:enet",
    published=(
        Published(
            settings={"form": "torch7"},
            source="ESPNetv2 paper, Figure 7c",
            params=364_000,
            metric="miou_pct",
            value=58.29,
            data=_CITYSCAPES_TEST,
        ),
        Published(settings={"form": "pytorch"}, source=_ESPNETV2_FIGURE_7C, macs=345 * _MILLION),
    ),
    differences={"macs": "in print, transposed convolutions are left out"},
    note="form=pytorch, the common one, counts 351,804 parameters; the 0.364 M printed are those of form=torch7 "
    "(364,376). The 345 M multiply-adds printed for 224x224 are those of form=pytorch without its transposed "
    "convolutions: with them 388 M. Max-unpooling is rewritten for the export, with the same results; where two values "
    "of a window are equal but for rounding, runtimes may choose differently, which moves a few output values",
    jumps_pct=1.0,
)

_ERFNET = NetworkEntry(
    name="erfnet",
    task="segmentation",
    paper="ERFNet, Romera et al., IEEE T-ITS 2018",
    settings=(_classes(20),),
    data=(_CITYSCAPES_1024,),
    size_multiple=8,
    min_size=ImageSize(width=8, height=8),
    params=2_066_836,
    macs=26_612_727_808,
    factory="espdeploy.networks.erfnet:erfnet",
    published=(
        Published(
            settings={},
            source=_ESPNETV2_FIGURE_7C,
            params=2_060_000,
            macs=2_450 * _MILLION,
            metric="miou_pct",
            value=68.02,
            data=_CITYSCAPES_TEST,
        ),
    ),
    differences={"macs": "in print, transposed convolutions are left out"},
    note="the 2.45 G multiply-adds printed for 224x224 leave the transposed convolutions out: with them 2.55 G. "
    "The parameters hold the encoder's own classifier (2,580 of them at 20 classes), which training uses and an "
    "exported file does not have",
)

_V1_TABLE_6 = "MobileNetV1 paper, Table 6"
_MOBILENETV1 = NetworkEntry(
    name="mobilenetv1",
    task="classification",
    paper="MobileNets, Howard et al., 2017 (arXiv 1704.04861)",
    settings=(_FREE_WIDTH, _classes(1000)),
    data=(_IMAGENET_224,),
    size_multiple=1,
    min_size=ImageSize(width=32, height=32),
    params=4_231_976,
    macs=568_740_352,
    factory="espdeploy.networks.mobilenet:mobilenetv1",
    published=(
        _row({"width": 1.0}, 569, 70.6, _V1_TABLE_6, params_m=4.2),
        _row({"width": 0.75}, 325, 68.4, _V1_TABLE_6, params_m=2.6),
        _row({"width": 0.5}, 149, 63.7, _V1_TABLE_6, params_m=1.3),
        _row({"width": 0.25}, 41, 50.6, _V1_TABLE_6, params_m=0.5),
        _row(
            {"width": 0.25},
            34,
            47.7,
            "ESPNetv2 paper, section 4.1; the authors' list of checkpoints, at 192x192",
            macs_size=ImageSize(width=192, height=192),
        ),
    ),
    differences={"macs": "they fall with the image's area: the 34 M printed at 192x192 do not fit the 41 M at 224x224"},
    note="about 300 M multiply-adds: width=0.75 (325 M); 28 to 40 M: width=0.25 at 192x192 (30.2 M; the 34 M printed "
    "do not fit, as they fall with the area, from 41.0 M at 224x224)",
)

_MOBILENETV2 = NetworkEntry(
    name="mobilenetv2",
    task="classification",
    paper="MobileNetV2, Sandler et al., CVPR 2018 (arXiv 1801.04381)",
    settings=(_FREE_WIDTH, _classes(1000)),
    data=(_IMAGENET_224,),
    size_multiple=1,
    min_size=ImageSize(width=32, height=32),
    params=3_504_872,
    macs=300_774_272,
    factory="espdeploy.networks.mobilenet:mobilenetv2",
    published=(_row({"width": 1.0}, 300, 72.0, "MobileNetV2 paper, Table 4", params_m=3.4),),
    differences={"params": "in print, scale and shift of the normalisation are left out"},
    note="about 300 M multiply-adds: width=1.0 (301 M); 28 to 40 M: width=0.35 at 160x160 (30.9 M), or width=0.25 "
    "(37.2 M). The 3.4 M parameters printed leave scale and shift of the normalisation out: 3.47 M without them",
)

_SHUFFLENET_1 = "ShuffleNet paper, Tables 1 and 2"
_SHUFFLENET_LIST = "the authors' list of checkpoints (megvii-model/ShuffleNet-Series)"
_SHUFFLENETV1 = NetworkEntry(
    name="shufflenetv1",
    task="classification",
    paper="ShuffleNet, Zhang et al., CVPR 2018 (arXiv 1707.01083)",
    settings=(
        Setting(name="groups", kind="int", default=3, choices=(1, 2, 3, 4, 8), help="of the point-wise convolutions"),
        Setting(
            name="width", kind="float", default=1.0, choices=(0.25, 0.5, 1.0, 1.5, 2.0), help="multiplier of channels"
        ),
        _classes(1000),
    ),
    data=(_IMAGENET_224,),
    size_multiple=1,
    min_size=ImageSize(width=32, height=32),
    params=1_865_728,
    macs=137_460_672,
    factory="espdeploy.networks.shufflenet:shufflenetv1",
    published=(
        _row({"groups": 1}, 143, 66.4, _SHUFFLENET_1),
        _row({"groups": 2}, 140, 67.3, _SHUFFLENET_1),
        _row({"groups": 3}, 137, 67.4, _SHUFFLENET_1),
        _row({"groups": 4}, 133, 67.2, _SHUFFLENET_1),
        _row({"groups": 8}, 137, 67.6, _SHUFFLENET_1),
        _row({"groups": 3, "width": 0.25}, 13, 45.0, "ShuffleNet paper, Table 2"),
        _row({"groups": 3, "width": 0.5}, 38, 57.3, _SHUFFLENET_LIST, params_m=0.7),
        _row({"groups": 3, "width": 1.0}, 138, 67.8, _SHUFFLENET_LIST, params_m=1.9),
        _row({"groups": 3, "width": 1.5}, 292, 71.6, _SHUFFLENET_LIST, params_m=3.4),
        _row({"groups": 3, "width": 2.0}, 524, 74.1, _SHUFFLENET_LIST, params_m=5.4),
        _row({"groups": 8, "width": 0.5}, 40, 58.8, _SHUFFLENET_LIST, params_m=1.0),
        _row({"groups": 8, "width": 1.0}, 138, 68.0, _SHUFFLENET_LIST, params_m=2.4),
        _row({"groups": 8, "width": 1.5}, 290, 71.0, _SHUFFLENET_LIST, params_m=4.3),
        _row({"groups": 8, "width": 2.0}, 522, 72.9, _SHUFFLENET_LIST, params_m=6.5),
    ),
    differences={"macs": "in print, the linear layer is left out"},
    note="about 300 M multiply-adds: width=1.5 (292 M); 28 to 40 M: width=0.5 (37.6 M), both with groups=3. What the "
    "paper prints for width 1.0 leaves the linear layer out, which adds up to 1 %. The parameters are our count, which "
    "the authors' list confirms. Where the groups do not divide a scaled width, the nearest that they divide is taken",
)

_V2_TABLE_8 = "ShuffleNetV2 paper, Table 8"
_SHUFFLENETV2 = NetworkEntry(
    name="shufflenetv2",
    task="classification",
    paper="ShuffleNetV2, Ma et al., ECCV 2018 (arXiv 1807.11164)",
    settings=(
        Setting(name="width", kind="float", default=1.0, choices=(0.5, 1.0, 1.5, 2.0), help="the paper's four widths"),
        _classes(1000),
    ),
    data=(_IMAGENET_224,),
    size_multiple=1,
    min_size=ImageSize(width=32, height=32),
    params=2_278_604,
    macs=144_907_992,
    factory="espdeploy.networks.shufflenet:shufflenetv2",
    published=(
        _row({"width": 0.5}, 41, 60.3, _V2_TABLE_8, params_m=1.4),
        _row({"width": 1.0}, 146, 69.4, _V2_TABLE_8, params_m=2.3),
        _row({"width": 1.5}, 299, 72.6, _V2_TABLE_8, params_m=3.5),
        _row({"width": 2.0}, 591, 74.9, _V2_TABLE_8, params_m=7.4),
    ),
    differences={"macs": "not known: the paper does not say what it counts beside convolutions and the linear layer"},
    note="about 300 M multiply-adds: width=1.5 (296 M); 28 to 40 M: width=0.5 (40.5 M). The printed multiply-adds are "
    "0.7 to 1.3 % above ours, at equal parameters; the paper does not say what it counts beside convolutions and the "
    "linear layer",
)

ENTRIES: tuple[NetworkEntry, ...] = (_ENET, _ERFNET, _MOBILENETV1, _MOBILENETV2, _SHUFFLENETV1, _SHUFFLENETV2)
