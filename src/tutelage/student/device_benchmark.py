"""Device benchmark: correctness, speed and memory with models of random weights.

Weights are drawn from a seed, so that anybody can repeat a measurement without a model at hand.
`N` tokens of a passage, `V` vocabulary.
"""

import logging
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tutelage.models.hardware import kind_of
from tutelage.models.loading import quiet_libraries
from tutelage.student.decoder_steps import TorchOps
from tutelage.student.engine_transformers import TransformersEngine
from tutelage.student.passages import Measured, Passage, TorchGauge, passage_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Shape of a model of Llama's design.

    Attributes:
        name: For the report.
        width: Width of the hidden states.
        inner: Inner width of the feed-forward blocks.
        layers: Number of layers.
        heads: Attention heads.
        keys: Key-value heads.
        vocabulary: Token ids.
    """

    name: str
    width: int
    inner: int
    layers: int
    heads: int
    keys: int
    vocabulary: int

    @property
    def weights(self) -> int:
        """Weights that each token is multiplied with, including the head's."""
        head = self.width // self.heads
        attention = self.width * head * (2 * self.heads + 2 * self.keys)
        return self.layers * (attention + 3 * self.width * self.inner) + (
            self.width * self.vocabulary
        )

    def flops(self, passages: Sequence[Passage]) -> float:
        """Floating-point operations of reading passages one by one, without padding."""
        found = 0.0
        head = self.width * self.vocabulary
        for passage in passages:
            tokens = len(passage.ids_T)
            found += 2.0 * (self.weights - head) * tokens + 2.0 * head * passage.targets
            found += 2.0 * self.layers * self.width * tokens**2  # half of the square is masked
        return found


SMALL = Shape(name="tiny", width=64, inner=128, layers=2, heads=4, keys=2, vocabulary=512)
SHAPES = (
    Shape(name="0.5B", width=896, inner=4864, layers=24, heads=14, keys=2, vocabulary=151_936),
    Shape(name="7B", width=4096, inner=14336, layers=32, heads=32, keys=8, vocabulary=32_000),
)


def random_model(shape: Shape, *, device: str, dtype: str, seed: int = 0) -> Any:
    """Model with random weights from a seed, the same on every device.

    Small models are initialized on the CPU, large ones on the device that uses them.

    Args:
        shape: The shape of the model.
        device: Where it runs.
        dtype: The dtype of its weights.
        seed: The seed of the weights.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.keys,
        max_position_embeddings=65_536,
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed)
    large = shape.weights > 10**9
    with torch.device(device if large else "cpu"):
        before = torch.get_default_dtype()
        torch.set_default_dtype(getattr(torch, dtype) if large else torch.float32)
        try:
            model = LlamaForCausalLM(config)
        finally:
            torch.set_default_dtype(before)
    model = model.to(device=device, dtype=getattr(torch, dtype))
    model.requires_grad_(False)
    return model.eval()


def rows_of(
    shape: Shape, *, tokens: int, count: int, shared: int = 0, seed: int = 0
) -> list[Passage]:
    """Passages of random ids, optionally with a common prefix.

    Args:
        shape: Shape of the model.
        tokens: Tokens of each passage; the second half is its target, or what is not shared.
        count: How many.
        shared: Tokens that all have in common at their start.
        seed: Seed of the ids.
    """
    drawn = np.random.default_rng(seed)
    prefix = drawn.integers(2, shape.vocabulary, size=shared).tolist()
    start = shared or tokens // 2
    found = []
    for _ in range(count):
        ids = prefix + drawn.integers(2, shape.vocabulary, size=tokens - shared).tolist()
        found.append(passage_of(ids[:start], ids[start:]))
    return found


def engine_of(model: Any, *, device: str, batch_tokens: int | None = None) -> TransformersEngine:
    """Engine that reads on this device.

    Args:
        model: The model.
        device: Where it runs.
        batch_tokens: Tokens of a batch; None to measure them.
    """
    gauge = None if kind_of(device) == "cpu" else TorchGauge(device)
    return TransformersEngine(model, batch_tokens=batch_tokens, ops=TorchOps(), gauge=gauge)


def read_all(engine: TransformersEngine, passages: Sequence[Passage]) -> list[Measured]:
    """Statistics that an engine measures, in the order given."""
    found: dict[int, Measured] = {}
    for batch in engine.plan(passages):
        read = engine.read([passages[i] for i in batch], full=True)
        found |= zip(batch, read, strict=True)
    return [found[i] for i in range(len(passages))]


def plain_loop(model: Any, passages: Sequence[Passage]) -> list[float]:
    """Mean losses row by row with all logits, as most programs compute them."""
    import torch

    found = []
    with torch.inference_mode():
        for passage in passages:
            ids_1_T = torch.from_numpy(passage.ids_T.astype(np.int64))[None].to(model.device)
            labels_1_T = ids_1_T.clone()
            labels_1_T[:, : passage.target_start] = -100
            found.append(model(input_ids=ids_1_T, labels=labels_1_T).loss)
        return [float(loss) for loss in found]


def harness_losses(model: Any, passages: Sequence[Passage]) -> list[float]:
    """Mean losses by the likelihood of lm-eval's `hf` model. Needs lm_eval."""
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it advises against models in memory
    harness = HFLM(
        pretrained=model,
        tokenizer=_tokenizer(),
        batch_size=16,
        max_length=65_536,
        add_bos_token=False,
    )
    requests = [
        (("", ""), p.ids_T[: p.target_start].tolist(), p.ids_T[p.target_start :].tolist())
        for p in passages
    ]
    found = harness._loglikelihood_tokens(requests, disable_tqdm=True)  # noqa: SLF001  (its public method wants text)
    return [-value / p.targets for (value, _), p in zip(found, passages, strict=True)]


