"""The ERU language model (ESPNetv2 paper, section 4.3): an LSTM whose input transform is a 1-D EESP unit.

The paper gives three layers, an embedding of 400, the unit of Figure 1c with 1-D convolutions, and the counts 7 M and
15 M; the authors released no code for it. What it leaves open is decided here:

- The convolutions run along the feature vector, seen as 5 positions of M / 5 channels each, not along the text: a step
  then needs nothing but the token and the state, as the LSTM cell that the unit stands in does. The limit on the
  kernels (section 3.3: 5 + Z / 7 for a side of Z) leaves dilations 1, 1, 1 and 2.
- The unit makes all four gates. Each group of its grouped expansion sees one branch, so every group gives a quarter of
  every gate. The gates are its last activation; nothing is added to them, as they have another size than the input.
- The transform of the hidden state stays the LSTM's own: linear, with the gates' bias.
- Embedding and output layer share their weights (Press & Wolf, EACL 2017): apart they would hold 8 M of the 7 M
  printed. A linear projection to the embedding's size stands before it ("projection" in the same paper).
- ``hidden=480`` and ``hidden=920`` come nearest to 7 M and 15 M.

Dropout, which inference does not see, is left out. Importing this module loads PyTorch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import accumulate

import torch
from torch import Tensor, nn

from espdeploy.errors import UsageError
from espdeploy.networks.entries_eru import EMBEDDING, WIDTH_STEP
from espdeploy.networks.entry import SettingValue, Shape
from espdeploy.networks.espnetv2_blocks import BRANCHES, dilations

#: a feature vector as a signal: so many places, with the rest as channels
POSITIONS = WIDTH_STEP // BRANCHES
GATES = 4
_INITIAL_RANGE = 0.1

#: checkpoints have our own names
RENAMES: tuple[tuple[str, str], ...] = ()


class NormAct1d(nn.Module):
    """Batch normalisation and a PReLU with one slope per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)
        self.act = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (B, C, L) -> the same."""
        return self.act(self.norm(x))


class InputTransform(nn.Module):
    """The EESP unit with 1-D convolutions, from a feature vector to the four gates of so many hidden values."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        channels, wide = features // POSITIONS, GATES * hidden // POSITIONS
        narrow = wide // BRANCHES
        self.channels = channels
        self.reduce = nn.Conv1d(channels, narrow, 1, groups=BRANCHES, bias=False)
        self.reduced = NormAct1d(narrow)
        self.branches = nn.ModuleList(
            nn.Conv1d(narrow, narrow, 3, padding=rate, dilation=rate, groups=narrow, bias=False)
            for rate in dilations(5 + POSITIONS // 7)
        )
        self.merge = NormAct1d(wide)
        self.expand = nn.Conv1d(wide, wide, 1, groups=BRANCHES, bias=False)
        self.norm = nn.BatchNorm1d(wide)
        self.gate_share = hidden // BRANCHES

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (B, features) -> (B, 4 hidden), the gates one after another."""
        signal = self.reduced(self.reduce(x.reshape(-1, self.channels, POSITIONS)))
        fused = list(accumulate(branch(signal) for branch in self.branches))
        wide = self.norm(self.expand(self.merge(torch.cat(fused, 1))))
        by_group = wide.reshape(-1, BRANCHES, GATES, self.gate_share)
        return by_group.transpose(1, 2).reshape(-1, GATES * BRANCHES * self.gate_share)


class ERU(nn.Module):
    """One layer of efficient recurrent units over a text."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.features, self.hidden = features, hidden
        self.transform = InputTransform(features, hidden)
        self.recur = nn.Linear(hidden, GATES * hidden)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Shapes: (N, T, features), state (N, hidden) twice -> (N, T, hidden) and the state after the last step."""
        # the inputs of all steps are known at once: only the recurrent part goes step by step
        gates = self.transform(x.reshape(-1, self.features)).reshape(-1, x.shape[1], GATES * self.hidden)
        outputs = []
        for step in gates.unbind(1):
            entry, forget, candidate, out = (step + self.recur(h)).split(self.hidden, 1)
            c = torch.sigmoid(forget) * c + torch.sigmoid(entry) * torch.tanh(candidate)
            h = torch.sigmoid(out) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs, 1), h, c


class LanguageModel(nn.Module):
    """Embedding, layers of ERUs, projection, and an output layer that shares the embedding's weights."""

    def __init__(self, *, hidden: int, layers: int, words: int) -> None:
        super().__init__()
        self.words, self.hidden = words, hidden
        self.embedding = nn.Embedding(words, EMBEDDING)
        self.layers = nn.ModuleList(ERU(EMBEDDING if index == 0 else hidden, hidden) for index in range(layers))
        self.project = nn.Linear(hidden, EMBEDDING)
        self.output = nn.Linear(EMBEDDING, words)
        self.output.weight = self.embedding.weight
        nn.init.uniform_(self.embedding.weight, -_INITIAL_RANGE, _INITIAL_RANGE)
        nn.init.zeros_(self.output.bias)

    def forward(self, tokens: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One piece of text, with the state that the piece before it left (zeros at the start).

        Shapes: int64 (N, T), state (layers, N, hidden) twice -> scores of the next word before softmax
        (N, T, words), and the state after the last token.
        """
        x = self.embedding(tokens)
        states = []
        for layer, layer_h, layer_c in zip(self.layers, h.unbind(0), c.unbind(0), strict=True):
            x, layer_h, layer_c = layer(x, layer_h, layer_c)  # noqa: PLW2901 - the state moves on
            states.append((layer_h, layer_c))
        # as one matrix, so that an exported graph reads the shared weights as they are, and holds them once
        scores = self.output(self.project(x.reshape(-1, self.hidden)))
        after_h, after_c = (torch.stack(parts) for parts in zip(*states, strict=True))
        return scores.reshape(-1, tokens.shape[1], self.words), after_h, after_c


def eru(*, hidden: int, layers: int, seq_len: int, classes: int) -> nn.Module:
    """The language model; ``classes`` is the number of words. Its weights are the same for every ``seq_len``.

    Raises:
        UsageError: ``hidden`` is no multiple of 20.
    """
    del seq_len  # the inputs' business (``entries_eru.inputs``); every network gets all of its settings
    if hidden % WIDTH_STEP:
        nearest = max(1, round(hidden / WIDTH_STEP)) * WIDTH_STEP
        raise UsageError(
            f"eru cannot be built with hidden={hidden}",
            why=f"{POSITIONS} positions of channels in {BRANCHES} groups need a multiple of {WIDTH_STEP}",
            do=f"--set hidden={nearest}",
        )
    return LanguageModel(hidden=hidden, layers=layers, words=classes)


def read_settings(shapes: Mapping[str, Shape]) -> dict[str, SettingValue]:
    """The settings that a checkpoint's shapes tell; what cannot be read is left out."""
    settings: dict[str, SettingValue] = {
        "layers": len({match[1] for name in shapes if (match := re.match(r"layers\.(\d+)\.", name))})
    }
    recur, table = shapes.get("layers.0.recur.weight", ()), shapes.get("embedding.weight", ())
    if len(recur) > 1:
        settings["hidden"] = recur[1]
    if table:
        settings["classes"] = table[0]
    return settings
