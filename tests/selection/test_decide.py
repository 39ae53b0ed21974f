"""The columnar rules against one example at a time, and what must hold for every rule."""

import random
from itertools import product

import pyarrow as pa
import pytest
import selection_oracle as oracle
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from selection_pools import merged, pools, tables

from tutelage.data.schemas import DECISIONS, NULLS
from tutelage.errors import DataError
from tutelage.selection import NULL_NAMES, SelectSettings, select

# A selection opens a database: few cases of many examples find more than many cases of few.
few_pools = effort(max_examples=10, deadline=None)
many_pools = effort(max_examples=30, deadline=None)
ANY_UNSCORED = 1.0
RULES = [
    {"rule": "srt", "mode": "safe"},
    {"rule": "srt", "mode": "paper"},
    {"rule": "grape"},
    {"rule": "rsr"},
    {"rule": "ifd_top", "keep_fraction": 0.5},
    {"rule": "ifd_top", "keep_count": 1, "per_source": True},
    {"rule": "random", "keep_count": 2},
    {"rule": "longest"},
    {"rule": "all_original"},
    {"rule": "all_refined"},
]
ORI, INS, RES = "original", "instruction_reflection", "response_reflection"
PAPER = {"rule": "srt", "mode": "paper"}
rules = st.sampled_from(RULES)
margins = st.sampled_from([0.0, 0.25, 0.5, 2.0])


def settings_of(rule, **more):
    return SelectSettings(max_unscored_fraction=ANY_UNSCORED, **rule, **more)


def decide(by_example, rule, **more):
    return select(**tables(by_example), settings=settings_of(rule, **more))


def decided(selected):
    return {
        row["example_id"]: (row["candidate_id"], row["reason"])
        for row in selected.decisions.to_pylist()
    }


def expected(by_example, rule):
    return {
        example_id: (chosen["candidate_id"] if chosen else None, reason)
        for example_id, rows in by_example.items()
        for chosen, reason in [rule(merged(rows))]
    }


def every_pool():
    """One example for each combination of four versions, each absent, failed or with numbers."""
    states = [None, {"status": "teacher_failed"}, {"score": "too_long"}] + [
        {"ifd": ifd, "r_ifd": r_ifd} for ifd in (0.5, 0.75, 1.0) for r_ifd in (0.5, 0.75, 1.0)
    ]
    versions = [("a", ORI, None), ("b", INS, None), ("c", RES, "a"), ("d", RES, "b")]
    return {
        f"x{code:05}": rows_of(
            *(
                (letter, step, parent, dict(state))
                for (letter, step, parent), state in zip(versions, chosen, strict=True)
                if state is not None
            ),
            example_id=f"x{code:05}",
        )
        for code, chosen in enumerate(product(states, repeat=4))
    }


def test_srt_decides_as_its_truth_tables_say_in_every_case():
    by_example = every_pool()
    assert len(by_example) == 12**4
    for margin in (0.0, 0.25):
        found = decided(decide(by_example, {"rule": "srt"}, margin=margin))
        assert found == expected(by_example, lambda pool, m=margin: oracle.safe(pool, m))
    assert decided(decide(by_example, PAPER)) == expected(by_example, oracle.paper)


@many_pools
@given(pools(), margins)
def test_srt_safe_decides_as_its_truth_table_says(by_example, margin):
    found = decided(decide(by_example, {"rule": "srt"}, margin=margin))
    assert found == expected(by_example, lambda pool: oracle.safe(pool, margin))


@many_pools
@given(pools())
def test_srt_paper_decides_as_its_truth_table_says(by_example):
    found = decided(decide(by_example, {"rule": "srt", "mode": "paper"}))
    assert found == expected(by_example, oracle.paper)


@few_pools
@given(pools())
def test_grape_takes_the_likeliest_and_rsr_the_lowest(by_example):
    assert decided(decide(by_example, {"rule": "grape"})) == expected(
        by_example,
        lambda pool: oracle.single(pool, "grape", highest=True, reason="highest_grape"),
    )
    assert decided(decide(by_example, {"rule": "rsr"})) == expected(
        by_example, lambda pool: oracle.single(pool, "rsr", highest=False, reason="lowest_rsr")
    )


