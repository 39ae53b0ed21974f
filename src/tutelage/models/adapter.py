"""PEFT adapters: folders with the weights of a LoRA training and the name of the base model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.errors import StudentError
from tutelage.models.weight_files import check_whole

CONFIG_NAME = "adapter_config.json"
_SAFE_NAME = "adapter_model.safetensors"
_PICKLE_NAME = "adapter_model.bin"
_NOT_MERGEABLE = frozenset(
    {
        "PROMPT_TUNING",
        "P_TUNING",
        "PREFIX_TUNING",
        "MULTITASK_PROMPT_TUNING",
        "ADAPTION_PROMPT",
        "CPT",
        "TRAINABLE_TOKENS_PROMPT",
        "CARTRIDGE",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """Folder of an adapter on this disk.

    Attributes:
        path: The folder.
        config: Its adapter_config.json.
        weights: Its weight file.
        base_name: The base model as the config names it: a folder, a hub id or an alias.
    """

    path: Path
    config: Mapping[str, Any]
    weights: Path
    base_name: str

    @property
    def base_revision(self) -> str | None:
        """Revision of the base model on the hub, if the config names one."""
        revision = self.config.get("revision")
        return revision if isinstance(revision, str) and revision else None


def find_adapter(path: Path, *, pickle: bool) -> Adapter | None:
    """Adapter in a folder, or None where the folder is not one.

    Args:
        path: A model folder.
        pickle: Whether a .bin file may be loaded.

    Raises:
        StudentError: It has one that cannot be used.
    """
    place = path / CONFIG_NAME
    if not place.is_file():
        return None
    if (path / _SAFE_NAME).is_file():
        weights = path / _SAFE_NAME
        check_whole(weights)
    elif (path / _PICKLE_NAME).is_file() and pickle:
        weights = path / _PICKLE_NAME
    elif (path / "config.json").is_file():
        return None  # a merged model beside what is left of its adapter
    else:
        raise StudentError(
            f"{path}: the adapter has no {_SAFE_NAME}",
            hint="loading a pickle can run code; to do it all the same, set weights: pickle"
            if (path / _PICKLE_NAME).is_file()
            else "save the adapter with model.save_pretrained(folder)",
        )
    config = _read(place)
    kind = str(config.get("peft_type"))
    if kind in _NOT_MERGEABLE:
        raise StudentError(
            f"{place}: an adapter of type {kind} cannot be merged into its base model",
            hint="students can be LoRA adapters and others that change weights, or whole models",
        )
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise StudentError(
            f"{place}: base_model_name_or_path is {base!r}",
            hint="write the base model's folder, hub id or alias there",
        )
    return Adapter(path=path, config=config, weights=weights, base_name=_base_name(path, base))


def _base_name(path: Path, base: str) -> str:
    """Name or path of the base model; relative paths are tried from here, then from the adapter."""
    beside = path / base
    if not Path(base).expanduser().is_dir() and beside.is_dir():
        return str(beside)
    return base


def _read(place: Path) -> dict[str, Any]:
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StudentError(f"{place}: cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise StudentError(f"{place}: expected a JSON object, got {type(found).__name__}")
    return found
