"""Rules that choose from pools: gates, several candidates, one teacher, mixes, cuts."""

from collections import Counter
from functools import reduce

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from selection_pools import merged, pools, tables

from tutelage.data.schemas import CHOSEN, DECISIONS, GATES
from tutelage.errors import DataError
from tutelage.selection import SelectSettings, gate, select
from tutelage.selection.budget import assign

few = effort(max_examples=8, deadline=None)

SEVERAL = ("grape", "rsr", "random", "longest")
ANY = [
    {"rule": "srt"},
    {"rule": "srt", "mode": "paper"},
    {"rule": "srt_pairwise"},
    {"rule": "keep_all"},
    {"rule": "best_of_n", "best_by": "ifd"},
    {"rule": "ifd_top", "keep_count": 2},
    {"rule": "all_original"},
    {"rule": "all_refined"},
    *({"rule": rule, "keep_per_example": k} for rule in SEVERAL for k in (1, 3)),
]


def pool(**examples):
    """Samples by example: each a mapping of what differs from an ordinary one."""
    rows = [
        {
            "candidate_id": f"{example}{letter}",
            "example_id": example,
            "parent_id": None,
            "step": "sample",
            "teacher": "weak",
            "status": "ok",
            "ifd": 0.5,
            "r_ifd": 0.5,
            "grape": -1.0,
            "rsr": 1.0,
            "response_tokens": 10,
            "source": "s",
            **sample,
        }
        for example, samples in examples.items()
        for letter, sample in zip("abcdefgh", samples, strict=False)
    ]
    texts = ("candidate_id", "example_id", "parent_id", "step", "teacher", "status")
    extra = sorted({n for row in rows for n in row} - {*texts, "source", "response_tokens"})
    scores = [("candidate_id", pa.string()), ("status", pa.string())]
    scores += [(n, pa.float64()) for n in (*extra, "response_tokens")]
    sources = {row["example_id"]: row["source"] for row in rows}
    return {
        "candidates": pa.Table.from_pylist(
            rows, schema=pa.schema([(n, pa.string()) for n in texts])
        ),
        "scores": pa.Table.from_pylist(rows, schema=pa.schema(scores)),
        "examples": pa.table(
            {"example_id": list(sources), "source": pa.array(sources.values(), pa.string())}
        ),
    }


def chosen_of(found, **more):
    """The chosen ids by example, in the order of their rank."""
    settings = SelectSettings(max_unscored_fraction=1, **more)
    selected = select(**found, settings=settings)
    by_example = {}
    for row in selected.chosen.to_pylist():
        by_example.setdefault(row["example_id"], []).append(row["candidate_id"])
    return by_example, selected


def out_of(*rows):
    return pa.Table.from_pylist(
        [dict(zip(GATES.names, row, strict=True)) for row in rows], schema=GATES
    )


def verdicts(**by_id):
    return pa.table({"candidate_id": list(by_id), "verdict": list(by_id.values())})


# gates


def test_filters_and_verdicts_become_reasons():
    candidates = pool(x=[{}, {}, {}, {}, {}])["candidates"]
    ids = candidates["candidate_id"].to_pylist()
    filters = pa.table({"candidate_id": ids, "kept": [False, True, True, True, True]})
    said = verdicts(xa="wrong", xb="wrong", xc="no_answer", xd="cannot_check", xe="right")

    def refused(**settings):
        found = gate(
            candidates=candidates,
            settings=SelectSettings(**settings),
            filters=filters,
            verdicts=said,
        )
        return {r["candidate_id"]: (r["status"], r["late"]) for r in found.to_pylist()}

    early = {"xa": ("filtered_out", False)}
    assert refused(gate="off") == early
    assert refused() == early | {"xb": ("wrong", False), "xc": ("no_answer", False)}
    assert refused(gate="right").keys() == {"xa", "xb", "xc", "xd"}
    assert refused(gate_order="after") == early | {"xb": ("wrong", True), "xc": ("no_answer", True)}
    assert refused(use_filters=False)["xa"] == ("wrong", False)


def test_a_table_older_than_the_candidates_stops_the_selection():
    candidates = pool(x=[{}, {}])["candidates"]
    with pytest.raises(DataError, match="have no entry for 1 of 2 candidates"):
        gate(candidates=candidates, settings=SelectSettings(), verdicts=verdicts(xa="right"))
    found = gate(
        candidates=candidates, settings=SelectSettings(gate="off"), verdicts=verdicts(xa="right")
    )
    assert found.num_rows == 0


