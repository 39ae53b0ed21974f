"""Rows that a model cannot take: each costs itself and never the run."""

import gc
import json
import shutil
import weakref

import numpy as np
import pytest

from tutelage.data import VIEW_NAMES, Reading
from tutelage.errors import StudentError
from tutelage.student import StudentSettings, TextPair, open_student
from tutelage.student.engine import ForwardError, KnowsLimits, OutOfMemoryError
from tutelage.student.model_checks import Rope
from tutelage.student.passage_reader import PassageReader
from tutelage.student.passages import Measured, Refusal, passage_of


def opened(folder, **settings):
    return open_student(
        StudentSettings(model=str(folder), dtype="float32", use_cache=False, **settings)
    )


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def folder(tiny_llama, tmp_path):
    return shutil.copytree(tiny_llama, tmp_path / "model")


@pytest.mark.parametrize("backend", ["packed", "transformers"])
def test_a_token_beyond_the_embedding_costs_its_row(folder, tiny_tokenizer, candidate_of, backend):
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<|added|>"])  # its id is 400, and the model has 400 rows
    tokenizer.save_pretrained(folder)
    rows = [
        candidate_of("Name a colour.", "red"),
        candidate_of("Name a colour.", "red <|added|> blue"),
        candidate_of("What is <|added|>?", "red"),
        candidate_of("Name a colour.", "blue"),
    ]
    outcomes = list(opened(folder, backend=backend).read(rows, views=VIEW_NAMES))
    assert [getattr(o, "reason", "ok") for o in outcomes] == [
        "ok",
        "token_out_of_range",
        "token_out_of_range",
        "ok",
    ]
    assert "token id 400, but the model's embedding has 400 rows" in outcomes[1].detail


def test_an_embedding_wider_than_the_tokenizer_is_read(tmp_path, save_tiny, some_candidates):
    import torch
    from transformers import AutoModelForCausalLM

    folder = save_tiny(tmp_path, "llama")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.resize_token_embeddings(512, mean_resizing=False)
    model.save_pretrained(folder)
    student = opened(folder)
    assert all(isinstance(o, Reading) for o in student.read(some_candidates, views=VIEW_NAMES))
    assert student.parts.folder.vocabulary_tokens == 512


NAMES = [
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_seq_len",
    "max_seq_length",
    "max_sequence_length",
    "seq_length",
    "context_length",
    "model_max_length",
]


@pytest.mark.parametrize("nested", [None, "text_config", "llm_config", "language_config"])
@pytest.mark.parametrize("name", NAMES)
def test_the_length_limit_is_found_under_every_name(folder, name, nested):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    del config["max_position_embeddings"]
    told = {name: 77, "vocab_size": 400}
    path.write_text(json.dumps(config | ({nested: told} if nested else told)))
    student = opened(folder)
    assert student.parts.max_length == 77
    assert student.parts.folder.vocabulary_tokens == 400


@pytest.mark.parametrize("name", ["model_max_length", "max_len"])
def test_the_tokenizers_limit_counts_too(folder, name, candidate_of):
    edit(folder / "tokenizer_config.json", **{name: 60})
    rows = [candidate_of("Name a colour.", "red"), candidate_of("Name.", "its waves " * 30)]
    outcomes = list(opened(folder).read(rows, views=VIEW_NAMES))
    assert [getattr(o, "reason", "ok") for o in outcomes] == ["ok", "too_long"]


@pytest.mark.parametrize("value", [None, True, "long", 0, -1, [1], 10**30, 1.0])
def test_a_limit_that_is_none_does_not_count(folder, value):
    edit(folder / "config.json", n_positions=value)
    assert opened(folder).parts.max_length == 256


def test_positions_that_end_before_the_config_says_cost_the_long_row(
    tmp_path, save_tiny, candidate_of
):
    """A table of positions that is shorter than the limit: the forward pass itself fails."""
    folder = save_tiny(tmp_path, "gpt2")
    edit(folder / "config.json", n_ctx=256)
    student = opened(folder)
    engine = student.parts.engine()
    table = engine._model.transformer.wpe
    table.weight.data = table.weight.data[:60].clone()
    rows = [
        candidate_of("Name a colour.", "red"),
        candidate_of("Name.", "its waves " * 12),
        candidate_of("Name a colour.", "blue"),
    ]
    outcomes = list(student.read(rows, views=VIEW_NAMES))
    assert [getattr(o, "reason", "ok") for o in outcomes] == ["ok", "student_failed", "ok"]
    assert "IndexError" in outcomes[1].detail
    alone = opened(folder).read([rows[0], rows[2]], views=VIEW_NAMES)
    for found, expected in zip([outcomes[0], outcomes[2]], alone, strict=True):
        for view in VIEW_NAMES:
            np.testing.assert_allclose(
                found.views[view].logprobs_T, expected.views[view].logprobs_T, atol=1e-5
            )


def test_a_model_that_sees_what_follows_is_refused(tmp_path, some_candidates, tiny_tokenizer):
    import torch
    from transformers import BertConfig, BertLMHeadModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=400,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=256,
        initializer_range=0.3,
    )
    BertLMHeadModel(config).save_pretrained(tmp_path)
    tiny_tokenizer(bos=True).save_pretrained(tmp_path)
    with pytest.raises(StudentError, match="not a causal language model"):
        list(opened(tmp_path).read(some_candidates, views=VIEW_NAMES))


class Block:
    """Stands for the memory of a forward pass: as long as it lives, there is none for another."""


