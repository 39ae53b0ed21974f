"""Token statistics go to disk and come back as what they were."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from tutelage.data import VIEW_NAMES, Reading, TargetTokens, TokenStats, Unscored
from tutelage.data.schemas import TOKENS
from tutelage.data.token_table import arrays_of, stored_tokens, text_of, token_columns

lengths = st.integers(1, 5)


def stats_of(tokens: int, *, full: bool = True, seed: int = 0) -> TokenStats:
    random = np.random.default_rng(seed)
    if not full:
        return TokenStats(logprobs_T=-random.random(tokens, dtype=np.float32))
    return TokenStats(
        logprobs_T=-random.random(tokens, dtype=np.float32),
        ranks_T=random.integers(1, 101, tokens).astype(np.uint8),
        entropies_T=12 * random.random(tokens, dtype=np.float32),
        sum_squares_T=random.random(tokens, dtype=np.float32),
    )


def targets_of(tokens: int) -> TargetTokens:
    return TargetTokens(
        text="ab" * tokens,
        ids_T=np.arange(tokens, dtype=np.int32),
        starts_T=2 * np.arange(tokens, dtype=np.int32),
    )


def through_disk(row: dict[str, object]) -> dict[str, object]:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([row, row], schema=TOKENS), sink)
    _, second = arrays_of(pq.read_table(pa.BufferReader(sink.getvalue())))
    return second


@given(lengths, lengths, st.booleans(), st.lists(lengths, max_size=3))
def test_a_reading_comes_back(response, instruction, full, steps) -> None:
    targets = {"response": targets_of(response), "instruction": targets_of(instruction)}
    views = {
        view: stats_of(len(targets[text_of(view)].ids_T), full=full, seed=seed)
        for seed, view in enumerate(VIEW_NAMES)
    }
    reading = Reading(candidate_id="c", views=views, straddles=True, vocabulary_tokens=400)
    read = [stats_of(tokens, full=False) for tokens in steps]
    row = token_columns(reading, targets=targets, steps=read)
    back = stored_tokens(
        through_disk({**row, "candidate_id": "c", "status": "ok", "straddles": True})
    )
    assert isinstance(back.outcome, Reading)
    assert back.outcome.straddles
    assert back.outcome.vocabulary_tokens == 400
    for view in VIEW_NAMES:
        was, found = views[view], back.outcome.views[view]
        np.testing.assert_array_equal(found.logprobs_T, was.logprobs_T)
        if full:
            np.testing.assert_array_equal(found.ranks_T, was.ranks_T)
            np.testing.assert_allclose(found.entropies_T, was.entropies_T, rtol=2**-11)
            np.testing.assert_allclose(
                found.sum_squares_T, was.sum_squares_T, rtol=2**-11, atol=3e-8
            )
        else:
            assert found.ranks_T is None
            assert found.entropies_T is None
    for name, target in targets.items():
        assert back.targets[name].text == target.text
        np.testing.assert_array_equal(back.targets[name].ids_T, target.ids_T)
    assert [s.logprobs_T.tolist() for s in back.steps or ()] == [
        s.logprobs_T.tolist() for s in read
    ]


def test_a_candidate_without_a_reading_keeps_its_reason() -> None:
    back = stored_tokens(through_disk({"candidate_id": "c", "status": "too_long", "detail": "9"}))
    assert back.outcome == Unscored(candidate_id="c", reason="too_long", detail="9")
    assert (back.targets, back.steps) == ({}, None)


def test_views_and_texts_belong_together() -> None:
    assert [text_of(view) for view in VIEW_NAMES] == [
        "response",
        "response",
        "instruction",
        "instruction",
    ]


def test_the_schema_is_documented(request) -> None:
    page = Path(__file__).parents[2].joinpath("docs/scoring.md").read_text(encoding="utf-8")
    assert all(
        name in page or name.startswith(("logprobs_", "ranks_", "entropies_", "sum_squares_"))
        for name in TOKENS.names
    )
