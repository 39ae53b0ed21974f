"""The account: what it sees, how sure it is, and what does not change it."""

import dataclasses
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data.schemas import DRIFT
from tutelage.errors import DataError
from tutelage.experiments.drift import (
    TextSet,
    account,
    divergence_line,
    lines_from_table,
    lines_to_table,
)
from tutelage.experiments.drift.measure import Line
from tutelage.stats import Resampling, wilson

WORDS = [
    "red",
    "blue",
    "green",
    "stone",
    "river",
    "cloud",
    "door",
    "lamp",
    "tree",
    "glass",
    "road",
    "hill",
    "song",
    "bread",
    "salt",
]


def texts(seed: int, *, count: int = 40, words: int = 20, vocabulary: int = 15) -> tuple[str, ...]:
    generator = random.Random(seed)
    return tuple(
        " ".join(generator.choice(WORDS[:vocabulary]) for _ in range(words)) for _ in range(count)
    )


def made(name: str, responses: tuple[str, ...], **more: object) -> TextSet:
    keys = tuple(f"k{i}" for i in range(len(responses)))
    return TextSet(name=name, keys=keys, texts=responses, **more)  # type: ignore[arg-type]


def by_measure(lines: tuple[Line, ...], name: str) -> dict[str, Line]:
    return {line.measure: line for line in lines if line.name == name}


def test_a_collapse_of_the_vocabulary_is_seen_by_every_measure_of_variety() -> None:
    lines = account([made("before", texts(1)), made("after", texts(2, vocabulary=4))])
    after = by_measure(lines, "after")
    assert after["js_words"].value.low > after["js_words"].noise  # type: ignore[operator]
    for measure in ("distinct_1", "distinct_2", "distinct_3"):
        assert after[measure].change is not None
        assert after[measure].change.high < 0  # type: ignore[operator,union-attr]
    assert after["compression_ratio"].change.low > 0  # type: ignore[operator,union-attr]


def test_two_samples_of_one_kind_show_a_divergence_within_the_noise() -> None:
    within = 0
    for seed in range(12):
        lines = account([made("a", texts(seed)), made("b", texts(100 + seed))], seed=seed)
        line = by_measure(lines, "b")["js_words"]
        assert line.noise is not None
        within += line.value.value <= line.noise
    assert within >= 9  # 95 % on average


def test_twice_the_length_is_a_change_with_an_interval_that_holds_it() -> None:
    lines = account([made("a", texts(1)), made("b", texts(2, words=40))])
    words = by_measure(lines, "b")["words"]
    assert words.value.value == 40
    assert (words.change.value, words.change.low, words.change.high) == (20, 20, 20)  # type: ignore[union-attr]


def test_paired_texts_make_a_difference_surer_than_the_two_values() -> None:
    lengths = [5 + 3 * i for i in range(30)]
    a = tuple("word " * n for n in lengths)
    b = tuple("word " * (n + 1) for n in lengths)
    line = by_measure(account([made("a", a), made("b", b)]), "b")["words"]
    assert line.change.low == line.change.high == pytest.approx(1.0)  # type: ignore[union-attr]
    assert line.value.high - line.value.low > 10  # type: ignore[operator]


def test_accuracy_has_wilsons_interval_and_counts_only_what_was_checked() -> None:
    right = [1.0, 0.0, None, 1.0]
    one = made("a", ("p", "q", "r", "s"), numbers={"right": right})
    line = by_measure(account([one]), "a")["accuracy"]
    assert line.texts == 3
    assert line.value == wilson(2, 3)


def test_what_was_not_measured_has_no_line() -> None:
    one = made("a", ("p", "q"), numbers={"nll_current": [None, None]})
    measures = by_measure(account([one]), "a")
    assert "nll_current" not in measures
    assert "spread" not in measures
    assert not any(m.startswith("share:") for m in measures)


def test_shares_by_teacher_add_up_to_one() -> None:
    one = made("a", ("pp", "qqq", "rrrrr"), teachers=(None, "t", "t"))
    measures = by_measure(account([one]), "a")
    assert measures["share:own"].value.value == pytest.approx(0.2)
    assert measures["share:t"].value.value == pytest.approx(0.8)


def test_a_single_text_has_a_value_and_no_interval() -> None:
    words = by_measure(account([made("a", ("one two",))]), "a")["distinct_1"]
    assert words.value.low is None


def test_a_set_without_texts_is_an_error() -> None:
    with pytest.raises(DataError, match="is empty"):
        made("a", ())


def test_numbers_of_the_wrong_length_are_an_error() -> None:
    with pytest.raises(DataError, match="2 texts but 1 nll"):
        made("a", ("p", "q"), numbers={"nll": [1.0]})


def test_two_sets_of_one_name_are_an_error() -> None:
    with pytest.raises(DataError, match="names of their own"):
        account([made("a", ("p",)), made("a", ("q",))])


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_texts_changes_nothing(shuffle: random.Random) -> None:
    responses = texts(3, count=12)
    one = made("a", responses)
    other = made("b", texts(4, count=12))
    order = list(range(12))
    shuffle.shuffle(order)
    turned = dataclasses.replace(
        other,
        keys=tuple(other.keys[i] for i in order),
        texts=tuple(other.texts[i] for i in order),
    )
    for line, again in zip(account([one, other]), account([one, turned]), strict=True):
        assert again.value.value == pytest.approx(line.value.value, rel=1e-12)
        assert again.value.low == pytest.approx(line.value.low, rel=1e-9)


def test_lines_survive_a_table() -> None:
    lines = account([made("a", texts(1, count=5)), made("b", texts(2, count=5))], subject="data")
    table = lines_to_table(lines)
    assert table.schema == DRIFT
    assert lines_from_table(table) == lines


def test_the_divergence_of_a_student_from_itself_is_zero() -> None:
    same = [np.array([-1.0, -0.5]), np.array([-3.0])]
    line = divergence_line(
        name="now", baseline="then", keys=("a", "b"), current=same, untrained=same
    )
    assert line is not None
    assert (line.value.value, line.value.low, line.value.high) == (0, 0, 0)
    assert divergence_line(name="n", baseline="t", keys=(), current=[], untrained=[]) is None


def test_the_bootstrap_of_a_mean_covers_it_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(60):
        values = np.random.default_rng(seed).exponential(size=60)
        keys = [f"k{i}" for i in range(60)]
        found = Resampling(keys, seed=seed).bootstrap(
            lambda w, v=values: float((v * w).sum() / w.sum()), keys
        )
        assert found is not None
        estimate = found.estimate()
        assert estimate.low is not None
        assert estimate.high is not None
        covered += estimate.low <= 1.0 <= estimate.high
    assert covered >= 50


def test_the_jackknife_of_a_mean_has_the_textbook_error() -> None:
    values = np.arange(20.0)
    keys = [f"k{i:02d}" for i in range(20)]
    found = Resampling(keys, seed=0).jackknife(
        lambda masks: float((values * masks[0]).sum() / masks[0].sum()), [keys]
    )
    assert found is not None
    estimate = found.estimate()
    error = values.std(ddof=1) / np.sqrt(20)
    assert estimate.high == pytest.approx(9.5 + 1.959964 * error)


def test_one_instruction_gives_no_interval() -> None:
    many = TextSet(name="many", keys=tuple("abcd"), texts=("so it is",) * 4)
    one = TextSet(name="one", keys=("a", "a"), texts=("so it is now", "so"))
    for line in account([many, one]):
        estimates = [line.change] if line.name == "many" else [line.value, line.change]
        for estimate in estimates:
            assert estimate is None or (estimate.low is None and estimate.high is None), line