class Short:
    """An engine with memory for a few tokens, which a failed batch keeps until it is let go."""

    name, lanes = "short", 1

    def __init__(self, *, most):
        self.most = most
        self.held = None
        self.sizes = []

    def plan(self, passages):
        return [list(range(len(passages)))]

    def read(self, passages, *, full):
        assert not full
        assert self.held is None or self.held() is None, "the failed batch is still held"
        self.sizes.append(len(passages))
        if len(passages) > self.most:
            block = Block()
            block.itself = block  # only the collector frees it, as it is with a model's caches
            self.held = weakref.ref(block)
            self.fail(block)
        return [Measured(logprobs_T=np.full(p.targets, -1, np.float32)) for p in passages]

    def fail(self, block):
        raise OutOfMemoryError(f"cannot allocate beside {block}")

    def close(self):
        pass


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_failed_batch_is_let_go_before_its_halves_are_read(most):
    passages = {p.key: p for p in (passage_of([n], [n, n]) for n in range(1, 8))}
    engine = Short(most=most)
    gc.disable()  # or the collector could free the batch by chance
    try:
        found = PassageReader(open_engine=lambda: engine, cache=None).read(passages, full=False)
    finally:
        gc.enable()
    assert all(isinstance(m, Measured) for m in found.values())
    assert max(engine.sizes) == 7
    assert sum(size for size in engine.sizes if size <= most) == 7


def test_what_has_no_memory_alone_has_a_reason():
    passage = passage_of([1], [2, 3])
    engine = Short(most=0)
    reader = PassageReader(open_engine=lambda: engine, cache=None)
    (found,) = reader.read({b"k": passage}, full=False).values()
    assert isinstance(found, Refusal)
    assert found.reason == "student_failed"
    assert "out of memory at 3 tokens" in found.detail


class Picky(Short):
    """Refuses token 9 beforehand and fails on token 8 when it reads it."""

    def refusal(self, passage):
        return Refusal(reason="too_long") if 9 in passage.ids_T else None

    def read(self, passages, *, full):
        assert not full
        if any(8 in p.ids_T for p in passages):
            raise ForwardError("IndexError: 8", reason="student_failed")
        assert not any(9 in p.ids_T for p in passages)
        return [Measured(logprobs_T=np.full(p.targets, -1, np.float32)) for p in passages]


def test_what_an_engine_refuses_or_fails_on_leaves_the_others_alone():
    engine = Picky(most=9)
    assert isinstance(engine, KnowsLimits)
    assert not isinstance(Short(most=1), KnowsLimits)
    passages = {n: passage_of([n], [1]) for n in range(1, 10)}
    found = PassageReader(open_engine=lambda: engine, cache=None).read(passages, full=False)
    reasons = {n: getattr(found[n], "reason", "ok") for n in passages}
    assert reasons == {**dict.fromkeys(range(1, 8), "ok"), 8: "student_failed", 9: "too_long"}


def test_rows_on_both_sides_of_a_ropes_border_are_read_apart():
    rope = Rope(borders=(32,))
    assert rope.group(32) == 0 != rope.group(33)
    assert not rope.alone(100)
    dynamic = Rope(borders=(32,), dynamic=True)
    assert not dynamic.alone(32)
    assert dynamic.alone(33)


def test_a_longrope_row_has_one_number_whatever_is_beside_it(tmp_path, tiny_tokenizer):
    from tests.student.families import save_family

    save_family(tmp_path, "phi3, longrope")
    tiny_tokenizer(bos=True).save_pretrained(tmp_path)
    pairs = [TextPair(pair_id=str(n), context="", target="a" * n) for n in (20, 29, 35, 120, 25)]
    student = opened(tmp_path)
    together = list(student.read_pairs(pairs))
    for pair, found in zip(pairs, together, strict=True):
        (alone,) = opened(tmp_path).read_pairs([pair])
        np.testing.assert_allclose(found.logprobs_T, alone.logprobs_T, atol=1e-5)


def test_control_tokens_are_read_letter_by_letter_where_the_tokenizer_says_so(folder, candidate_of):
    candidate = candidate_of("Name a colour.", "red </s> blue")
    whole = opened(folder).targets(candidate, "response").ids_T
    edit(folder / "tokenizer_config.json", split_special_tokens=True)
    split = opened(folder).targets(candidate, "response").ids_T
    assert 1 in whole
    assert 1 not in split
    assert len(split) > len(whole)


@pytest.mark.parametrize(
    ("context", "target", "straddles"),
    [
        ("cafe", "\u0301s", True),  # the accent belongs to the letter in front of the border
        ("cafe\u0301", "s", False),
        ("cafe\u0301 ", "\ufb01ne", False),  # one letter that becomes two
        ("\u1112\u1161", "\u11ab", True),  # one syllable of three letters
        ("\u1112\u1161\u11ab", "\u1100\u1173", False),
        ("\uff76", "\uff9e", True),
        ("a \u212b", "b", False),
    ],
)
@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_the_border_stands_where_it_stood_before_a_tokenizer_normalizes(
    folder, form, context, target, straddles
):
    from tokenizers import Tokenizer, normalizers

    path = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.normalizer = getattr(normalizers, form)()
    tokenizer.save(str(path))
    builder = opened(folder).parts.builder
    encoded = builder.encode_pair("x" + context, target + "yz")
    plain = builder.encode_pair("x" + context, "yz")
    assert encoded.ids_T.tolist()[-2:] == plain.ids_T.tolist()[-2:]
    kana = form == "NFC" and "\uff9e" in target  # which only NFKC composes
    assert encoded.straddles == (straddles and not kana)
    assert (encoded.starts_T >= 0).all()