@few
@given(pools(), st.sampled_from(ANY), st.booleans(), st.data())
def test_what_may_not_be_chosen_is_never_chosen_nor_drawn(by_example, rule, late, data):
    ids = [row["candidate_id"] for rows in by_example.values() for row in rows]
    barred = data.draw(st.sets(st.sampled_from(ids))) if ids else set()
    gates = out_of(*((i, "wrong", late) for i in sorted(barred)))
    settings = SelectSettings(max_unscored_fraction=1, **rule)
    selected = select(**tables(by_example), settings=settings, gates=gates)
    assert not barred & set(selected.chosen["candidate_id"].to_pylist())
    assert not barred & set(selected.nulls["candidate_id"].to_pylist())
    assert not barred & set(selected.decisions["candidate_id"].to_pylist())
    assert selected.decisions["example_id"].to_pylist() == sorted(by_example)


def test_before_the_gate_decides_who_is_compared_and_after_it_who_stays():
    found = pool(x=[{"grape": -0.1}, {"grape": -0.2}], y=[{"grape": -0.1}])
    for late, kept, reason in (
        (False, {"x": "xb", "y": None}, "sample_wrong"),
        (True, {"x": None, "y": None}, "chosen_wrong"),
    ):
        gates = out_of(("xa", "wrong", late), ("ya", "wrong", late))
        settings = SelectSettings(rule="grape")
        decisions = select(**found, settings=settings, gates=gates).decisions.to_pylist()
        assert {d["example_id"]: d["candidate_id"] for d in decisions} == kept
        assert decisions[1]["reason"] == reason


def test_after_a_late_gate_the_others_of_an_example_move_up():
    found = pool(x=[{"grape": -0.1}, {"grape": -0.2}, {"grape": -0.3}])
    settings = SelectSettings(rule="grape", keep_per_example=2)
    selected = select(**found, settings=settings, gates=out_of(("xa", "wrong", True)))
    assert selected.chosen.select(["candidate_id", "rank"]).to_pylist() == [
        {"candidate_id": "xb", "rank": 0}
    ]
    assert selected.decisions["candidate_id"].to_pylist() == ["xb"]
    assert selected.decisions["reason"].to_pylist() == ["highest_grape"]


def test_what_is_shut_out_does_not_count_as_unscored():
    found = pool(x=[{}, {"grape": None}, {"grape": None}])
    gates = out_of(("xb", "wrong", False), ("xc", "wrong", False))
    coverage = select(**found, settings=SelectSettings(rule="grape"), gates=gates).coverage
    assert coverage.unscored_fraction == 0
    assert coverage.gated == {"wrong": 2}


# several candidates of an example


@few
@given(pools(), st.sampled_from(["grape", "rsr"]), st.integers(1, 4))
def test_the_best_k_are_kept_in_order(by_example, rule, k):
    found, selected = chosen_of(tables(by_example), rule=rule, keep_per_example=k)
    assert selected.chosen.schema == CHOSEN
    for example_id, rows in by_example.items():
        usable = [r for r in merged(rows) if rule in r["numbers"]]
        values = {r["candidate_id"]: r["numbers"][rule] for r in usable}
        kept = [values[i] for i in found.get(example_id, [])]
        assert kept == sorted(values.values(), reverse=rule == "grape")[:k]
    firsts = [ids[0] for _, ids in sorted(found.items())]
    assert [i for i in selected.decisions["candidate_id"].to_pylist() if i] == firsts


@few
@given(pools())
def test_keeping_all_keeps_every_usable_candidate(by_example):
    found, selected = chosen_of(tables(by_example), rule="keep_all")
    for decision in selected.decisions.to_pylist():
        rows = merged(by_example[decision["example_id"]])
        usable = {r["candidate_id"] for r in rows if r["status"] == "ok" and r["score"] == "ok"}
        assert set(found.get(decision["example_id"], [])) == usable
        assert decision["candidates_kept"] == len(usable)
        assert decision["kept"] == bool(usable)


@few
@given(pools(), st.sampled_from(ANY))
def test_the_first_chosen_is_the_decision_and_a_null_has_as_many_rows(by_example, rule):
    found, selected = chosen_of(tables(by_example), **rule)
    decisions = selected.decisions.to_pylist()
    assert list(selected.decisions.schema)[: len(DECISIONS)] == list(DECISIONS)
    kept = {d["example_id"]: d["candidate_id"] for d in decisions if d["kept"]}
    assert kept == {example: ids[0] for example, ids in found.items()}
    counts = Counter(selected.nulls["null"].to_pylist())
    drawn = {
        (r["example_id"], r["candidate_id"])
        for r in selected.nulls.to_pylist()
        if r["null"] == "random_version"
    }
    assert counts["random_version"] == len(drawn) == selected.chosen.num_rows
    per_example = Counter(example for example, _ in drawn)
    assert per_example == {example: len(ids) for example, ids in found.items()}
    assert counts["random"] <= selected.chosen.num_rows


