"""PEFT adapters: folders with the weights of a LoRA training and the name of the base model."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.errors import MissingExtraError, StudentError
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
            hint="loading a pickle can run code; to load it anyway, set weights: pickle"
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
    nearby = path / base
    if not Path(base).expanduser().is_dir() and nearby.is_dir():
        return str(nearby)
    return base


def _read(place: Path) -> dict[str, Any]:
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StudentError(f"{place}: cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise StudentError(f"{place}: expected a JSON object, got {type(found).__name__}")
    return found


_EMBEDDINGS = ("embed_tokens", "wte", "word_embeddings", "embed_in", "lm_head", "embed_out")

_WRAPPERS = frozenset({"base_layer", "modules_to_save"})
"""Prefix that peft gives whole weights; the factors of an adapter have other names."""


def merged(model: Any, adapter: Adapter) -> Any:
    """Merge an adapter into the weights of its base model.

    Training on more tokens than the base has saves whole embeddings with the adapter; the base is
    then resized to them.

    Raises:
        MissingExtraError: peft is not installed.
        StudentError: The adapter does not fit its base model.
    """
    try:
        from peft import PeftModel
    except ImportError as error:
        raise MissingExtraError(
            f"{adapter.path}: reading an adapter needs peft", hint="pip install 'tutelage[train]'"
        ) from error
    from safetensors import SafetensorError

    try:
        rows = _embedding_rows(adapter)
        if rows is not None and rows != model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(rows, mean_resizing=False)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            wrapped = PeftModel.from_pretrained(model, str(adapter.path), is_trainable=False)
        lacking = [str(w.message) for w in said if "missing adapter keys" in str(w.message)]
        if lacking:
            raise _misfit(adapter, lacking[0].splitlines()[0])
        if not hasattr(wrapped.base_model, "merge_and_unload"):
            raise _misfit(adapter, f"its type {adapter.config.get('peft_type')} cannot be merged")
        whole = wrapped.merge_and_unload()
    except StudentError:
        raise
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        ImportError,
        SafetensorError,
    ) as error:
        raise _misfit(adapter, f"{type(error).__name__}: {error}") from error
    for weight in whole.parameters():  # peft froze them, and they may be trained
        weight.requires_grad_(weight.is_floating_point())
    return whole


def _embedding_rows(adapter: Adapter) -> int | None:
    """Number of token ids in the adapter's own embedding, or None where it has none."""
    if adapter.weights.suffix != ".safetensors":
        return None
    from safetensors import safe_open

    with safe_open(str(adapter.weights), framework="pt") as file:
        for name in file.keys():  # noqa: SIM118  (not a mapping)
            parts = [part for part in name.split(".") if part not in _WRAPPERS]
            if parts[-1] == "weight" and parts[-2:-1] and parts[-2] in _EMBEDDINGS:
                return int(file.get_slice(name).get_shape()[0])
    return None


def _misfit(adapter: Adapter, why: str) -> StudentError:
    return StudentError(
        f"{adapter.path}: the adapter cannot be merged into {adapter.base_name}: {why}",
        hint="is base_model_name_or_path in adapter_config.json the model it was trained on?",
    )