@few_pools
@given(pools(), rules)
def test_every_example_has_exactly_one_decision(by_example, rule):
    selected = decide(by_example, rule)
    assert selected.decisions["example_id"].to_pylist() == sorted(by_example)
    assert selected.decisions.schema.names[: len(DECISIONS)] == DECISIONS.names
    assert sum(selected.tally.values()) == len(by_example) == selected.coverage.examples
    for row in selected.decisions.to_pylist():
        assert row["kept"] == (row["candidate_id"] is not None) == (row["step"] is not None)
        assert row["reason"]


@few_pools
@given(pools(), rules)
def test_a_candidate_that_is_not_usable_is_never_chosen_nor_drawn(by_example, rule):
    selected = decide(by_example, rule)
    usable = {
        (row["example_id"], row["candidate_id"])
        for rows in by_example.values()
        for row in rows
        if row["status"] == "ok" and row["score"] == "ok"
    }
    for row in [*selected.decisions.to_pylist(), *selected.nulls.to_pylist()]:
        assert row["candidate_id"] is None or (row["example_id"], row["candidate_id"]) in usable


@few_pools
@given(pools(), rules, st.integers(0, 1000))
def test_the_order_of_rows_changes_nothing(by_example, rule, seed):
    shuffled = tables(by_example, shuffle=random.Random(seed))
    again = select(**shuffled, settings=settings_of(rule))
    first = decide(by_example, rule)
    assert again.decisions == first.decisions
    assert again.nulls == first.nulls


@few_pools
@given(pools(), rules)
def test_one_example_does_not_depend_on_the_others_unless_the_rule_cuts(by_example, rule):
    if rule["rule"] in ("ifd_top", "random"):
        return
    together = decided(decide(by_example, rule))
    half = dict(sorted(by_example.items())[::2])
    assert decided(decide(half, rule)) == {name: together[name] for name in half}


@few_pools
@given(pools(), st.lists(margins, min_size=2, max_size=2))
def test_a_wider_margin_never_lets_more_refinements_win(by_example, two):
    narrow, wide = sorted(two)

    def refined(margin):
        rows = decide(by_example, {"rule": "srt"}, margin=margin).decisions.to_pylist()
        return {row["example_id"] for row in rows if row["kept"] and row["step"] != "original"}

    assert refined(wide) <= refined(narrow)


@few_pools
@given(pools())
def test_what_srt_keeps_is_below_one_in_both_ratios(by_example):
    for mode in ("safe", "paper"):
        rows = decide(by_example, {"rule": "srt", "mode": mode}).decisions.to_pylist()
        for row in rows:
            if row["kept"]:
                assert row["ifd_chosen"] < 1
                assert row["r_ifd_chosen"] < 1
            else:
                assert row["ifd_chosen"] is None


@few_pools
@given(pools())
def test_safe_mode_never_loses_an_original_that_passes(by_example):
    kept = {k for k, (chosen, _) in decided(decide(by_example, {"rule": "srt"})).items() if chosen}
    for example_id, rows in by_example.items():
        if any(c["step"] == "original" and oracle.passes(c) for c in merged(rows)):
            assert example_id in kept


@few_pools
@given(pools(), rules)
def test_nulls_are_as_large_as_the_selection_where_there_is_enough(by_example, rule):
    selected = decide(by_example, rule)
    assert selected.nulls.schema == NULLS
    kept = {r["example_id"] for r in selected.decisions.to_pylist() if r["kept"]}
    usable = {
        example_id: [r["step"] for r in rows if r["status"] == "ok" and r["score"] == "ok"]
        for example_id, rows in by_example.items()
    }
    available = {
        "random": sum(bool(steps) for steps in usable.values()),
        "longest": sum(bool(steps) for steps in usable.values()),
        "all_original": sum("original" in steps for steps in usable.values()),
        "all_refined": sum(
            any(s.endswith("reflection") for s in steps) for steps in usable.values()
        ),
    }
    drawn = {name: [] for name in NULL_NAMES}
    for row in selected.nulls.to_pylist():
        drawn[row["null"]].append(row["example_id"])
    assert set(drawn["random_version"]) == kept
    for name, most in available.items():
        assert len(drawn[name]) == len(set(drawn[name])) == min(len(kept), most)


@few_pools
@given(pools(max_examples=1), rules)
def test_a_parquet_file_and_a_table_give_the_same_decision(tmp_path_factory, by_example, rule):
    import pyarrow.parquet as pq

    folder = tmp_path_factory.mktemp("tables")
    given_ = tables(by_example)
    paths = {name: folder / f"{name}.parquet" for name in given_}
    for name, path in paths.items():
        pq.write_table(given_[name], path)
    assert (
        select(**paths, settings=settings_of(rule)).decisions == decide(by_example, rule).decisions
    )


