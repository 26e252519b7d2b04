"""What the zoo says about a network, as plain data: importing this loads neither PyTorch nor NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from espdeploy.artifacts import ClassSet, Preprocessing
from espdeploy.specs import ImageSize
from espdeploy.units import fp32_size_mb

SettingValue = int | float | str | bool
Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One hyper-parameter. ``kind`` is ``int``, ``float``, ``str`` or ``bool``; a bound of None is open.

    ``in_weights`` is off where a checkpoint's tensors do not tell the value, as with a sum that is left away.
    """

    name: str
    kind: str
    default: SettingValue
    choices: tuple[SettingValue, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    help: str = ""
    in_weights: bool = True

    def describe(self) -> str:
        """The values it takes, for messages: ``a whole number from 1 to 100``, ``16 or 19``."""
        if self.choices:
            return " or ".join(str(choice) for choice in self.choices)
        kind = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}[self.kind]
        low = "" if self.minimum is None else f" from {self.minimum:g}"
        high = "" if self.maximum is None else f" to {self.maximum:g}"
        return kind + low + high


@dataclass(frozen=True, kw_only=True)
class DataVariant:
    """A data set that a network was trained on, with what the network then expects and answers.

    ``classes`` and ``preprocessing`` are None where the data are no images.
    """

    name: str
    classes: ClassSet | None
    preprocessing: Preprocessing | None
    size: ImageSize


@dataclass(frozen=True, kw_only=True)
class ReleasedCheckpoint:
    """A file that the authors released, recognised by its SHA-256.

    ``metric`` names what ``value`` is, with its unit; ``source`` says who measured it, on what. ``sha256`` and
    ``size_bytes`` are None for a file that was not at hand: it is listed, and not proven to load. ``url`` is None
    where no address is known, ``licence`` where the authors state none.
    """

    name: str
    sha256: str | None
    data: str  # the name of a DataVariant
    size: ImageSize
    metric: str | None
    value: float | None
    source: str
    settings: Mapping[str, SettingValue] = field(default_factory=lambda: MappingProxyType({}))
    url: str | None = None
    licence: str | None = None
    size_bytes: int | None = None

    @property
    def read(self) -> bool:
        """Whether the file was at hand: it loads, and a test holds its outputs against the authors' own."""
        return self.sha256 is not None


#: the input size at which both papers count multiply-adds
PAPERS_SIZE = ImageSize(width=224, height=224)


@dataclass(frozen=True, kw_only=True)
class Published:
    """A row of a paper's table: figures as printed, for the settings that it names; ``macs`` hold at ``macs_size``."""

    settings: Mapping[str, SettingValue]
    source: str
    params: int | None = None  # as printed, so rounded
    macs: int | None = None
    metric: str | None = None
    value: float | None = None
    data: str | None = None
    macs_size: ImageSize = PAPERS_SIZE


@dataclass(frozen=True, kw_only=True)
class ModuleFigures:
    """A module that a network repeats, with a paper's formulas for it (see ``module_formulas``).

    ``path`` is its first place in the network, ``map_size`` the size of its maps in pixels. ``params`` (weights of
    convolutions alone), ``memory_floats`` (values that its convolutions write for one image) and
    ``effective_receptive_field`` (pixels a side) are by formula, ``counted_params`` is counted in the built network.
    """

    name: str
    path: str
    repeats: int
    in_channels: int
    out_channels: int
    map_size: ImageSize
    params: int
    memory_floats: int
    effective_receptive_field: int
    counted_params: int | None = None

    @property
    def memory_mb(self) -> float:
        """The memory at 4 bytes for each value, in MB of 10^6 bytes."""
        return fp32_size_mb(self.memory_floats)


@dataclass(frozen=True, kw_only=True)
class NetworkEntry:
    """A network of the zoo.

    Every entry has a setting ``classes``. ``params`` and ``macs`` are counted with the default settings at the
    default size (a test counts them anew). ``factory`` is ``module:function``, called with every setting as a
    keyword argument; ``weights_format`` is a module with ``RENAMES`` and ``read_settings`` (see ``espnet_weights``).
    ``jumps_pct`` is the share of the output values that rounding may move far: above 0 only where the network
    chooses places by comparing values, as max-unpooling does. ``inputs`` is ``module:function``, from all settings to
    the :class:`~espdeploy.protocols.TensorInfo` of each input (None: one image), and ``outputs`` names the outputs;
    the size of such a network is (``seq_len``, 1). ``modules`` is ``module:function``, from all settings and the size
    to :class:`ModuleFigures`; ``counted_modules`` are their ``counted_params`` with the default settings.
    ``differences`` says under ``params`` and ``macs`` why our counts are not the printed ones where they are over 1 %
    away and rounding does not explain it.
    """

    name: str
    task: str
    paper: str
    settings: tuple[Setting, ...]
    data: tuple[DataVariant, ...]  # the first is the default
    size_multiple: int
    min_size: ImageSize
    params: int
    macs: int
    factory: str
    weights_format: str | None = None
    checkpoints: tuple[ReleasedCheckpoint, ...] = ()
    published: tuple[Published, ...] = ()
    note: str = ""
    jumps_pct: float = 0.0
    inputs: str | None = None
    outputs: tuple[str, ...] = ()
    modules: str | None = None
    counted_modules: tuple[int, ...] = ()
    differences: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def default_size(self) -> ImageSize:
        """The input size where none is asked for."""
        return self.data[0].size

    @property
    def preprocessing(self) -> Preprocessing | None:
        """The pre-processing of the default data set."""
        return self.data[0].preprocessing

    @property
    def classes(self) -> ClassSet | None:
        """The classes of the default data set."""
        return self.data[0].classes

    @property
    def defaults(self) -> dict[str, SettingValue]:
        """Every setting with its default."""
        return {setting.name: setting.default for setting in self.settings}

    def variant(self, name: str) -> DataVariant | None:
        """The data set of this name; None where the network has none such."""
        return next((variant for variant in self.data if variant.name == name), None)

    def variant_for(self, classes: int) -> DataVariant | None:
        """The data set with so many classes; None where the network has none such."""
        return next((known for known in self.data if known.classes and len(known.classes.names) == classes), None)


@dataclass(frozen=True, kw_only=True)
class NetworkSummary:
    """One line of ``espdeploy models``. ``size_mb`` is what the parameters take as FP32."""

    name: str
    task: str
    params: int
    macs: int
    input_size: ImageSize
    source: str
    settings: dict[str, SettingValue]
    checkpoints: tuple[ReleasedCheckpoint, ...]
    published: tuple[Published, ...]
    note: str
    modules: tuple[ModuleFigures, ...] = ()

    @property
    def size_mb(self) -> float:
        """Storage of the parameters at 4 bytes each, in MB of 10^6 bytes."""
        return fp32_size_mb(self.params)
