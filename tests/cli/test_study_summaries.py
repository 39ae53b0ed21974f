"""What is printed of trainings, rankings, drift and rounds."""

from typing import Any

import pytest

from tutelage.cli import summaries as text
from tutelage.cli.output import joined
from tutelage.cli.summaries import doctor_text, estimate_text, sample_text, truth_text
from tutelage.data.schemas import COMPARED_LOOPS, column_facts

LINE: dict[str, Any] = {
    "name": "b", "measure": "words", "unit": "words", "value": 1.0, "low": 0.5, "high": 1.5,
    "change": None, "change_low": None, "change_high": None,
}  # fmt: skip


def test_a_training_says_what_was_left_out() -> None:
    found = {
        "rows": 1, "steps": 1, "loss_tokens": 5, "tokens": 9, "seconds": 0.1, "path": "t/model",
        "left_out": {"too_long": 2}, "first_loss": 2.0, "last_loss": 1.5,
    }  # fmt: skip
    said = joined(text.train_text(found))
    assert "Trained on 1 row in 1 step: 5 of 9 tokens with loss" in said
    assert "too_long" in said
    assert said.splitlines()[-1] == "Trained student: t/model"
    assert "Left out" not in joined(text.train_text(found | {"left_out": {}}))


def test_a_task_without_values_shows_none() -> None:
    task = {"items": 2, "by_status": {"too_long": 2}, "mean_value": None}
    said = joined(text.evaluate_text({"out": "e", "tasks": {"arc": task}}))
    row = next(line for line in said.splitlines() if line.startswith("arc  "))
    assert row.split() == ["arc", "2", "0", "-", "-"]
    assert "arc: not evaluated" in said


def test_an_experiment_that_has_not_begun_has_no_report() -> None:
    found = {"done": 0, "cells": 4, "out": "x", "in_words": ["Nothing is finished yet."]}
    assert joined(text.prove_text(found)).splitlines() == [
        "Finished cells (training runs and untrained students): 0 of 4.",
        "Nothing is finished yet.",
        "Experiment folder: x",
    ]


def test_a_ranking_of_nobody_has_no_table() -> None:
    found = {"in_words": ["No entrant has a number."], "teachers": [], "report": "r.html"}
    said = joined(text.ranking_text(found)).splitlines()
    assert said == ["No entrant has a number.", "Report: r.html"]


def test_a_ranking_shows_the_interval_of_what_decides_and_the_values_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    others = ("likelihood", "mean_rank", "accuracy")
    row = {"entrant": "t", "answers": 1, "unscored": 0}
    for name in ("rsr", *others):
        row |= {name: 0.5, **{f"{name}_{p}": 1 for p in ("low", "high", "rank", "rank_best")}}
    said = joined(text.ranking_text({"in_words": [], "by": "rsr", "teachers": [row],
                                     "report": "r.html"}))  # fmt: skip
    heads = said.splitlines()[0].split("   ")
    assert [head.strip() for head in heads] == [
        *("entrant", "answers", "unscored", "rsr", "rsr low", "rsr high", "rsr rank"),
        *("likelihood", "mean rank", "accuracy"),
    ]
    many = {f"p{n}": 0.5 for n in range(12)} | {f"p{n}_rank": 1 for n in range(12)}
    found = {"in_words": [], "by": "rsr", "teachers": [row | many], "report": "r.html"}
    assert "Further columns are in the report: p2, p3" in joined(text.ranking_text(found))


def test_a_long_ranking_says_that_it_is_cut() -> None:
    rows = [{"entrant": f"t{i}", "answers": 1, "rsr": None} for i in range(51)]
    said = joined(text.ranking_text({"in_words": [], "sources": rows, "report": "r.html"}))
    assert "The first 50 of 51 sources" in said
    assert "t49" in said
    assert "t50" not in said


def test_probes_that_were_not_begun_show_no_table() -> None:
    probes = {"in_words": ["Not done."], "rungs": [], "sweep": [], "unfinished": 3}
    found = {"in_words": [], "sources": [], "probes": probes, "report": "r.html"}
    assert "Training runs not done yet: 3." in joined(text.ranking_text(found))


def test_drift_shows_changes_only_where_there_are_some() -> None:
    found = {"baseline": "a", "sets": {"a": 1, "b": 2}, "lines": [LINE]}
    said = joined(text.drift_text(found))
    assert "Compared with a (1 text): b (2 texts)." in said
    assert "change" not in said
    changed = joined(text.drift_text(found | {"lines": [LINE | {"change": 0.5}]}))
    assert "change, to" in changed


@pytest.mark.parametrize("band", [None, [0.2, 0.8]])
def test_a_frontier_without_a_band_says_so(band: list[float] | None) -> None:
    found = {
        "placed": 0, "examples": 1, "kept": 0, "shares": {}, "band": band, "reasons": {},
        "answers": {"asked": 1, "cut": 0, "failed": 1}, "report": None, "run": "r",
    }  # fmt: skip
    said = joined(text.frontier_text(found))
    assert "0 of 1 example placed, 0 kept" in said
    assert ("Band: none." in said) == (band is None)
    assert said.splitlines()[-1] == "Run folder: r"


