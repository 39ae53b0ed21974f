"""Model of a training: loading, dtype, adapters and saving, without output of the libraries."""

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from accelerate import DistributedType
from peft import (
    LoraConfig,
    get_peft_model,
    get_peft_model_state_dict,
    prepare_model_for_kbit_training,
    set_peft_model_state_dict,
)
from transformers.utils import logging as hf_logging
from trl import SFTTrainer

from tutelage.errors import DivergedError, MissingExtraError, SettingsError
from tutelage.models.hardware import kind_of, usual_dtype
from tutelage.models.loading import load_weights
from tutelage.student.components import OpenStudent
from tutelage.training.config import TrainSettings


@contextmanager
def quiet() -> Iterator[None]:
    """Context manager without progress bars and repeated advice of the libraries."""
    import datasets

    shown, level = hf_logging.is_progress_bar_enabled(), hf_logging.get_verbosity()
    bars = datasets.are_progress_bars_disabled()
    hf_logging.disable_progress_bar()
    hf_logging.set_verbosity_error()
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hf_logging.set_verbosity(level)
        if shown:
            hf_logging.enable_progress_bar()
        if not bars:
            datasets.enable_progress_bars()


def multiplied_dtype(parts: OpenStudent, settings: TrainSettings) -> str:
    """Dtype of the matrix products. float16 needs loss scaling, which only CUDA has."""
    if settings.dtype != "auto":
        return settings.dtype
    usual = usual_dtype(parts.device)
    return "float32" if usual == "float16" and kind_of(parts.device) != "cuda" else usual


def base_weights_of(parts: OpenStudent, settings: TrainSettings) -> str:
    """Dtype of the weights; trained weights are always float32."""
    if settings.method == "full":
        return "float32"
    if settings.base_weights != "auto":
        return settings.base_weights
    return "float32" if parts.device == "cpu" else multiplied_dtype(parts, settings)


def starting_model(parts: OpenStudent, settings: TrainSettings) -> Any:
    """Student at the start of its training.

    Raises:
        MissingExtraError: It is to be held in 4 bits, and bitsandbytes is not installed.
        SettingsError: There is no device that computes with 4 bits.
    """
    held = base_weights_of(parts, settings)
    if held != "4bit":
        return load_weights(parts.folder, parts.settings, dtype=held)  # type: ignore[arg-type]  # a name
    if kind_of(parts.device) not in ("cuda", "xpu"):
        raise SettingsError(
            f"base_weights 4bit: 4-bit weights do not work on a {parts.device} device here",
            hint="train on an NVIDIA, AMD or Intel GPU, or set base_weights to bfloat16",
        )
    if find_spec("bitsandbytes") is None:
        raise MissingExtraError(
            "base_weights 4bit needs bitsandbytes", hint="pip install bitsandbytes"
        )
    from transformers import BitsAndBytesConfig

    dtype = multiplied_dtype(parts, settings)
    quantized = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )
    place = {"": f"{kind_of(parts.device)}:{int(os.environ.get('LOCAL_RANK', '0'))}"}
    if ":" in parts.device:
        place = {"": parts.device}
    model = load_weights(
        parts.folder,
        parts.settings,
        dtype=dtype,  # type: ignore[arg-type]  # a name
        placement={"quantization_config": quantized, "device_map": place},
    )
    saves = settings.gradient_checkpointing != "off"
    return prepare_model_for_kbit_training(
        model,
        use_gradient_checkpointing=saves,
        gradient_checkpointing_kwargs={"use_reentrant": False},
    )


