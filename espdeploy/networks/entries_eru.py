"""The ERU language model as a registry entry: facts of the paper, no PyTorch.

Paper: ESPNetv2 (CVPR 2019), section 4.3 and Table 3.
"""

from __future__ import annotations

from collections.abc import Mapping

from espdeploy.networks.entry import DataVariant, NetworkEntry, Published, Setting, SettingValue
from espdeploy.protocols import BATCH, TensorInfo
from espdeploy.specs import ImageSize

#: section 4.3
EMBEDDING = 400
#: widths are multiples of it: 5 positions of channels in 4 groups
WIDTH_STEP = 20
_WORDS = 10_000
_SEQ_LEN = 35
_TABLE_3 = "ESPNetv2 paper, Table 3 (standard dropout); the hidden size is ours, the paper prints none"
_TEST = "Penn Treebank test"


def inputs(settings: Mapping[str, SettingValue]) -> tuple[TensorInfo, ...]:
    """What the network takes: a piece of text, and the state before it."""
    state = (int(settings["layers"]), BATCH, int(settings["hidden"]))
    return (
        TensorInfo(name="tokens", shape=(BATCH, int(settings["seq_len"])), dtype="int64"),
        TensorInfo(name="h", shape=state, dtype="float32"),
        TensorInfo(name="c", shape=state, dtype="float32"),
    )


def _row(hidden: int, params: int, perplexity: float) -> Published:
    return Published(
        settings={"hidden": hidden},
        params=params,
        metric="perplexity",
        value=perplexity,
        data=_TEST,
        source=_TABLE_3,
    )


_ERU = NetworkEntry(
    name="eru",
    task="language-modeling",
    paper="ESPNetv2, Mehta et al., CVPR 2019 (arXiv 1811.11431), section 4.3",
    settings=(
        Setting(
            name="hidden",
            kind="int",
            default=480,
            minimum=WIDTH_STEP,
            maximum=4000,
            help="values of each layer's state, a multiple of 20: 480 for 7 M parameters, 920 for 15 M",
        ),
        Setting(name="layers", kind="int", default=3, minimum=1, maximum=12, help="layers of ERUs"),
        Setting(
            name="seq_len",
            kind="int",
            default=_SEQ_LEN,
            minimum=1,
            maximum=1000,
            help="tokens of one inference; an exported graph is unrolled over them",
            in_weights=False,
        ),
        Setting(
            name="classes", kind="int", default=_WORDS, minimum=1, maximum=1_000_000, help="words of the vocabulary"
        ),
    ),
    data=(
        DataVariant(name="penn-treebank", classes=None, preprocessing=None, size=ImageSize(width=_SEQ_LEN, height=1)),
    ),
    size_multiple=1,
    min_size=ImageSize(width=1, height=1),
    params=7_100_160,
    macs=264_588_800,
    factory="espdeploy.networks.eru:eru",
    weights_format="espdeploy.networks.eru",
    inputs="espdeploy.networks.entries_eru:inputs",
    outputs=("logits", "h_next", "c_next"),
    published=(_row(480, 7_000_000, 73.63), _row(920, 15_000_000, 63.47)),
    differences={"params": "the paper prints neither hidden sizes nor exact counts: 480 is the nearest that fits"},
    note="the size is that of the text: seq_len tokens, 1 high; multiply-adds are for so many. Inputs are tokens "
    "(N, seq_len) and the state h and c (layers, N, hidden), outputs the logits (N, seq_len, words) and the state "
    "after them. The authors released no code: the 1-D convolutions run along the feature vector, embedding and output "
    "layer share their weights (apart they alone would hold 8 M), a projection stands between",
)

ENTRIES: tuple[NetworkEntry, ...] = (_ERU,)
