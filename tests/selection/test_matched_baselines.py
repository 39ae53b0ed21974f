"""Baselines made from another rule: exchanged scores, matched lengths."""

import random

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pydantic import ValidationError

from tutelage.data.schemas import GATES
from tutelage.selection import Selected, SelectSettings, select


def tables(count: int = 200, *, seed: int = 0) -> tuple[pa.Table, pa.Table]:
    """Refined pairs with random scores; the refinement is longer the later the example."""
    rng = random.Random(seed)
    candidates, scores = [], []
    for number in range(count):
        for step, extra in (("original", 0), ("response_reflection", 5)):
            name = f"{number:04}{step[0]}"
            candidates.append(
                {
                    "candidate_id": name,
                    "example_id": f"{number:04}",
                    "parent_id": f"{number:04}o" if extra else None,
                    "step": step,
                    "status": "ok",
                }
            )
            scores.append(
                {
                    "candidate_id": name,
                    "status": "ok",
                    "response_tokens": 10 + number + extra,
                    "ifd": rng.uniform(0.2, 1.1),
                    "r_ifd": rng.uniform(0.2, 1.1),
                    "grape": -rng.random(),
                }
            )
    schema = [
        (n, pa.string()) for n in ("candidate_id", "example_id", "parent_id", "step", "status")
    ]
    return pa.Table.from_pylist(candidates, schema=pa.schema(schema)), pa.Table.from_pylist(scores)


def chosen(settings: SelectSettings, *, gates: pa.Table | None = None, seed: int = 0) -> Selected:
    candidates, scores = tables(seed=seed)
    return select(candidates=candidates, scores=scores, settings=settings, gates=gates)


def steps(found: Selected) -> list[str | None]:
    return found.decisions["step"].to_pylist()


@pytest.mark.parametrize("rule", ["srt", "grape"])
def test_permuted_keeps_how_often_each_step_wins_and_loses_which(rule: str) -> None:
    real = steps(chosen(SelectSettings(rule=rule)))
    found = steps(chosen(SelectSettings(rule="permuted", of=rule)))
    for step in ("original", "response_reflection", None):
        assert real.count(step) == found.count(step)
    agreement = np.mean([a == b for a, b in zip(real, found, strict=True)])
    assert agreement < 0.75


def test_permuted_exchanges_within_bands_of_length() -> None:
    candidates, scores = tables()
    values = dict(zip(scores["candidate_id"].to_pylist(), scores["grape"].to_pylist(), strict=True))
    found = select(
        candidates=candidates, scores=scores, settings=SelectSettings(rule="permuted", of="grape")
    ).decisions.to_pylist()
    places = {value: int(name[:4]) for name, value in values.items()}
    moved = [places[row["grape_chosen_permuted"]] - int(row["example_id"]) for row in found]
    assert all(moved)
    assert max(map(abs, moved)) < 20


def test_permuted_exchanges_what_the_quality_gate_refused() -> None:
    refused = [f"{n:04}r" for n in range(0, 200, 2)]
    gates = pa.Table.from_pylist(
        [{"candidate_id": n, "status": "quality_gate", "late": False} for n in refused],
        schema=GATES,
    )
    found = chosen(SelectSettings(rule="permuted", of="all_refined"), gates=gates)
    assert steps(found).count("response_reflection") == 100
    kept = {row["candidate_id"] for row in found.decisions.to_pylist() if row["kept"]}
    assert 20 < len(kept & set(refused)) < 80


def test_a_candidate_without_a_score_never_takes_anothers() -> None:
    candidates, scores = tables()
    scores = scores.filter(pc.not_equal(scores["candidate_id"], "0007r"))
    found = select(
        candidates=candidates, scores=scores, settings=SelectSettings(rule="permuted", of="grape")
    ).decisions.to_pylist()
    assert found[7]["candidate_id"] == "0007o"


def test_length_matched_keeps_as_many_of_the_same_lengths() -> None:
    candidates, scores = tables()
    tokens = dict(
        zip(scores["candidate_id"].to_pylist(), scores["response_tokens"].to_pylist(), strict=True)
    )

    def lengths(settings: SelectSettings) -> list[int]:
        found = select(candidates=candidates, scores=scores, settings=settings).decisions
        return sorted(tokens[name] for name in found["candidate_id"].to_pylist() if name)

    real = lengths(SelectSettings(rule="srt"))
    matched = lengths(SelectSettings(rule="length_matched", of="srt"))
    assert len(real) == len(matched)
    assert np.mean(np.abs(np.subtract(real, matched))) < 6


@pytest.mark.parametrize("rule", ["permuted", "length_matched"])
def test_a_baseline_does_not_depend_on_the_order_of_rows(rule: str) -> None:
    candidates, scores = tables(60)
    settings = SelectSettings(rule=rule, of="srt", seed=4)
    found = select(candidates=candidates, scores=scores, settings=settings)
    order = np.random.default_rng(1).permutation(len(candidates))
    again = select(candidates=candidates.take(order), scores=scores.take(order), settings=settings)
    assert found.decisions.equals(again.decisions)
    other = select(
        candidates=candidates, scores=scores, settings=settings.model_copy(update={"seed": 5})
    )
    assert not found.decisions.equals(other.decisions)


@pytest.mark.parametrize("of", ["permuted", "length_matched", "lark", "best_of_n"])
def test_a_baseline_of_a_rule_that_it_cannot_be_made_from_is_refused(of: str) -> None:
    with pytest.raises(ValidationError, match="cannot be made from"):
        SelectSettings(rule="permuted", of=of)


def test_the_chosen_and_the_refused_version_are_of_the_same_rows_and_never_the_same() -> None:
    chosen_rows, refused_rows = (
        chosen(SelectSettings(rule=rule, of="srt")).decisions.to_pylist()
        for rule in ("chosen_version", "refused_version")
    )
    real = chosen(SelectSettings(rule="srt")).decisions["candidate_id"].to_pylist()
    kept = [row["candidate_id"] for row in chosen_rows]
    other = [row["candidate_id"] for row in refused_rows]
    assert kept == real
    assert [a is None for a in kept] == [b is None for b in other]
    assert all(a != b for a, b in zip(kept, other, strict=True) if a is not None)


def test_a_version_that_the_gate_refused_is_the_refused_one() -> None:
    gates = pa.Table.from_pylist(
        [{"candidate_id": "0003r", "status": "quality_gate", "late": False}], schema=GATES
    )
    settings = SelectSettings(rule="refused_version", of="grape")
    assert chosen(settings, gates=gates).decisions["candidate_id"][3].as_py() == "0003r"