def adapters_of(settings: TrainSettings) -> LoraConfig | None:
    """Adapter configuration of a training; None where all weights are trained."""
    if settings.method == "full":
        return None
    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def save_trained(
    trainer: SFTTrainer, parts: OpenStudent, settings: TrainSettings, path: Path
) -> None:
    """Save the trained student atomically.

    The tokenizer's files are copied unchanged, so text is split into the same tokens. Every process
    has to call this, because each may have a part of the weights; the first one writes.
    `save_dtype` selects whether weights keep the float32 in which they were trained: for weights
    around 0.1, bfloat16 drops updates below 0.0002, which is most of the change of a short training
    run.

    Args:
        trainer: The trainer.
        parts: The student's components.
        settings: Settings of the training.
        path: The folder to write.

    Raises:
        DivergedError: A weight, or its square, is no number; nothing is saved.
    """
    with quiet():
        model = _whole_model(trainer, parts, settings)
    if model is None:
        return
    trained = settings.save_dtype == "float32"
    model = model.to(dtype=torch.float32 if trained else _dtype_in(parts.folder.model_path))
    _check_weights(model, step=step_of(trainer.state))
    temporary = path.with_name(f".{path.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    with quiet():
        model.save_pretrained(str(temporary), safe_serialization=True)
    for file in sorted(parts.folder.tokenizer_path.iterdir()):
        taken = file.name.startswith(
            ("tokenizer", "special_tokens", "added_tokens", "chat_template")
        )
        if taken or file.name in ("vocab.json", "merges.txt"):
            shutil.copyfile(file, temporary / file.name)
    shutil.rmtree(path, ignore_errors=True)
    temporary.rename(path)


def _whole_model(trainer: SFTTrainer, parts: OpenStudent, settings: TrainSettings) -> Any:
    """Trained model with all its weights, in the first process; None in the others.

    Where weights are divided among processes (FSDP) or held in fewer bits, what was trained is
    put into the original weights, loaded again in float32.
    """
    accelerator = trainer.accelerator
    divided = accelerator.distributed_type == DistributedType.FSDP
    rounded = base_weights_of(parts, settings) != "float32"
    state = _gathered(trainer) if divided else None
    if not accelerator.is_main_process:
        return None
    if not (divided or rounded):
        model = trainer.accelerator.unwrap_model(trainer.model)
        return model.merge_and_unload() if settings.method == "lora" else model
    model = load_weights(parts.folder, parts.settings, dtype="float32")
    if settings.method == "full":
        model.load_state_dict(state, strict=False)  # tied weights are there once
        return model
    learnt = get_peft_model_state_dict(trainer.model, state_dict=state)
    model = get_peft_model(model, adapters_of(settings))
    set_peft_model_state_dict(model, {name: value.cpu() for name, value in learnt.items()})
    return model.merge_and_unload()


def _gathered(trainer: SFTTrainer) -> dict[str, torch.Tensor]:
    """Weights that are sharded among processes, gathered in the first one.

    Every process gives its part of each weight, one weight after another; the others keep none.
    """
    first = trainer.accelerator.is_main_process
    found = {}
    for name, value in trainer.accelerator.get_state_dict(trainer.model_wrapped).items():
        whole = value.full_tensor() if hasattr(value, "full_tensor") else value
        if first:
            found[name] = whole.detach().cpu()
    return found


def _dtype_in(folder: Path) -> torch.dtype:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    found = getattr(config, "dtype", None)
    return found if isinstance(found, torch.dtype) else torch.float32


def _check_weights(model: Any, *, step: str) -> None:
    for name, weights in model.named_parameters():
        for value in torch.aminmax(weights.detach()):  # both are nan where one weight is
            # A norm squares what it is given: where that is infinite, it answers 0, a number.
            if not value.float().square().isfinite():
                dtype = str(weights.dtype).removeprefix("torch.")
                raise diverged(
                    f"a weight of {name} is {value.item():g} in {dtype} after step {step}"
                )


def step_of(state: Any) -> str:
    """Short text of how far a training is."""
    return f"{state.global_step} of {state.max_steps}"


def diverged(what: str) -> DivergedError:
    """Error for a training with NaN or infinite numbers."""
    return DivergedError(
        f"the training run diverged: {what}; no student is saved",
        hint="lower `learning_rate`, and choose another --out or remove the folder",
    )
