import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.filters.ngrams import (
    character_symbols,
    runs_of,
    runs_or_whole,
    spaced_words,
    to_form,
    word_symbols,
)

texts = st.lists(st.text(alphabet="ab é.,X1\n", max_size=15), max_size=6)
SIZES = st.integers(1, 4)


def _strings(values):
    return pa.array(values, pa.string())


def _plain_runs(symbols, size):
    return [tuple(symbols[i : i + size]) for i in range(len(symbols) - size + 1)]


@settings(deadline=None, max_examples=50)
@given(texts, SIZES)
def test_two_runs_have_the_same_hash_exactly_when_they_have_the_same_words(values, size):
    words = [text.split() for text in spaced_words(_strings(values)).to_pylist()]
    expected = [(i, run) for i, w in enumerate(words) for run in _plain_runs(w, size)]
    runs = runs_of(word_symbols(_strings(values)), size)
    assert runs.texts_R.tolist() == [i for i, _ in expected]
    pairs = set(zip(runs.hashes_R.tolist(), [run for _, run in expected], strict=True))
    assert len(pairs) == len({run for _, run in expected}) == len({h for h, _ in pairs})


@settings(deadline=None, max_examples=50)
@given(texts, SIZES)
def test_a_text_shorter_than_a_run_is_one_run(values, size):
    symbols = character_symbols(_strings(values))
    runs = runs_or_whole(symbols, size)
    counts = np.bincount(runs.texts_R, minlength=len(values))
    for symbol_count, run_count in zip(symbols.counts_N.tolist(), counts.tolist(), strict=True):
        expected = max(symbol_count - size + 1, 1) if symbol_count else 0
        assert run_count == expected
    assert sorted(runs.texts_R.tolist()) == runs.texts_R.tolist()


@settings(deadline=None, max_examples=50)
@given(texts)
def test_hashes_do_not_depend_on_the_other_texts(values):
    together = word_symbols(_strings(values))
    alone = [word_symbols(_strings([value])).hashes_S.tolist() for value in values]
    assert together.hashes_S.tolist() == [h for hashes in alone for h in hashes]


def test_a_whole_short_text_is_not_the_same_as_a_run_of_another_length():
    runs = runs_or_whole(word_symbols(_strings(["a b", "a b c"])), 3)
    assert len(set(runs.hashes_R.tolist())) == 2


def test_null_has_no_words():
    assert word_symbols(_strings([None, "one two", "", "..."])).counts_N.tolist() == [0, 2, 0, 0]


def test_characters_are_framed_by_spaces():
    assert character_symbols(_strings(["ab", "!"])).counts_N.tolist() == [4, 0]


def test_forms_keep_what_they_say():
    values = _strings(["Did  n't\tx + 1.5", None])
    assert to_form(values, "verbatim").to_pylist() == ["Did  n't\tx + 1.5", None]
    assert to_form(values, "case_and_space").to_pylist() == ["did n't x + 1.5", None]
    assert to_form(values, "letters_and_digits").to_pylist() == ["didntx15", None]


def test_marks_belong_to_words():
    assert spaced_words(_strings(["हिन्दी भाषा"])).to_pylist() == ["हिन्दी भाषा"]


def test_powers_are_not_digits_in_the_form_that_drops_duplicates():
    squared, doubled = to_form(_strings(["x²", "x2"]), "case_and_space").to_pylist()
    assert squared != doubled