def rows_of(*kinds, example_id="x"):
    """One row a kind: (letter, step, parent letter or None, numbers)."""
    return [
        {
            "candidate_id": f"{example_id}{letter}",
            "example_id": example_id,
            "parent_id": None if parent is None else f"{example_id}{parent}",
            "step": step,
            "status": more.pop("status", "ok"),
            "score": more.pop("score", "ok"),
            "response_tokens": more.pop("tokens", 1),
            "ifd": 0.5,
            "r_ifd": 0.5,
            "grape": -1.0,
            "rsr": 2.0,
            **more,
        }
        for letter, step, parent, more in kinds
    ]


def one(*kinds, rule=RULES[0], **more):
    kinds = [(letter, step, parent, dict(numbers)) for letter, step, parent, numbers in kinds]
    (row,) = decide({"x": rows_of(*kinds)}, rule, **more).decisions.to_pylist()
    return (row["candidate_id"] or "-")[-1], row["reason"]


@pytest.mark.parametrize(
    ("safe", "paper", "candidates"),
    [
        # the two comparisons, each way
        (
            ("d", "both_reflections_won"),
            ("d", "both_reflections_won"),
            [("a", ORI, None, {}), ("b", INS, None, {"ifd": 0.6}), ("d", RES, "b", {"r_ifd": 0.4})],
        ),
        (
            ("b", "instruction_reflection_won"),
            ("-", "response_reflection_not_better"),
            [("a", ORI, None, {}), ("b", INS, None, {"ifd": 0.6}), ("d", RES, "b", {"r_ifd": 0.6})],
        ),
        (
            ("c", "response_reflection_won"),
            ("c", "response_reflection_won"),
            [("a", ORI, None, {}), ("b", INS, None, {"ifd": 0.4}), ("c", RES, "a", {"r_ifd": 0.4})],
        ),
        (
            ("a", "original_kept"),
            ("-", "response_reflection_not_better"),
            [("a", ORI, None, {}), ("b", INS, None, {"ifd": 0.4}), ("c", RES, "a", {"r_ifd": 0.6})],
        ),
        # ties keep what is less changed
        (
            ("a", "original_kept"),
            ("-", "response_reflection_not_better"),
            [("a", ORI, None, {}), ("b", INS, None, {}), ("c", RES, "a", {})],
        ),
        # the rewritten response of the loser is not looked at
        (
            ("b", "instruction_reflection_won"),
            ("-", "no_response_reflection"),
            [("a", ORI, None, {}), ("b", INS, None, {"ifd": 0.6}), ("c", RES, "a", {"r_ifd": 0.1})],
        ),
        # a mismatched refinement: out first, or capped afterwards
        (
            ("a", "original_kept"),
            ("-", "ifd_not_below_1"),
            [
                ("a", ORI, None, {}),
                ("b", INS, None, {"ifd": 1.2}),
                ("d", RES, "b", {"ifd": 1.0, "r_ifd": 0.4}),
            ],
        ),
        (
            ("a", "original_kept"),
            ("-", "r_ifd_not_below_1"),
            [
                ("a", ORI, None, {}),
                ("b", INS, None, {"ifd": 0.6, "r_ifd": 1.5}),
                ("d", RES, "b", {"r_ifd": 1.2}),
            ],
        ),
        # a mismatched original
        (
            ("c", "original_out_refinement_passes"),
            ("c", "response_reflection_won"),
            [("a", ORI, None, {"ifd": 1.2}), ("c", RES, "a", {"r_ifd": 0.4})],
        ),
        (
            ("b", "original_out_refinement_passes"),
            ("-", "no_response_reflection"),
            [("a", ORI, None, {"ifd": 1.2}), ("b", INS, None, {"ifd": 0.6}), ("c", RES, "b", {})][
                :2
            ],
        ),
        (
            ("-", "ifd_not_below_1"),
            ("-", "no_response_reflection"),
            [("a", ORI, None, {"ifd": 1.0})],
        ),
        (
            ("-", "r_ifd_not_below_1"),
            ("-", "no_response_reflection"),
            [("a", ORI, None, {"r_ifd": 1.0})],
        ),
        # without a number
        (
            ("-", "original_too_long"),
            ("-", "original_too_long"),
            [("a", ORI, None, {"score": "too_long"})],
        ),
        (
            ("b", "original_out_refinement_passes"),
            ("-", "original_too_long"),
            [("a", ORI, None, {"score": "too_long"}), ("b", INS, None, {})],
        ),
        (
            ("c", "original_out_refinement_passes"),
            ("-", "original_too_long"),
            [("a", ORI, None, {"score": "too_long"}), ("c", RES, "a", {"r_ifd": 0.1})],
        ),
        (
            ("a", "original_kept"),
            ("-", "instruction_reflection_teacher_failed"),
            [("a", ORI, None, {}), ("b", INS, None, {"status": "teacher_failed"})],
        ),
        (
            ("a", "original_kept"),
            ("-", "response_reflection_teacher_failed"),
            [("a", ORI, None, {}), ("c", RES, "a", {"status": "teacher_failed"})],
        ),
        (
            ("c", "response_reflection_won"),
            ("c", "response_reflection_won"),
            [
                ("a", ORI, None, {}),
                ("b", INS, None, {"status": "teacher_failed"}),
                ("c", RES, "a", {"r_ifd": 0.4}),
            ],
        ),
        (
            ("a", "original_kept"),
            ("-", "response_reflection_not_scored"),
            [("a", ORI, None, {}), ("c", RES, "a", {"r_ifd": None})],
        ),
        (
            ("a", "original_kept"),
            ("-", "response_reflection_not_scored"),
            [("a", ORI, None, {}), ("c", RES, "a", {"r_ifd": 0.4, "score": None})],
        ),
        # without an original, or without anything
        (
            ("b", "no_original_refinement_passes"),
            ("-", "no_original"),
            [("b", INS, None, {})],
        ),
        (("-", "no_original"), ("-", "no_original"), [("s", "sample", None, {})]),
        (("-", "no_candidates"), ("-", "no_candidates"), []),
        # several of a step: the best of them; equal ones by id
        (
            ("c", "response_reflection_won"),
            ("c", "response_reflection_won"),
            [
                ("a", ORI, None, {}),
                ("d", RES, "a", {"r_ifd": 0.3}),
                ("c", RES, "a", {"r_ifd": 0.3}),
                ("b", RES, "a", {"r_ifd": 0.4}),
            ],
        ),
        # four variants scored ahead, as the published code wants them
        (
            ("d", "both_reflections_won"),
            ("d", "both_reflections_won"),
            [
                ("a", ORI, None, {"ifd": 0.4}),
                ("b", INS, None, {"ifd": 0.6, "r_ifd": 0.7}),
                ("c", RES, "a", {"r_ifd": 0.1}),
                ("d", RES, "b", {"r_ifd": 0.6}),
            ],
        ),
    ],
)
def test_srt_by_hand(safe, paper, candidates):
    assert one(*candidates) == safe
    assert one(*candidates, rule=PAPER) == paper


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf"), None])
def test_what_is_not_a_finite_number_is_never_compared(number):
    original, worse = ("a", ORI, None, {}), {"ifd": number, "r_ifd": number}
    broken = {"grape": number, "rsr": number}
    assert one(original, ("b", INS, None, worse)) == ("a", "original_kept")
    assert one(("a", ORI, None, worse))[1] == "original_not_scored"
    for rule in ({"rule": "grape"}, {"rule": "rsr"}):
        assert one(("s", "sample", None, {}), ("t", "sample", None, broken), rule=rule)[0] == "s"
        assert one(("t", "sample", None, broken), rule=rule) == ("-", "sample_not_scored")


