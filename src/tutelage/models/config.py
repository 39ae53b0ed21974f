"""The settings of a model folder."""

from typing import Literal, Protocol, TypeAlias

DtypeName: TypeAlias = Literal["float32", "bfloat16", "float16"]

DEVICE_PATTERN = r"^(auto|cpu|mps|(cuda|xpu)(:\d+)?)$"
DEVICES = "auto, cpu, cuda, cuda:N, mps, xpu or xpu:N."


class ModelSettings(Protocol):
    """The settings that finding and loading a model need."""

    @property
    def model(self) -> str:
        """A model folder, a hub id, or the alias of a bundled model."""
        ...

    @property
    def dtype(self) -> Literal["auto"] | DtypeName:
        """The type to compute in."""
        ...

    @property
    def device(self) -> str:
        """auto, cpu, cuda, cuda:N, mps, xpu or xpu:N."""
        ...

    @property
    def max_length(self) -> int | None:
        """The most tokens of a view; None: the model's own limit."""
        ...

    @property
    def weights(self) -> Literal["safetensors", "pickle"]:
        """Which files of weights may be loaded."""
        ...

    @property
    def trust_remote_code(self) -> bool:
        """Whether Python code from the model's repository may run."""
        ...
