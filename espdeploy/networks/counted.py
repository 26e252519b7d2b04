"""Our own count, parameters and multiply-adds, for the settings and sizes that the papers print.

Written by docs/generate_counts.py; a test counts them anew.
"""

from __future__ import annotations

#: network -> "settings at size" -> (parameters, multiply-adds)
COUNTED: dict[str, dict[str, tuple[int, int | None]]] = {
    "espnet": {
        "alpha3=3 at 1024x512": (202_649, 3_398_721_536),
        "alpha3=5 at 1024x512": (267_417, 3_923_009_536),
        "alpha3=8 at 1024x512": (364_569, 4_709_441_536),
        "alpha3=8 at 224x224": (364_569, 450_708_272),
    },
    "espnet-c": {
        "alpha3=3 at 1024x512": (187_529, 2_159_435_776),
        "alpha3=5 at 1024x512": (252_297, 2_683_723_776),
        "alpha3=8 at 1024x512": (349_449, 3_470_155_776),
    },
    "espnet-b": {
        "alpha3=3 at 1024x512": (186_512, 2_143_289_344),
    },
    "espnet-a": {
        "alpha3=3 at 1024x512": (168_352, 2_004_353_024),
        "alpha3=3 k=2 at 1024x512": (425_504, 5_093_982_208),
        "alpha3=3 k=4 at 1024x512": (215_328, 2_585_788_416),
        "alpha3=3 k=5 at 1024x512": (168_352, 2_004_353_024),
        "alpha3=3 k=6 at 1024x512": (142_080, 1_690_828_800),
        "alpha3=3 k=7 at 1024x512": (123_376, 1_488_453_632),
        "alpha3=3 k=8 at 1024x512": (110_240, 1_331_691_520),
    },
    "espnetv2": {
        "scale=0.5 at 224x224": (1_241_332, 29_399_508),
        "scale=1.0 at 224x224": (1_670_072, 86_744_404),
        "scale=1.25 at 224x224": (1_965_440, 124_423_444),
        "scale=1.5 at 224x224": (2_314_856, 169_628_884),
        "scale=1.75 at 224x224": (3_032_432, 225_426_580),
        "scale=2.0 at 224x224": (3_498_136, 286_086_228),
        "hff=False scale=1.0 shortcut=False at 224x224": (1_664_912, 85_357_312),
        "scale=1.0 shortcut=False at 224x224": (1_664_912, 85_357_312),
        "reduction=pointwise scale=0.5 at 224x224": (1_306_084, 39_635_412),
        "reduction=pointwise scale=1.0 at 224x224": (1_929_080, 127_688_020),
    },
    "espnetv2-seg": {
        "scale=0.5 at 224x224": (99_418, 54_011_284),
        "scale=1.5 at 224x224": (725_166, 321_679_380),
        "scale=2.0 at 1024x512": (1_253_038, 5_671_012_352),
        "classes=20 head=edgenets scale=0.5 at 1024x512": (80_342, 596_248_176),
        "classes=20 head=edgenets scale=1.0 at 1024x512": (234_010, 1_085_283_952),
        "classes=20 head=edgenets scale=1.5 at 1024x512": (468_362, 1_713_255_536),
        "classes=20 head=edgenets scale=2.0 at 1024x512": (789_242, 2_697_742_960),
        "classes=21 head=edgenets scale=0.5 at 256x256": (80_353, 74_703_928),
        "classes=21 head=edgenets scale=1.0 at 256x256": (234_021, 135_838_776),
        "classes=21 head=edgenets scale=1.5 at 256x256": (468_373, 214_340_152),
        "classes=21 head=edgenets scale=2.0 at 256x256": (789_253, 337_406_008),
    },
    "enet": {
        "form=torch7 at 1024x512": (364_376, 3_930_456_064),
        "form=pytorch at 224x224": (351_804, 388_199_168),
    },
    "erfnet": {
        "at 224x224": (2_066_836, 2_546_921_216),
    },
    "mobilenetv1": {
        "width=1.0 at 224x224": (4_231_976, 568_740_352),
        "width=0.75 at 224x224": (2_585_560, 325_400_448),
        "width=0.5 at 224x224": (1_331_592, 149_497_088),
        "width=0.25 at 224x224": (470_072, 41_030_272),
        "width=0.25 at 192x192": (470_072, 30_212_608),
    },
    "mobilenetv2": {
        "width=1.0 at 224x224": (3_504_872, 300_774_272),
    },
    "shufflenetv1": {
        "groups=1 at 224x224": (1_531_936, 143_078_976),
        "groups=2 at 224x224": (1_733_848, 140_836_512),
        "groups=3 at 224x224": (1_865_728, 137_460_672),
        "groups=4 at 224x224": (1_968_344, 134_339_776),
        "groups=8 at 224x224": (2_434_768, 138_365_952),
        "groups=3 width=0.25 at 224x224": (306_124, 13_300_656),
        "groups=3 width=0.5 at 224x224": (718_324, 37_589_856),
        "groups=3 width=1.0 at 224x224": (1_865_728, 137_460_672),
        "groups=3 width=1.5 at 224x224": (3_442_168, 292_443_552),
        "groups=3 width=2.0 at 224x224": (5_450_776, 524_045_184),
        "groups=8 width=0.5 at 224x224": (1_011_448, 40_469_760),
        "groups=8 width=1.0 at 224x224": (2_434_768, 138_365_952),
        "groups=8 width=1.5 at 224x224": (4_269_952, 290_188_800),
        "groups=8 width=2.0 at 224x224": (6_522_232, 521_942_016),
    },
    "shufflenetv2": {
        "width=0.5 at 224x224": (1_366_792, 40_476_448),
        "width=1.0 at 224x224": (2_278_604, 144_907_992),
        "width=1.5 at 224x224": (3_503_624, 295_759_392),
        "width=2.0 at 224x224": (7_393_996, 583_253_464),
    },
    "eru": {
        "hidden=480 at 35x1": (7_100_160, 264_588_800),
        "hidden=920 at 35x1": (14_992_440, 584_231_200),
    },
}
