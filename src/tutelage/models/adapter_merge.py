"""Merging of a PEFT adapter into its loaded base model."""

import warnings
from typing import Any

from tutelage.errors import MissingExtraError, StudentError
from tutelage.models.adapter import Adapter

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