def test_random_and_longest_nulls_are_as_large_where_several_are_kept():
    found = pool(
        **{e: [{"grape": -g, "response_tokens": g * 10} for g in (1, 2, 3)] for e in "xyz"}
    )
    _, selected = chosen_of(found, rule="grape", keep_per_example=2)
    counts = Counter(selected.nulls["null"].to_pylist())
    assert counts["random"] == counts["longest"] == counts["random_version"] == 6
    longest = [r for r in selected.nulls.to_pylist() if r["null"] == "longest"]
    assert {r["candidate_id"][1] for r in longest} == {"b", "c"}


def test_all_of_an_example_are_by_the_teacher_of_the_best():
    samples = [
        {"grape": -0.1, "teacher": "strong"},
        {"grape": -0.2, "teacher": "weak"},
        {"grape": -0.3, "teacher": "strong"},
        {"grape": -0.4, "teacher": "strong"},
    ]
    several = {"rule": "grape", "keep_per_example": 3}
    assert chosen_of(pool(x=samples), **several)[0] == {"x": ["xa", "xb", "xc"]}
    assert chosen_of(pool(x=samples), **several, one_teacher=True)[0] == {"x": ["xa", "xc", "xd"]}
    whole = {"rule": "keep_all", "one_teacher": True}
    assert chosen_of(pool(x=samples), **whole)[0] == {"x": ["xa", "xc", "xd"]}
    assert chosen_of(pool(x=samples[:2]), **whole)[0] == {"x": ["xa"]}  # the first by name


def test_lark_keeps_its_weights():
    samples = [
        {"lark": 0.1, "lark_weight": 0.0},
        {"lark": 0.3, "lark_weight": 0.75},
        {"lark": 0.2, "lark_weight": 0.25},
    ]
    _, selected = chosen_of(pool(x=samples), rule="lark", keep_per_example=2)
    rows = selected.chosen.to_pylist()
    assert [(r["candidate_id"], r["rank"], r["weight"]) for r in rows] == [
        ("xb", 0, 0.75),
        ("xc", 1, 0.25),
    ]


def test_the_best_of_n_is_that_of_the_named_column():
    found = pool(x=[{"reward": 1.0}, {"reward": 3.0}, {"reward": 2.0}])
    named = {"rule": "best_of_n", "best_by": "reward"}
    assert chosen_of(found, **named)[0] == {"x": ["xb"]}
    assert chosen_of(found, **named, best_is="low")[0] == {"x": ["xa"]}


# srt among many


@few
@given(
    st.lists(
        st.tuples(*[st.sampled_from([0.25, 0.5, 0.75, 1.0, 1.25])] * 2), min_size=1, max_size=7
    ),
    st.randoms(use_true_random=False),
)
def test_pairwise_srt_is_a_tournament_whoever_meets_whom_first(numbers, shuffle):
    found = pool(x=[{"ifd": ifd, "r_ifd": r_ifd} for ifd, r_ifd in numbers])
    chosen, selected = chosen_of(found, rule="srt_pairwise")
    passing = [(r, f"x{letter}") for (i, r), letter in zip(numbers, "abcdefg", strict=False)
               if i < 1 and r < 1]  # fmt: skip
    shuffle.shuffle(passing)
    # A challenger wins if it is lower, and of equal ones the smaller id does.
    winner = reduce(min, passing) if passing else None
    assert chosen.get("x") == ([winner[1]] if winner else None)
    if not passing:
        assert selected.decisions["reason"][0].as_py() in ("ifd_not_below_1", "r_ifd_not_below_1")


def test_an_original_is_replaced_only_by_more_than_the_margin():
    samples = [{"step": "original", "r_ifd": 0.5}, {"r_ifd": 0.4}]
    for margin, kept, reason in ((0.0, "xb", "lowest_r_ifd"), (0.2, "xa", "original_kept")):
        found, selected = chosen_of(pool(x=samples), rule="srt_pairwise", margin=margin)
        assert found == {"x": [kept]}
        assert selected.decisions["reason"].to_pylist() == [reason]
        assert selected.decisions["r_ifd_original"].to_pylist() == [0.5]


# mixes


@few
@given(
    st.integers(1, 60).flatmap(
        lambda n: st.lists(st.tuples(st.booleans(), st.booleans()), min_size=n, max_size=n)
    ),
    st.sampled_from([(1.0, 4.0), (1.0, 1.0), (2.0, 3.0)]),
    st.integers(0, 3),
)
def test_a_mix_gives_each_example_a_kind_it_has_and_holds_the_shares(has, weights, seed):
    has_E_K = np.array(has)
    draw_E = np.random.default_rng(seed).random(len(has))
    kind_E, left_out_E = assign(has_E_K, np.array(weights), draw_E)
    for kind, left_out, has_it in zip(kind_E, left_out_E, has_E_K, strict=True):
        assert has_it[kind] if kind >= 0 else not has_it.any()
        assert not (left_out and kind < 0)
    counts = [int(((kind_E == k) & ~left_out_E).sum()) for k in (0, 1)]
    scale = min(count / weight for count, weight in zip(counts, weights, strict=True))
    assert all(c <= w * scale + 1 for c, w in zip(counts, weights, strict=True))


