"""How ESPNetv2 checkpoints are read: the released tensor names in ours, and the settings off the tensors' shapes.

The names are those of the classification files, of the segmentation files of EdgeNets (``base_net.``, ``bu_``) and
of those of the paper's own repository (``net.``, ``proj_L4_C``).
"""

from __future__ import annotations

from collections.abc import Mapping

from espdeploy.networks.entry import SettingValue, Shape

#: level 3 has so many channels at scale 1, and each strided unit makes half of its output anew
_LEVEL3 = 128

#: applied in order to each tensor name; our own names pass through unchanged
RENAMES: tuple[tuple[str, str], ...] = (
    # the encoder, under its prefix in segmentation files and bare in classification files
    (r"^(base_net|net)\.", "encoder."),
    (r"^(level[1-4](_0)?\.)", r"encoder.\1"),
    (r"^encoder\.level([2-4])_0\.", r"encoder.down\1."),
    (r"^encoder\.level([34])\.", r"encoder.stage\1."),
    (r"^level5_0\.", "down5."),
    (r"^level5\.3\.", "depthwise."),
    (r"^level5\.4\.", "widen."),
    (r"^level5\.", "stage5."),
    # the paper's decoder
    (r"^proj_L4_C\.", "decoder.project4."),
    (r"^pspMod\.0\.", "decoder.mix3."),
    (r"^pspMod\.1\.", "decoder.pyramid3."),
    (r"^project_l3\.1\.conv\.", "decoder.scores3."),
    (r"^act_l3\.", "decoder.act3."),
    (r"^project_l2\.", "decoder.mix2."),
    (r"^project_l1\.1\.conv\.", "decoder.scores1."),
    (r"\.stages\.(\d)\.conv\.", r".stages.\1."),
    # EdgeNets' decoder counts its steps from the coarsest level, ours are named by the encoder's level
    (r"^bu_dec_l1\.", "decoder.pyramid4."),
    (r"^(bu_dec|merge_enc_dec|bu_br)_l2\.", r"\1_3."),
    (r"^(bu_dec|merge_enc_dec|bu_br)_l3\.", r"\1_2."),
    (r"^(bu_dec|merge_enc_dec|bu_br)_l4\.", r"\1_1."),
    (r"^bu_dec_(\d)\.", r"decoder.pyramid\1."),
    (r"^merge_enc_dec_(\d)\.", r"decoder.gate\1."),
    (r"^bu_br_(\d)\.0\.", r"decoder.act\1.norm."),
    (r"^bu_br_(\d)\.1\.", r"decoder.act\1.act."),
    (r"\.wt_layer\.1\.", ".weigh."),
    (r"\.expansion_layer\.", ".expand."),
    (r"\.projection_layer\.", ".project."),
    (r"\.merge_layer\.0\.", ".join."),
    (r"\.merge_layer\.2\.", ".merge."),
    (r"\.merge_layer\.3\.", ".expand."),
    (r"\.br\.br\.", ".out.br."),
    # inside a block
    (r"\.proj_1x1\.", ".reduce."),
    (r"\.spp_dw\.(\d)\.conv\.", r".pyramid.branches.\1."),
    (r"\.br_after_cat\.", ".merge."),
    (r"\.conv_1x1_exp\.", ".expand."),
    (r"\.module_act\.", ".act."),
    (r"\.inp_reinf\.0\.", ".shortcut.spatial."),
    (r"\.inp_reinf\.1\.", ".shortcut.project."),
    (r"\.cbr\.0\.", ".conv."),
    (r"\.cbr\.1\.", ".norm."),
    (r"\.cbr\.2\.", ".act."),
    (r"\.br\.0\.", ".norm."),
    (r"\.br\.1\.", ".act."),
    (r"\.bn\.", ".norm."),
)


def read_settings(shapes: Mapping[str, Shape]) -> dict[str, SettingValue]:
    """The settings that the shapes tell, by our names; what cannot be read (``hff``) is left out."""
    settings: dict[str, SettingValue] = {"shortcut": any(".shortcut." in name for name in shapes)}
    level3 = shapes.get("encoder.down3.act.weight")
    if level3:
        settings["scale"] = level3[0] / _LEVEL3
    reduce = shapes.get("encoder.down3.eesp.reduce.conv.weight")
    level2 = shapes.get("encoder.down2.act.weight")
    if reduce and level2 and len(reduce) > 1:
        settings["reduction"] = "pointwise" if reduce[1] == level2[0] else "group"
    for name, head in (
        ("classifier.weight", None),
        ("decoder.scores1.weight", "paper"),
        ("decoder.pyramid1.expand.weight", "edgenets"),
    ):
        if shapes.get(name):
            settings["classes"] = shapes[name][0]
            if head:
                settings["head"] = head
    return settings