def test_the_margin_must_be_passed_not_met():
    candidates = [
        ("a", ORI, None, {}),
        ("b", INS, None, {"ifd": 0.75}),
        ("c", RES, "a", {"r_ifd": 0.25}),
    ]
    assert one(*candidates, margin=0.125) == ("b", "instruction_reflection_won")
    assert one(*candidates, margin=0.25) == ("a", "original_kept")


def test_the_numbers_a_decision_rested_on_stand_beside_it():
    rows = rows_of(
        ("a", ORI, None, {"ifd": 0.4, "r_ifd": 0.5}),
        ("b", INS, None, {"ifd": 0.6, "r_ifd": 0.7}),
        ("d", RES, "b", {"ifd": 0.8, "r_ifd": 0.3}),
    )
    (row,) = decide({"x": rows}, RULES[0]).decisions.to_pylist()
    assert row == {
        "example_id": "x",
        "candidate_id": "xd",
        "step": RES,
        "kept": True,
        "reason": "both_reflections_won",
        "rule": "srt",
        "ifd_original": 0.4,
        "r_ifd_original": 0.5,
        "ifd_instruction_reflection": 0.6,
        "r_ifd_instruction_reflection": 0.7,
        "r_ifd_parent": 0.7,
        "ifd_response_reflection": 0.8,
        "r_ifd_response_reflection": 0.3,
        "ifd_chosen": 0.8,
        "r_ifd_chosen": 0.3,
    }


