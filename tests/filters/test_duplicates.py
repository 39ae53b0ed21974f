"""Exact and near duplicates, and the operators that tell two texts apart."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tutelage.filters.candidates import pool_of
from tutelage.filters.config import ExactDuplicatesSettings, NearDuplicatesSettings
from tutelage.filters.duplicates import (
    HASHES,
    WANTED_RECALL,
    Bands,
    _signatures,
    choose_bands,
    drop_exact_duplicates,
    drop_near_duplicates,
    jaccard,
    shingles,
)
from tutelage.filters.operators import operator_similarity, operators_of

rows = st.lists(
    st.tuples(st.sampled_from(["a", "A ", "b", "c"]), st.sampled_from(["e1", "e2", "e3"])),
    max_size=8,
)


def _pool(rows, make_candidates, ids=None):
    return pool_of(
        make_candidates([(text, "r") for text, _ in rows], examples=[e for _, e in rows], ids=ids)
    )


@settings(deadline=None, max_examples=50)
@given(rows=rows, same_example=st.booleans())
def test_no_two_kept_are_alike_and_each_dropped_one_names_a_kept_one(
    make_candidates, rows, same_example
):
    pool = _pool(rows, make_candidates)
    verdicts = drop_exact_duplicates(pool, ExactDuplicatesSettings(same_example=same_example))
    texts = [text.strip().lower() for text, _ in rows]
    kept = [i for i in range(len(rows)) if verdicts.kept_N[i]]
    for i in range(len(rows)):
        rivals = [
            j
            for j in kept
            if j != i and texts[j] == texts[i] and (same_example or rows[j][1] != rows[i][1])
        ]
        assert bool(rivals) != bool(verdicts.kept_N[i])
        if rivals:
            named = int((verdicts.details_N[i] or "").removeprefix("of c"))
            assert named in rivals


def test_samples_of_one_example_share_their_instruction_and_all_stay(make_candidates):
    rows = [("a", "e1"), ("a", "e1"), ("a", "e2")]
    verdicts = drop_exact_duplicates(_pool(rows, make_candidates), ExactDuplicatesSettings())
    assert verdicts.kept_N.tolist() == [True, True, False]
    assert verdicts.details_N[2] == "of c000"
    assert verdicts.reasons_N == ["kept_of_duplicates", "unique", "exact_duplicate"]


def test_white_space_and_case_do_not_tell_texts_apart_but_signs_do(make_candidates):
    pairs = [("x + 1", "r"), ("X  + 1\n", "r"), ("x - 1", "r")]
    verdicts = drop_exact_duplicates(pool_of(make_candidates(pairs)), ExactDuplicatesSettings())
    assert verdicts.kept_N.tolist() == [True, False, True]


def test_the_longest_response_stays_and_the_id_decides_between_equals(make_candidates):
    pairs = [("a", "1"), ("a", "333"), ("a", "444")]
    pool = pool_of(make_candidates(pairs, ids=["x", "z", "y"]))
    verdicts = drop_exact_duplicates(pool, ExactDuplicatesSettings(keep="longest"))
    assert verdicts.kept_N.tolist() == [False, False, True]
    assert verdicts.details_N == ["of y", "of y", "2 duplicates dropped"]


@pytest.mark.parametrize(("prefer", "winner"), [("high", 1), ("low", 0)])
def test_the_best_by_a_column_stays_and_one_without_a_number_never_does(
    make_candidates, prefer, winner
):
    pool = pool_of(make_candidates([("a", "1"), ("a", "2"), ("a", "3")]))
    scores = pa.table({"candidate_id": ["c001", "c000"], "ifd": [0.9, 0.5]})
    settings = ExactDuplicatesSettings(keep="best", by="ifd", prefer=prefer)
    verdicts = drop_exact_duplicates(pool, settings, scores=scores)
    assert [i for i in range(3) if verdicts.kept_N[i]] == [winner]


def test_a_missing_response_is_a_reason_and_not_a_duplicate():
    row = {"messages": [{"role": "user", "content": "hello"}]}
    table = pa.Table.from_pylist([{"example_id": "a", **row}, {"example_id": "b", **row}])
    verdicts = drop_exact_duplicates(pool_of(table), ExactDuplicatesSettings(of="response"))
    assert verdicts.reasons_N == ["no_response", "no_response"]
    assert verdicts.kept_N.tolist() == [False, False]


def test_best_needs_a_column_and_the_others_refuse_one():
    with pytest.raises(ValidationError, match="`by` is required"):
        ExactDuplicatesSettings(keep="best")
    with pytest.raises(ValidationError, match="`by` is required"):
        ExactDuplicatesSettings(by="ifd")


WORDS = NearDuplicatesSettings(shingle="words", shingle_size=1, minimum_similarity=0.5)

bags = st.lists(
    st.tuples(
        st.lists(st.sampled_from("abcdef"), max_size=6).map(" ".join),
        st.sampled_from(["e1", "e2", "e3", "e4"]),
    ),
    max_size=8,
)


def _plain_jaccard(one, other):
    return len(one & other) / len(one | other) if one and other else 0.0


def _oracle(rows, *, threshold, same_example):
    """The row each one is dropped for, or None: the same greedy choice over all pairs."""
    sets = [set(text.split()) for text, _ in rows]
    kept, rivals = [], []
    for i in range(len(rows)):
        near = [
            (-_plain_jaccard(sets[i], sets[j]), j)
            for j in kept
            if (same_example or rows[i][1] != rows[j][1])
            and _plain_jaccard(sets[i], sets[j]) >= threshold
        ]
        rivals.append(-min(near)[0] if near else None)
        if not near:
            kept.append(i)
    return rivals


@settings(deadline=None, max_examples=50)
@given(rows=bags, same_example=st.booleans())
def test_decisions_are_those_of_comparing_all_pairs(make_candidates, rows, same_example):
    settings = WORDS.model_copy(update={"same_example": same_example})
    verdicts = drop_near_duplicates(_pool(rows, make_candidates), settings)
    expected = _oracle(rows, threshold=0.5, same_example=same_example)
    found = [
        None if kept else value
        for kept, value in zip(verdicts.kept_N, verdicts.values_N, strict=True)
    ]
    assert found == pytest.approx(expected)


@settings(deadline=None, max_examples=50)
@given(rows=bags, data=st.data())
def test_with_keep_longest_the_order_does_not_matter(make_candidates, rows, data):
    order = data.draw(st.permutations(range(len(rows))))
    settings = WORDS.model_copy(update={"keep": "longest"})
    plain = drop_near_duplicates(_pool(rows, make_candidates), settings)
    shuffled = drop_near_duplicates(
        _pool([rows[i] for i in order], make_candidates, ids=[f"c{i:03}" for i in order]), settings
    )
    for position, i in enumerate(order):
        assert plain.kept_N[i] == shuffled.kept_N[position]
        assert plain.values_N[i] == shuffled.values_N[position]


def test_there_are_no_chains(make_candidates):
    # b resembles a, c resembles b, but c does not resemble a: dropping b must not drop c.
    rows = [("a b c d", "e1"), ("a b c x", "e2"), ("a b x y", "e3")]
    verdicts = drop_near_duplicates(_pool(rows, make_candidates), WORDS)
    assert verdicts.kept_N.tolist() == [True, False, True]
    assert verdicts.values_N[1] == pytest.approx(3 / 5)


def test_the_detail_names_the_most_similar_kept_one(make_candidates):
    rows = [("a b c d x", "e1"), ("a b c y z w", "e2"), ("a b c d y", "e3")]
    settings = WORDS.model_copy(update={"minimum_similarity": 0.4})
    rows[1] = ("a b p q r s t", "e2")
    verdicts = drop_near_duplicates(_pool(rows, make_candidates), settings)
    assert verdicts.details_N[2] == "of c000"
    assert verdicts.values_N[2] == pytest.approx(4 / 6)


def test_one_changed_word_in_a_sentence_is_a_near_duplicate(make_candidates):
    long = "Explain to a class of young pupils how the water cycle works in the mountains"
    rows = [(f"{long} today.", "e1"), (f"{long} now!", "e2"), ("Name three rivers.", "e3")]
    verdicts = drop_near_duplicates(_pool(rows, make_candidates), NearDuplicatesSettings())
    assert verdicts.reasons_N == ["kept_of_duplicates", "near_duplicate", "unique"]


def test_texts_without_letters_are_kept_because_nothing_can_be_compared(make_candidates):
    verdicts = drop_near_duplicates(
        _pool([("???", "e1"), ("!!!", "e2")], make_candidates), NearDuplicatesSettings()
    )
    assert verdicts.kept_N.tolist() == [True, True]
    assert verdicts.reasons_N == ["nothing_to_compare"] * 2


@settings(deadline=None, max_examples=50)
@given(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)))
def test_jaccard_of_arrays_is_jaccard_of_sets(one, other):
    arrays = [np.array(sorted(s), dtype=np.uint64) for s in (one, other)]
    assert jaccard(*arrays) == pytest.approx(_plain_jaccard(one, other))


@pytest.mark.parametrize("similarity", [0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_bands_fit_the_signature_and_find_what_they_promise(similarity):
    bands = choose_bands(similarity)
    assert bands.bands * bands.rows <= HASHES
    assert bands.recall(similarity) >= WANTED_RECALL


def test_recall_by_hand():
    # Two bands of one row at J = 0.5: both differ in a quarter of the cases.
    assert Bands(bands=2, rows=1).recall(0.5) == pytest.approx(0.75)


def _pair(shared, alone, tag=""):
    """Two texts with `shared` words in common and `alone` words each of their own."""
    common = [f"s{tag}s{i}" for i in range(shared)]
    return [
        " ".join(common + [f"a{tag}s{i}" for i in range(alone)]),
        " ".join(common + [f"b{tag}s{i}" for i in range(alone)]),
    ]


def test_signatures_agree_as_often_as_the_sets_overlap():
    pairs = [_pair(40 + i, 20, tag=str(i)) for i in range(60)]
    runs = shingles(pa.array([text for pair in pairs for text in pair], pa.string()), WORDS)
    _, signatures = _signatures(runs, HASHES)
    agreement = np.mean(signatures[0::2] == signatures[1::2])
    expected = np.mean([(40 + i) / (80 + i) for i in range(60)])
    # 60 pairs of 128 minima: the standard error is about 0.006.
    assert agreement == pytest.approx(expected, abs=0.03)


def test_an_outside_library_finds_the_same_similarity():
    datasketch = pytest.importorskip("datasketch")
    one, other = _pair(60, 20)
    sketches = []
    for text in (one, other):
        sketch = datasketch.MinHash(num_perm=512)
        sketch.update_batch([word.encode() for word in text.split()])
        sketches.append(sketch)
    sets = [
        np.unique(shingles(pa.array([text], pa.string()), WORDS).hashes_R) for text in (one, other)
    ]
    assert jaccard(*sets) == pytest.approx(0.6)
    assert sketches[0].jaccard(sketches[1]) == pytest.approx(0.6, abs=0.1)


FRAME = "Please work out with care, step by step and without a calculator, the value of {} today."
FORMULAS = ["48 + 16", "48 - 16", "48 * 16", "48 / 16", "48 ^ 16", "48 % 16", "48 = 16", "48 < 16",
            "48 > 16", "48 <= 16", "48 >= 16", "48 != 16", "48 \u00b1 16", "48 \u2248 16",
            "p \\land q", "p \\lor q", "p \\subset q", "p \\subseteq q", "p \u2229 q", "p \\to q",
            "-48 16", "48! / 16", "(48 + 16) / 48 + 16", "48 + 16 / (48 + 16)"]  # fmt: skip


def _kept(texts, make_candidates, **settings):
    pool = pool_of(make_candidates([(text, "r") for text in texts]))
    return drop_near_duplicates(pool, NearDuplicatesSettings(**settings)).kept_N.tolist()


@pytest.mark.parametrize("shingle", ["characters", "words"])
def test_formulas_that_differ_in_their_operators_are_no_duplicates(shingle, make_candidates):
    texts = [FRAME.format(formula) for formula in FORMULAS]
    assert _kept(texts, make_candidates, shingle=shingle) == [True] * len(FORMULAS)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("48 + 16", "48 +16"),
        ("48 - 16", "48 \u2212 16"),
        ("48 * 16", "48 \u00d7 16"),
        ("48 <= 16", "48 \u2264 16"),
        ("p \\land q", "p \u2227 q"),
        ("a well-known number", "a well known number"),
        ("this and/or that", "this and or that"),
        ("**this** number", "this number"),
        ("<b>this</b> number", "<b>this number</b>"),
    ],
)
def test_another_spelling_of_the_same_is_a_duplicate(one, other, make_candidates):
    texts = [FRAME.format(one) * 2, FRAME.format(other) * 2]
    assert _kept(texts, make_candidates) == [True, False]


def test_a_bullet_list_and_a_table_have_no_operators():
    assert operators_of("- one\n* two\n> three\n-----\n| a | b |\n|---|---|") == ()


@pytest.mark.parametrize(
    ("text", "signs"),
    [
        ("a - b", "-"),
        ("price * cost", "*"),
        ("from -5 to 5", "negative"),
        ("$48 \\times 16$", "*"),
        ("x\u00b2 and x2", "^"),
        ("2024/05", "/"),
        ("covid-19, e-mail, A-level", ""),
        ("Paris - London", ""),
        ("What! (Really?)", ""),
        ("see https://a.b/c-1/2=3", ""),
    ],
)
def test_a_sign_counts_where_it_stands_between_operands(text, signs):
    assert "".join(operators_of(text)) == signs


def test_one_more_line_of_code_leaves_long_code_alike():
    signs = operators_of("x = a + b\ny = a - b\n" * 20)
    assert operator_similarity(signs, (*signs, "=")) > 0.9
    assert operator_similarity(("+",), ("-",)) == 0.0


def test_emoji_and_currencies_belong_to_the_text(make_candidates):
    texts = ["\U0001f600", "\U0001f621", "\U0001f600", "5 $", "5 \u20ac"]
    assert _kept(texts, make_candidates) == [True, True, False, True, True]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What does a && b give?", "What does a || b give?"),
        ("Compute a << 2 now.", "Compute a >> 2 now."),
        ("What does i++ do?", "What does i-- do?"),
        ("Evaluate !flag in it.", "Evaluate flag in it."),
        ("Compute |-5| for me.", "Compute -5 for me."),
        ("Compute f'(x) of it.", "Compute f(x) of it."),
        ("A program in C++ please.", "A program in C please."),
    ],
)
def test_operators_of_programs_and_bars_differ(one, other):
    assert operators_of(one) != operators_of(other)


def test_columns_of_tables_and_dashes_of_prose_are_no_operators():
    assert operators_of("| a | b |\n|---|---|\n| 1 | 2 |") == ()
    assert operators_of("He came -- at last -- home. Wait! What a day!") == ()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"p \land q", r"p \lor q"),
        (r"A \subset B", r"A \supseteq B"),
        (r"\forall x: P(x)", r"\exists x: P(x)"),
        ("[0, 1)", "(0, 1]"),
        ("\uff13\uff0b\uff15", "\uff13\uff0d\uff15"),
        ("x⁻²", "x²"),
        ("e^{-x}", "e^{x}"),
        ("1.5 km", "15 km"),
        ("n! today", "n today"),
        ("total_cost - tax_rate", "total_cost / tax_rate"),
        ("revenue - cost", "revenue / cost"),
        ("x *= 2", "x /= 2"),
        ("f(*args)", "f(**args)"),
        ("~a | b", "a | b"),
        ("C# code", "C code"),
        ("a..b in Ruby", "a b in Ruby"),
    ],
)
def test_signs_of_other_notations_differ(one, other):
    assert operators_of(one) != operators_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"x \leqslant 1", "x ≤ 1"),
        ("\uff15 \uff0b \uff13", "5 + 3"),
        ("A → B", r"A \to B"),
        (r"p \wedge q", "p ∧ q"),
        (r"\sqrt{x}", "√x"),
        ("x <> y", "x != y"),
    ],
)
def test_other_notations_of_one_sign_are_equal(one, other):
    assert operators_of(one) == operators_of(other) != ()


def test_emphasis_headings_and_ellipses_are_no_operators():
    assert operators_of("# Title\n*so* and **so** ... and (Smith, 2020), a #1 hit") == ()
