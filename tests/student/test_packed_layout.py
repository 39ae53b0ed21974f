"""Passages in one line of tokens: nothing is lost or computed twice, and any model can read it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import utils

from tests.student.families import save_family
from tutelage.models.folder import find_folder
from tutelage.student import StudentSettings
from tutelage.student.components import open_engine
from tutelage.student.engine import OutOfMemoryError
from tutelage.student.engine_transformers import FLASH, FLEX, Kernels
from tutelage.student.packed_layout import lay_out, line_ends, plan_packed
from tutelage.student.passage_reader import PassageReader
from tutelage.student.passages import CPU_TOKENS, Measured, Passage, measured_tokens, passage_of

ids = st.lists(st.integers(0, 2), min_size=1, max_size=40)
passages = st.lists(st.builds(passage_of, ids, ids), min_size=1, max_size=12)


@given(passages)
def test_every_token_stands_in_the_line_at_its_position(batch):
    line = lay_out(batch)
    for passage, strand in zip(batch, line.strands, strict=True):
        assert line.ids_N[strand.where_T].tolist() == passage.ids_T.tolist()
        assert line.positions_N[strand.where_T].tolist() == list(range(len(passage.ids_T)))
    assert len(line.ids_N) <= sum(len(passage.ids_T) for passage in batch)


@given(passages, st.integers(1, 200))
def test_each_passage_is_in_one_batch_and_batches_keep_to_the_budget(batch, budget):
    planned = plan_packed(batch, batch_tokens=budget)
    assert sorted(index for part in planned for index in part) == list(range(len(batch)))
    for part in planned:
        computed = len(lay_out([batch[index] for index in part]).ids_N)
        assert computed <= budget or len(part) == 1


def test_a_family_that_fits_is_not_split():
    pool = [[passage_of([c] * 60, [9, r, r, r]) for r in range(10)] for c in range(3)]
    planned = plan_packed([p for family in pool for p in family], batch_tokens=120)
    assert [sorted(part) for part in planned] == [list(range(s, s + 10)) for s in (0, 10, 20)]


def test_batches_are_of_about_one_size_and_an_even_number():
    many = [passage_of([c], [c, c + 1, *[9] * 28]) for c in range(10, 310)]
    planned = plan_packed(many, batch_tokens=4096)
    assert [len(part) for part in planned] == [75] * 4, "three full ones and a rest would do, too"
    few = plan_packed(many[:40], batch_tokens=4096)
    assert [len(part) for part in few] == [40], "two small batches are slower than one"


def test_equal_passages_are_one():
    same = passage_of([1, 2, 3, 4, 5, 6, 7, 8], [9])
    assert len(lay_out([same, same]).ids_N) == 9


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


SHARED = lay_out([passage_of(list(range(40)), [n, n + 1]) for n in range(3)])
APART = lay_out([passage_of([n], list(range(9))) for n in range(3)])


class Model(SimpleNamespace):
    """As much of a model as is asked for; notes which attention is set."""

    def set_attn_implementation(self, name: str) -> None:
        self.used.append(name)


def model(device: str = "cuda", *, size: int = 2, flex: bool = True) -> Any:
    return Model(
        device=SimpleNamespace(type=device),
        dtype=SimpleNamespace(itemsize=size),
        config=SimpleNamespace(_attn_implementation="sdpa"),
        _supports_flex_attn=flex,
        _supports_flash_attn=True,
        used=[],
    )


@pytest.fixture(params=[True, False])
def flash(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(utils, "is_torch_flex_attn_available", lambda: True)
    monkeypatch.setattr(utils, "is_flash_attn_2_available", lambda: request.param)
    return bool(request.param)


def test_lines_that_share_nothing_use_flash_attention_where_it_is_installed(*, flash: bool) -> None:
    kernels = Kernels(model())
    assert kernels.kernel(SHARED) == FLEX
    assert kernels.kernel(APART) == (FLASH if flash else FLEX)
    assert kernels.skip_blocks


@pytest.mark.parametrize(
    ("given", "apart"),
    [({"device": "cpu"}, "sdpa"), ({"flex": False}, "sdpa"), ({"size": 4}, FLEX)],
)
def test_a_model_or_a_device_without_it_keeps_its_own(
    given: dict[str, Any], apart: str, *, flash: bool
) -> None:
    assert Kernels(model(**given)).kernel(APART) == apart


def test_the_models_own_attention_is_set_again(*, flash: bool) -> None:
    fake = model()
    kernels = Kernels(fake)
    with kernels.of(SHARED) as name:
        assert fake.used == [name] == [FLEX]
    assert fake.used == [FLEX, "sdpa"]
    kernels.use_dense_masks()
    with kernels.of(SHARED) as name:
        assert name == "sdpa"
    assert fake.used == [FLEX, "sdpa"]


def test_lines_are_filled_up_to_whole_blocks(*, flash: bool) -> None:
    padded = Kernels(model()).padded(SHARED)
    assert len(padded.ids_N) == len(padded.positions_N) == 128
    assert np.array_equal(padded.ids_N[: len(SHARED.ids_N)], SHARED.ids_N)
    assert padded.strands == SHARED.strands
    assert Kernels(model("cpu")).padded(SHARED) is SHARED