def test_a_parent_of_another_example_is_no_parent():
    by_example = {
        "x": rows_of(("a", ORI, None, {})),
        "y": rows_of(("c", RES, "a", {"r_ifd": 0.1}), example_id="y"),
    }
    by_example["y"][0]["parent_id"] = "xa"
    assert decided(decide(by_example, PAPER))["x"] == (None, "no_response_reflection")
    # nor does it say how far a version is from its own original
    by_example["y"] += rows_of(("d", INS, None, {}), example_id="y")
    found = decided(decide(by_example, {"rule": "all_refined"}))
    assert found["y"] == ("yc", "most_refined")


@pytest.mark.parametrize("rule", [{"rule": "grape"}, {"rule": "rsr"}])
def test_ties_keep_the_less_changed_candidate_and_then_the_smaller_id(rule):
    candidates = [
        ("a", RES, "d", {}),
        ("b", RES, "f", {}),
        ("c", "sample", None, {}),
        ("d", INS, None, {}),
        ("f", ORI, None, {}),
        ("g", ORI, None, {}),
    ]
    order = []
    while candidates:
        letter, _ = one(*candidates, rule=rule)
        order.append(letter)
        if letter == "f":  # its child stays a rewritten response of an original
            candidates = [
                (c, s, p, n if c != "f" else {"grape": -9.0, "rsr": 9.0})
                for c, s, p, n in candidates
            ]
            if order.count("f") > 1:
                break
        else:
            candidates = [c for c in candidates if c[0] != letter]
    assert order[:6] == ["f", "g", "b", "c", "d", "a"]


def many(values, **more):
    return {
        f"x{i}": rows_of(("a", ORI, None, {"ifd": v, "tokens": 10 + i}), example_id=f"x{i}")
        for i, v in enumerate(values)
    }


def test_ifd_top_keeps_the_highest_below_one():
    selected = decide(many([0.2, 0.9, 1.0, 0.7, 0.7]), {"rule": "ifd_top", "keep_fraction": 0.4})
    rows = selected.decisions.to_pylist()
    assert [r["reason"] for r in rows] == [
        "below_cut",
        "in_the_cut",
        "ifd_not_below_1",
        "in_the_cut",
        "below_cut",
    ]
    assert [r["ifd_best"] for r in rows] == [0.2, 0.9, 1.0, 0.7, 0.7]
    assert {r["ifd_cut"] for r in rows} == {0.7}


def test_ifd_top_takes_its_share_within_each_source():
    by_example = many([0.2, 0.9, 0.8, 0.7])
    given_ = tables(by_example)
    given_["examples"] = pa.table(
        {"example_id": ["x0", "x1", "x2", "x3"], "source": ["web", "web", None, None]}
    )
    rule = {"rule": "ifd_top", "keep_count": 1, "per_source": True}
    rows = select(**given_, settings=settings_of(rule)).decisions.to_pylist()
    assert [r["example_id"] for r in rows if r["kept"]] == ["x1", "x2"]


@pytest.mark.parametrize(("examples", "share", "kept"), [(100, 0.07, 7), (7, 0.5, 4), (3, 0.01, 1)])
def test_a_share_is_rounded_up_but_not_by_floating_point(examples, share, kept):
    rule = {"rule": "longest", "keep_fraction": share}
    assert decide(many([0.5] * examples), rule).coverage.kept == kept


def test_longest_keeps_the_longest():
    rows = decide(many([0.5, 0.5, 0.5]), {"rule": "longest", "keep_count": 1}).decisions.to_pylist()
    assert [r["kept"] for r in rows] == [False, False, True]
    assert rows[0]["response_tokens_best"] == 10
    assert rows[0]["response_tokens_cut"] == 12


