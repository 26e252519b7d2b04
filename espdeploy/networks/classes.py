"""The data sets' classes, their display colours and categories.

Names, order and colours are the public label definitions of Cityscapes (19 evaluated classes, 7 categories),
CamVid (11 classes, void last, in the order of the checkpoints) and PASCAL VOC (20 classes after the background).
"""

from __future__ import annotations

from dataclasses import replace

from espdeploy.artifacts import ClassSet

#: class, category, colour (R, G, B)
_CITYSCAPES = (
    ("road", "flat", (128, 64, 128)),
    ("sidewalk", "flat", (244, 35, 232)),
    ("building", "construction", (70, 70, 70)),
    ("wall", "construction", (102, 102, 156)),
    ("fence", "construction", (190, 153, 153)),
    ("pole", "object", (153, 153, 153)),
    ("traffic light", "object", (250, 170, 30)),
    ("traffic sign", "object", (220, 220, 0)),
    ("vegetation", "nature", (107, 142, 35)),
    ("terrain", "nature", (152, 251, 152)),
    ("sky", "sky", (70, 130, 180)),
    ("person", "human", (220, 20, 60)),
    ("rider", "human", (255, 0, 0)),
    ("car", "vehicle", (0, 0, 142)),
    ("truck", "vehicle", (0, 0, 70)),
    ("bus", "vehicle", (0, 60, 100)),
    ("train", "vehicle", (0, 80, 100)),
    ("motorcycle", "vehicle", (0, 0, 230)),
    ("bicycle", "vehicle", (119, 11, 32)),
    ("background", "void", (0, 0, 0)),
)

#: CamVid publishes no categories: these follow Cityscapes' seven, so that both data sets read alike
_CAMVID = (
    ("sky", "sky", (128, 128, 128)),
    ("building", "construction", (128, 0, 0)),
    ("pole", "object", (192, 192, 128)),
    ("road", "flat", (128, 64, 128)),
    ("pavement", "flat", (0, 0, 192)),
    ("tree", "nature", (128, 128, 0)),
    ("sign", "object", (192, 128, 128)),
    ("fence", "construction", (64, 64, 128)),
    ("car", "vehicle", (64, 0, 128)),
    ("pedestrian", "human", (64, 64, 0)),
    ("bicyclist", "human", (0, 128, 192)),
    ("void", "void", (0, 0, 0)),
)

#: PASCAL VOC's own four groups; its colours follow a rule (:func:`_spread_colour`)
_PASCAL = (
    ("background", "background"),
    ("aeroplane", "vehicle"),
    ("bicycle", "vehicle"),
    ("bird", "animal"),
    ("boat", "vehicle"),
    ("bottle", "indoor"),
    ("bus", "vehicle"),
    ("car", "vehicle"),
    ("cat", "animal"),
    ("chair", "indoor"),
    ("cow", "animal"),
    ("dining table", "indoor"),
    ("dog", "animal"),
    ("horse", "animal"),
    ("motorbike", "vehicle"),
    ("person", "person"),
    ("potted plant", "indoor"),
    ("sheep", "animal"),
    ("sofa", "indoor"),
    ("train", "vehicle"),
    ("tv monitor", "indoor"),
)


def _class_set(
    name: str, rows: tuple[tuple[str, str, tuple[int, int, int]], ...], *, ignore: tuple[int, ...]
) -> ClassSet:
    return ClassSet(
        name=name,
        names=tuple(row[0] for row in rows),
        palette=tuple(row[2] for row in rows),
        categories=tuple(row[1] for row in rows),
        ignore=ignore,
    )


#: 19 classes and, as the ESPNet checkpoints have it, a 20th for everything else; 255 is Cityscapes' own void label
CITYSCAPES = _class_set("cityscapes", _CITYSCAPES, ignore=(19, 255))

#: 11 classes and void
CAMVID = _class_set("camvid", _CAMVID, ignore=(11,))


_NO_LABEL = 255


def generic(count: int) -> ClassSet:
    """Classes of an unknown data set: ``class_0`` …, in colours that differ from their neighbours'."""
    return ClassSet(
        name="unknown",
        names=tuple(f"class_{index}" for index in range(count)),
        palette=tuple(_spread_colour(index) for index in range(count)),
        # what label maps of most data sets hold where there is no label, unless it is a class
        ignore=(_NO_LABEL,) if count <= _NO_LABEL else (),
    )


def _spread_colour(index: int) -> tuple[int, int, int]:
    """The colour of PASCAL VOC's label map: the index's bits, three by three, become the channels' high bits."""
    channels = [0, 0, 0]
    for level in range(8):
        for channel in range(3):
            bit = (index >> (3 * level + channel)) & 1
            channels[channel] |= bit << (7 - level)
    return channels[0], channels[1], channels[2]


#: ImageNet's 1000 classes in the usual order; their names are not at hand, so they are numbered
IMAGENET = replace(generic(1000), name="imagenet")

#: 20 classes and the background, which its mIOU counts; 255 marks the objects' outlines
PASCAL = _class_set(
    "pascal",
    tuple((name, group, _spread_colour(index)) for index, (name, group) in enumerate(_PASCAL)),
    ignore=(255,),
)