def test_rounds_that_broke_a_limit_name_it() -> None:
    one = {"loop": "gate", "seed": 0, "round": 1, "examples": 4, "kept": 0, "flipped": None,
           "accepted": False, "broken": ["words moved by 2, at most 1"]}  # fmt: skip
    found = {"rounds": [one], "loops": [], "out": "o", "report": None}
    said = joined(text.rounds_text(found))
    assert "gate, seed 0, round 1: words moved by 2, at most 1" in said
    assert "No round was done." in joined(text.rounds_text(found | {"rounds": []}))


def test_metrics_that_could_not_be_compared_are_not_called_equal() -> None:
    assert joined(text.metric_agreement_text({"agreement": []})) == (
        "No pair of metrics could be compared."
    )


@pytest.mark.parametrize("currency", [None, "USD"])
def test_an_estimate_without_prices_names_no_cost(currency: str | None) -> None:
    cost = None if currency is None else 0.5
    found = {
        "rows": 1, "calls": 1, "calls_in_journal": 0, "prompt_tokens": 10, "note": "n",
        "max_completion_tokens": 20, "cost_expected": cost, "cost_at_most": cost,
        "currency": currency, "work": [], "seconds": 0.0,
    }  # fmt: skip
    said = joined(estimate_text(found))
    assert "Teacher: 1 call to send" in said
    assert ("unknown" in said) == (currency is None)


def test_each_of_several_teachers_has_its_calls() -> None:
    paid = {"answered": 2, "from_journal": 1, "cost": 0.25, "currency": "USD"}
    load = {"rows": 1, "examples": 1, "rows_by_status": {"ok": 1}}
    sampled = {
        "statuses": {"ok": 1}, "teachers": {"a": paid, "b": paid},
        "accepted": {"wanted": 2, "instructions_full": 0, "instructions_short": 1, "responses": 1},
    }  # fmt: skip
    said = joined(sample_text({"load": load, "sample": sampled, "run": "r"}))
    assert "a: 2 new, 1 cached, cost 0.2500 USD." in said
    assert "Accepted: 1 response; 0 of 1 instruction reached 2." in said


def test_a_student_that_cannot_be_opened_is_not_called_fine() -> None:
    machine = {
        "versions": {"python": "3"}, "extras": {"ray": "missing ray"}, "cpus": 1, "devices": [],
        "sandbox": {"used": "none: programs are not run"},
    }  # fmt: skip
    student = {"model": "m", "error": "no such folder", "hint": "check the path"}
    said = joined(doctor_text(machine | {"student": student}))
    assert "Student m: no such folder" in said
    assert "no problems" not in said
    good = {"model": "m", "probe": "read", "template_problems": []}
    assert "Template: no problems found." in joined(doctor_text(machine | {"student": good}))


def test_rows_that_differ_from_the_trainer_are_listed() -> None:
    row = {"row": 3, "finding": "cut", "scored_tokens": 5, "loss_tokens": 2}
    found = {
        "rows": 1, "rows_in_file": 4, "file": "t.jsonl", "findings": {"cut": 1}, "loss_tokens": 2,
        "scored_tokens": 5, "not_the_same": [row],
    }  # fmt: skip
    said = joined(truth_text(found))
    assert "Compared 1 of 4 rows of t.jsonl." in said
    assert "0 of them are trained on exactly the scored tokens." in said
    assert "First rows that differ" in said


def test_two_tables_of_which_nothing_can_be_compared_come_to_no_number() -> None:
    found = {"candidates": 1, "examples": 0, "by_status": {"not_in_both": 1}, "out": "d.parquet"}
    said = joined(text.delta_text(found))
    assert said.startswith("None of 1 candidate could be compared.")
    assert "not_in_both" in said
    assert "Mean loss" not in said


def test_each_source_is_shown_with_its_loss_before_and_after() -> None:
    one = {"source": "tools", "candidates": 3, "nll_base": 2.0, "nll_current": 1.5,
           "mean_delta_loss": 0.5, "interval_95": [0.25, 0.75], "share_likelier": 1.0}  # fmt: skip
    found = {"by_status": {"ok": 3}, "candidates": 4, "examples": 3, "mean_delta_loss": 0.5,
             "interval_95": [0.25, 0.75], "share_likelier": 1.0,
             "by_source": [one, {"source": "none", "candidates": 1}]}  # fmt: skip
    table = list(text.delta_text(found))[-1]
    assert "tools" in str(table)
    assert "+0.2500 to +0.7500" in str(table)


def test_a_stored_column_has_the_same_heading_in_the_terminal_as_in_reports() -> None:
    loop = {"task": "sums", "after": 2, "loop": "gate", "against": "random", "low": 0.1}
    rounds = [{"loop": "gate", "seed": 0, "round": 1}]
    said = joined(text.rounds_text({"rounds": rounds, "loops": [loop], "report": "r.html"}))
    for name in ("after", "against", "low"):
        heading = column_facts(COMPARED_LOOPS.field(name)).heading
        assert heading != name, "this test needs columns whose headings differ from their names"
        assert heading in said
    assert "against" not in said