def test_with_a_free_choice_a_mix_of_one_to_four_keeps_every_example():
    names = [f"x{n:02}" for n in range(20)]
    samples = [{"teacher": "strong", "grape": -0.1}, {"teacher": "weak", "grape": -0.2}]
    mix = {"by": "teacher", "shares": {"strong": 1, "weak": 4}}
    found, selected = chosen_of(pool(**dict.fromkeys(names, samples)), rule="grape", mix=mix)
    assert Counter(ids[0][-1] for ids in found.values()) == {"a": 4, "b": 16}
    assert all(selected.decisions["kept"].to_pylist())


def test_examples_that_would_spoil_the_shares_are_left_out():
    names = [f"x{n}" for n in range(8)]
    rows = {n: [{"teacher": "strong"}] for n in names[:4]} | {
        n: [{"teacher": "weak"}] for n in names[4:]
    }
    mix = {"by": "teacher", "shares": {"strong": 1, "weak": 4}}
    found, selected = chosen_of(pool(**rows), rule="grape", mix=mix)
    assert len(found.keys() & set(names[:4])) == 1
    assert len(found) == 5
    assert dict(selected.tally) == {"highest_grape": 5, "outside_mix": 3}


def test_long_and_short_are_told_apart_by_the_median_or_by_a_number():
    samples = [{"response_tokens": 5}, {"response_tokens": 50}]
    names = [f"x{n}" for n in range(10)]
    found = pool(**dict.fromkeys(names, samples))
    by_median, _ = chosen_of(found, rule="grape", mix={"by": "length"})
    assert Counter(ids[0][-1] for ids in by_median.values()) == {"a": 8, "b": 2}
    with pytest.raises(DataError, match="of the kind 'long'"):
        chosen_of(found, rule="grape", mix={"by": "length", "long_tokens": 100})


def test_a_teacher_that_wrote_nothing_cannot_have_a_share():
    mix = {"by": "teacher", "shares": {"strong": 1, "weak": 4}}
    with pytest.raises(DataError, match="of the kind 'strong'") as caught:
        chosen_of(pool(x=[{}]), rule="grape", mix=mix)
    assert "the teachers are weak" in str(caught.value.hint)


# cuts


def test_quotas_hold_for_each_source_and_the_star_for_every_other_one():
    sources = {"a": 5, "b": 4, "c": 3, None: 2}
    rows = {
        f"{source}{n}": [{"source": source}]
        for source, count in sources.items()
        for n in range(count)
    }
    for quotas, kept in (
        ({"a": 2}, {"a": 2, "b": 4, "c": 3, "N": 2}),
        ({"a": 2, "*": 1}, {"a": 2, "b": 1, "c": 1, "N": 1}),
        ({"null": 0, "b": 9}, {"a": 5, "b": 4, "c": 3}),
    ):
        found, selected = chosen_of(pool(**rows), rule="grape", quotas=quotas)
        assert Counter(name[0] for name in found) == kept
        assert set(selected.tally) <= {"highest_grape", "not_drawn"}


@few
@given(pools(), st.sampled_from(["srt", "grape", "keep_all", "all_original"]), st.integers(1, 4))
def test_every_rule_can_be_cut_to_a_count_of_what_it_chose(by_example, rule, count):
    whole, _ = chosen_of(tables(by_example), rule=rule)
    cut, selected = chosen_of(tables(by_example), rule=rule, keep_count=count)
    assert len(cut) == min(count, len(whole))
    assert all(whole[example] == ids for example, ids in cut.items())
    assert selected.tally.get("not_drawn", 0) == len(whole) - len(cut)


def test_what_does_not_go_together_is_refused():
    for values, message in (
        ({"quotas": {"a": 1}, "keep_count": 2}, "not both"),
        ({"diversity": "k_center"}, "needs keep_fraction"),
        ({"rule": "keep_all", "keep_per_example": 2}, "does not support keep_per_example"),
        ({"rule": "best_of_n"}, "best_by is required"),
        ({"rule": "grape", "best_by": "reward"}, "best_by is required"),
        ({"mix": {"by": "teacher", "shares": {"a": 1}}}, "at least two teachers"),
        ({"mix": {"by": "length", "shares": {"a": 1, "b": 1}}}, "long and short"),
        ({"quotas": {"a": -1}}, "at least 0"),
    ):
        with pytest.raises(ValueError, match=message):
            SelectSettings(**values)
