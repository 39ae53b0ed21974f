"""Any model of transformers reads passages that share prefixes in one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.student.families import save_family
from tutelage.models.folder import find_folder
from tutelage.student import StudentSettings
from tutelage.student.components import open_engine
from tutelage.student.engine import OutOfMemoryError
from tutelage.student.packed_layout import lay_out, line_ends
from tutelage.student.passage_reader import PassageReader
from tutelage.student.passages import CPU_TOKENS, Measured, Passage, measured_tokens, passage_of

FLOAT32_NATS = 5e-4
LINES = (
    "cohere2",
    "gemma2",
    "gemma3_text",
    "gpt2",
    "gpt_oss",
    "llama",
    "mistral",
    "olmo2",
    "phi3, longrope",
    "qwen2",
    "qwen3_moe",
)
"""Windows of 16 tokens, soft caps, sinks, experts, learned positions, two sets of frequencies."""
NO_LINES = ("bloom", "mamba")


def drawn(seed: int, count: int) -> list[int]:
    return np.random.default_rng(seed).integers(3, 390, size=count).tolist()  # type: ignore[no-any-return]


def related() -> list[Passage]:
    """Two instructions with several answers, one that branches off late, and a loner."""
    first, second = drawn(1, 60), drawn(2, 30)
    return [
        *(passage_of(first, drawn(10 + n, n)) for n in (10, 25, 5)),
        *(passage_of(first[:40] + second, drawn(40 + n, n)) for n in (9, 20)),
        passage_of(first[:50], [*first[50:], 5, 6]),  # the same ids, counted from elsewhere
        passage_of(first, [5, 6]),
        passage_of(second[:5], drawn(99, 8)),
    ]


def opened(folder: Path, **more: Any) -> Any:
    wanted = StudentSettings(
        model=str(folder), backend="transformers", dtype="float32", device="cpu", **more
    )
    return open_engine(find_folder(wanted), wanted, device="cpu", dtype="float32")


def read_all(engine: Any, passages: list[Passage]) -> list[Measured]:
    found: dict[int, Measured] = {}
    for batch in engine.plan(passages):
        found |= zip(batch, engine.read([passages[i] for i in batch], full=True), strict=True)
    return [found[i] for i in range(len(passages))]


@pytest.mark.parametrize("family", [*LINES, *NO_LINES])
def test_shared_prefixes_change_no_number(family: str, tmp_path: Path) -> None:
    import torch

    kind = save_family(tmp_path, family)
    engine = opened(tmp_path)
    assert engine.reads_lines is (family in LINES)
    model = kind.from_pretrained(tmp_path, dtype=torch.float32).eval()
    passages = related()
    for passage, measured in zip(passages, read_all(engine, passages), strict=True):
        ids_1_T = torch.from_numpy(passage.ids_T.astype(np.int64))[None]
        with torch.inference_mode():
            logprobs = model(input_ids=ids_1_T).logits[0, :-1].double().log_softmax(-1)
        expected = logprobs.gather(1, ids_1_T[0, 1:, None])[passage.target_start - 1 :, 0]
        assert np.abs(expected.numpy() - measured.logprobs_T).max() < FLOAT32_NATS


def test_a_line_gives_the_same_bits_however_passages_are_ordered(tmp_path: Path) -> None:
    save_family(tmp_path, "llama")
    engine = opened(tmp_path)
    passages = related()
    straight = read_all(engine, passages)
    for found, again in zip(straight, read_all(engine, passages[::-1])[::-1], strict=True):
        assert np.array_equal(found.logprobs_T, again.logprobs_T)
        assert np.array_equal(found.entropies_T, again.entropies_T)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text("ab", min_size=2, max_size=30), min_size=1, max_size=6))
def test_a_token_is_seen_by_the_passages_it_belongs_to_and_by_no_other(
    texts: list[str],
) -> None:
    every_ids = [[ord(letter) for letter in text] for text in texts]
    line = lay_out([passage_of(ids[:1], ids[1:]) for ids in every_ids])
    ends_N = line_ends(line)
    own: dict[int, set[int]] = {}
    for strand in line.strands:
        for at, place in enumerate(strand.where_T):
            own.setdefault(int(place), set()).update(map(int, strand.where_T[: at + 1]))
    for query in range(len(line.ids_N)):
        sees = {key for key in range(query + 1) if query < ends_N[key]}
        assert sees == own[query]


class Gauge:
    """A device with so much memory, of which each token takes the same part."""

    def __init__(self, *, free: int | None, a_token: int, fixed: int = 10_000) -> None:
        self._free, self._a_token, self._fixed = free, a_token, fixed
        self.read: list[int] = []

    def free(self) -> int | None:
        return self._free

    def peak(self, work: Any) -> int:
        work()
        return self._fixed + self.read[-1] * self._a_token


@pytest.mark.parametrize(
    ("free", "tokens"),
    [(10_000_000, 4096), (100_000_000, 1 << 16), (1_000, 1024), (40_000_000, 1 << 14)],
)
def test_a_batch_has_as_many_tokens_as_fit_into_the_free_memory(free: int, tokens: int) -> None:
    gauge = Gauge(free=free, a_token=1000)
    assert measured_tokens(gauge, gauge.read.append, longest=8192) == tokens
    assert gauge.read == [256, 1024, 256]


def test_memory_that_cannot_be_asked_leaves_the_usual_batch() -> None:
    gauge = Gauge(free=None, a_token=1000)
    assert measured_tokens(gauge, gauge.read.append, longest=8192) == CPU_TOKENS


def test_an_engine_on_a_card_measures_how_much_fits(tmp_path: Path) -> None:
    from tutelage.student.decoder_steps import TorchOps
    from tutelage.student.engine_transformers import TransformersEngine

    kind = save_family(tmp_path, "llama")

    class Reads(Gauge):
        def peak(self, work: Any) -> int:
            work()
            self.calls = getattr(self, "calls", 0) + 1
            return [300, 100][self.calls - 1]  # for 256 and for 128 tokens: the model takes 256

    gauge = Reads(free=10_000, a_token=0)
    engine = TransformersEngine(
        kind.from_pretrained(tmp_path).eval(), batch_tokens=None, ops=TorchOps(), gauge=gauge
    )
    loners = [passage_of([n], [4] * 99) for n in range(50)]
    # 0.7 * 10,000 bytes free * 128 tokens / 200 bytes = 4,480 tokens
    assert [len(b) for b in engine.plan(loners)] == [40, 10]


def test_a_batch_that_did_not_fit_makes_the_next_ones_smaller(tmp_path: Path) -> None:
    save_family(tmp_path, "llama")
    engine = opened(tmp_path, batch_tokens=800)
    fits, sizes, read = 300, [], engine.read

    def short_of_memory(passages: Any, *, full: bool) -> Any:
        tokens = sum(len(p.ids_T) for p in passages)
        sizes.append(tokens)
        if tokens > fits:
            raise OutOfMemoryError("CUDA out of memory")
        return read(passages, full=full)

    engine.read = short_of_memory
    reader = PassageReader(open_engine=lambda: engine, cache=None)
    for chunk in range(2):
        passages = [passage_of(drawn(100 * chunk + n, 50), drawn(n, 50)) for n in range(16)]
        found = reader.read({p.key: p for p in passages}, full=False)
        assert all(isinstance(measured, Measured) for measured in found.values())
    first_of_second_chunk = sizes[-6:]
    assert max(first_of_second_chunk) <= fits