def _tokenizer() -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({"</s>": 0}))
    return PreTrainedTokenizerFast(tokenizer_object=words, **_ENDS)


_ENDS: dict[str, str] = {"eos_token": "</s>", "pad_token": "</s>"}


def wait_for(device: str) -> None:
    """Wait until a device has finished its work."""
    import torch

    kind = kind_of(device)
    if kind != "cpu":
        getattr(torch, kind).synchronize()


def seconds_of(work: Callable[[], object], *, device: str) -> float:
    """Duration of some work in seconds, measured at the second run."""
    work()
    wait_for(device)
    started = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - started


def peak_flops(*, device: str, dtype: str, size: int) -> float:
    """Peak operations per second, as the best of a few square matrix products.

    Args:
        device: The device.
        dtype: The dtype of the matrices.
        size: Their number of rows and columns.
    """
    import torch

    left, right = (
        torch.randn(size, size, device=device, dtype=getattr(torch, dtype)) for _ in range(2)
    )

    def multiply() -> "Tensor":
        product = left @ right
        for _ in range(3):
            product = left @ right
        return product

    best = min(seconds_of(multiply, device=device) for _ in range(3))
    return 4 * 2.0 * size**3 / best


def vllm_seconds(
    shape: Shape, passages: Sequence[Passage], *, folder: str, device: str, dtype: str
) -> float:
    """Seconds that vLLM takes for the log-probabilities of passages. Needs vllm and a card.

    Args:
        shape: Shape of the model.
        passages: What is read.
        folder: An empty one, for the model.
        device: Where its weights are drawn.
        dtype: Dtype of its weights.
    """
    import vllm

    random_model(shape, device=device, dtype=dtype).save_pretrained(folder)
    model = vllm.LLM(
        model=folder,
        skip_tokenizer_init=True,
        dtype=dtype,
        gpu_memory_utilization=0.6,
        max_model_len=max(len(p.ids_T) for p in passages) + 1,
        max_logprobs=1,
    )
    sampling = vllm.SamplingParams(
        max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False
    )
    prompts = [{"prompt_token_ids": p.ids_T.tolist()} for p in passages]
    return seconds_of(lambda: model.generate(prompts, sampling, use_tqdm=False), device=device)


def device_name(device: str) -> str:
    """Name of a device."""
    import torch

    kind, _, number = device.partition(":")
    if kind in ("cuda", "xpu"):
        return str(getattr(torch, kind).get_device_name(int(number or 0)))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    units = torch.backends.cpu.get_cpu_capability()
    return f"{_processor()}, {cores} of its cores, {units}"


def _processor() -> str:
    """Name of the CPU, or its architecture where the system does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    names = (line.partition(":")[2] for line in text.splitlines() if line.startswith("model name"))
    return next(names, "").strip() or platform.processor() or platform.machine()


def save_student(folder: Path) -> None:
    """Save a tiny byte-level student with weights from a seed as a folder."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {name: at for at, name in enumerate(["<s>", "</s>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    with quiet_libraries():
        random_model(SMALL, device="cpu", dtype="float32").save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{"bos_token": "<s>", **_ENDS}
    ).save_pretrained(folder)