def test_another_seed_draws_other_examples():
    by_example = many([0.5] * 40)
    drawn = {tuple(decided(decide(by_example, RULES[6], seed=seed)).values()) for seed in range(3)}
    assert len(drawn) == 3


def test_the_random_rule_is_not_its_own_null():
    selected = decide(many([0.5] * 40), {"rule": "random", "keep_count": 10})
    kept = {r["example_id"] for r in selected.decisions.to_pylist() if r["kept"]}
    null = {r["example_id"] for r in selected.nulls.to_pylist() if r["null"] == "random"}
    assert len(kept) == len(null) == 10
    assert kept != null


def test_all_refined_takes_the_most_refined_and_all_original_the_original():
    candidates = [
        ("a", ORI, None, {}),
        ("b", INS, None, {}),
        ("c", RES, "b", {"score": "too_long"}),
        ("d", RES, "a", {}),
    ]
    assert one(*candidates, rule={"rule": "all_refined"}) == ("b", "most_refined")
    assert one(*candidates, rule={"rule": "all_original"}) == ("a", "original_kept")
    assert one(*candidates[2:3], rule={"rule": "all_refined"}) == (
        "-",
        "response_reflection_too_long",
    )
    assert one(candidates[0], rule={"rule": "all_refined"}) == ("-", "no_refinement")
    assert one(candidates[1], rule={"rule": "all_original"}) == ("-", "no_original")


def test_too_many_unscored_candidates_stop_the_selection_and_are_named():
    rows = rows_of(
        ("a", ORI, None, {}),
        ("b", INS, None, {"score": "too_long"}),
        ("c", RES, "a", {"score": "nonfinite"}),
        ("d", RES, "b", {"score": "too_long"}),
        ("e", RES, "b", {"status": "teacher_failed"}),
    )
    limited = SelectSettings(max_unscored_fraction=0.7)
    with pytest.raises(DataError, match=r"3 of 4 .*0\.75.*0\.70.*too_long 2, nonfinite 1"):
        select(**tables({"x": rows}), settings=limited)
    coverage = decide({"x": rows}, RULES[0]).coverage
    assert (coverage.candidates, coverage.written, coverage.scored) == (5, 4, 1)
    assert coverage.unwritten == {"teacher_failed": 1}
    assert coverage.unscored == {"too_long": 2, "nonfinite": 1}


def test_the_scores_of_two_students_are_not_mixed():
    given_ = tables({"x": rows_of(("a", ORI, None, {}), ("c", RES, "a", {"r_ifd": 0.4}))})
    scores = given_["scores"]
    two = pa.concat_tables(
        [
            scores.set_column(2, "student", pa.array([name] * 2, pa.string()))
            for name in ("small", "large")
        ]
    )
    with pytest.raises(DataError, match="occurs twice") as error:
        select(**(given_ | {"scores": two}), settings=SelectSettings())
    assert "name one student" in error.value.hint
    selected = select(**(given_ | {"scores": two}), settings=SelectSettings(), student="large")
    assert selected.coverage.scored == 2


def test_tables_that_do_not_belong_together_are_refused():
    given_ = tables({"x": rows_of(("a", ORI, None, {}))})
    with pytest.raises(DataError, match="1 candidates, but 0 of them"):
        select(
            **(given_ | {"examples": pa.table({"example_id": ["y"]})}), settings=SelectSettings()
        )
    with pytest.raises(DataError, match="no column 'rsr'") as error:
        select(
            **(given_ | {"scores": given_["scores"].drop_columns(["rsr"])}),
            settings=SelectSettings(rule="rsr"),
        )
    assert "--metrics" in error.value.hint
    with pytest.raises(DataError, match="no example"):
        select(
            candidates=given_["candidates"].slice(0, 0),
            scores=given_["scores"],
            settings=SelectSettings(),
        )


def test_without_an_examples_table_the_candidates_say_which_examples_there_are():
    given_ = tables({"x": rows_of(("a", ORI, None, {})), "y": []})
    selected = select(
        candidates=given_["candidates"], scores=given_["scores"], settings=SelectSettings()
    )
    assert decided(selected) == {"x": ("xa", "original_kept")}


def test_nothing_is_printed_while_selecting(capfd):
    decide(many([0.5, 0.7]), RULES[0])
    assert capfd.readouterr() == ("", "")
