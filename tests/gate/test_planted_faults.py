"""Planted faults: what each looks like, and that nothing but ids and the seed decides."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gate.gate_rows import gate_rows
from tutelage.errors import SettingsError
from tutelage.gate import DOSES, FAULTS, Plant, PlantRow, plant
from tutelage.gate.fault_texts import PASSAGES
from tutelage.gate.planted_faults import language_of, split_sentences, split_units

ROWS = gate_rows(40)
ROW = ROWS[7]


def planted(fault: str, dose: str = "strong", row: PlantRow = ROW, **more: object) -> str:
    found = plant(row, fault=fault, dose=dose, others=ROWS, seed=0, **more)  # type: ignore[arg-type]
    assert found.response is not None, found.reason
    return found.response


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("dose", DOSES)
def test_a_plant_changes_the_response_and_depends_on_no_order(fault: str, dose: str) -> None:
    text = planted(fault, dose)
    assert text != ROW.response
    shuffled = random.Random(1).sample(ROWS, len(ROWS))
    again = plant(ROW, fault=fault, dose=dose, others=shuffled, seed=0)  # type: ignore[arg-type]
    assert again.response == text


@pytest.mark.parametrize("fault", FAULTS)
def test_another_seed_plants_something_else_somewhere(fault: str) -> None:
    if fault == "truncation":  # there is nothing to draw
        return
    first = [plant(r, fault=fault, dose="strong", others=ROWS, seed=0).response for r in ROWS]
    second = [plant(r, fault=fault, dose="strong", others=ROWS, seed=1).response for r in ROWS]
    assert first != second


def test_a_mismatch_is_the_answer_to_another_instruction_of_about_the_same_length() -> None:
    text = planted("mismatch")
    assert text in {r.response for r in ROWS if r.row_id != ROW.row_id}
    lengths = sorted(abs(len(r.response) - len(ROW.response)) for r in ROWS if r is not ROW)
    assert abs(len(text) - len(ROW.response)) <= lengths[8]


def test_a_mismatch_never_answers_the_same_instruction() -> None:
    twin = PlantRow(row_id="twin", instruction=ROW.instruction, response="Another answer to it.")
    found = plant(ROW, fault="mismatch", dose="strong", others=[ROW, twin], seed=0)
    assert found == Plant(row_id=ROW.row_id, fault="mismatch", dose="strong", reason="no_other_row")


@pytest.mark.parametrize(("dose", "share"), [("mild", 0.1), ("strong", 0.3)])
def test_scrambling_moves_that_share_of_the_words_and_loses_none(dose: str, share: float) -> None:
    before, after = ROW.response.split(), planted("scrambled_words", dose).split()
    assert Counter(before) == Counter(after)
    moved = sum(a != b for a, b in zip(before, after, strict=True)) / len(before)
    assert 0 < moved <= share + 1 / len(before)


@pytest.mark.parametrize(("dose", "share"), [("mild", 0.02), ("strong", 0.1)])
def test_wrong_letters_leave_the_rest(dose: str, share: float) -> None:
    text = planted("wrong_letters", dose)
    letters = sum(c.isalpha() for c in ROW.response)
    assert abs(len(text) - len(ROW.response)) <= share * letters + 1
    assert set(text.lower()) <= set(ROW.response.lower())


def test_truncation_leaves_eight_words_or_three_quarters() -> None:
    assert planted("truncation").split() == ROW.response.split()[:8]
    words = len(ROW.response.split())
    assert len(planted("truncation", "mild").split()) == round(0.75 * words)


def test_doubling_and_looping_repeat() -> None:
    assert planted("doubling").count(ROW.response) == 2
    assert max(Counter(split_sentences(planted("looping"))).values()) >= 7


def test_an_echo_holds_the_whole_instruction_and_the_response() -> None:
    texts = [planted("echo", row=row) for row in ROWS]
    both = [(r, t) for r, t in zip(ROWS, texts, strict=True) if r.response in t]
    assert len(both) > len(ROWS) / 2
    assert all(r.instruction in t for r, t in zip(ROWS, texts, strict=True))


def test_fit_and_held_out_rows_are_given_different_wordings() -> None:
    for fault in ("refusal", "template_text", "other_language"):
        fit = {planted(fault, row=row, part="fit") for row in ROWS}
        held = {planted(fault, row=row, part="held_out") for row in ROWS}
        assert len(fit) > 1
        assert not fit & held


def test_another_language_is_not_the_language_of_the_row() -> None:
    spanish = PlantRow(row_id="s", instruction="¿Qué es el pan?", response=PASSAGES["es"][0])
    texts = {
        plant(spanish, fault="other_language", dose="strong", others=ROWS, seed=s).response
        for s in range(40)
    }
    assert len(texts) > 5
    assert "es" not in {language_of(str(text)) for text in texts}


@pytest.mark.parametrize("code", sorted(PASSAGES))
def test_the_language_of_a_passage_is_recognised(code: str) -> None:
    assert {language_of(text) for text in PASSAGES[code]} == {code}


def test_a_script_without_spaces_is_cut_by_characters() -> None:
    row = PlantRow(row_id="z", instruction="市场几点开门?", response=PASSAGES["zh"][0])
    text = plant(row, fault="truncation", dose="strong", others=ROWS, seed=0).response
    assert text == PASSAGES["zh"][0][:8]
    for fault in ("scrambled_words", "wrong_letters", "doubling", "echo", "markup_debris"):
        assert plant(row, fault=fault, dose="strong", others=ROWS, seed=0).response


@pytest.mark.parametrize("fault", ["scrambled_words", "truncation", "wrong_letters"])
@pytest.mark.parametrize("response", ["", " ", "7", "Yes."])
def test_a_text_too_short_for_a_fault_has_a_reason(fault: str, response: str) -> None:
    row = PlantRow(row_id="s", instruction="Is it so?", response=response)
    found = plant(row, fault=fault, dose="mild", others=ROWS, seed=0)
    assert found.response is None
    assert found.reason == "too_short"


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(SettingsError, match="unknown fault 'typos'"):
        plant(ROW, fault="typos", dose="mild", others=ROWS, seed=0)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80), st.text(max_size=40), st.sampled_from(FAULTS), st.sampled_from(DOSES))
def test_any_text_is_planted_or_has_a_reason(
    response: str, instruction: str, fault: str, dose: str
) -> None:
    row = PlantRow(row_id="any", instruction=instruction, response=response)
    found = plant(row, fault=fault, dose=dose, others=ROWS[:5], seed=3)  # type: ignore[arg-type]
    assert (found.response is None) != (found.reason is None)
    if found.response is not None:
        assert found.response.strip()
        assert found.response.strip() != response.strip()


@given(st.text(max_size=120))
def test_parts_of_a_text_joined_are_the_text(text: str) -> None:
    assert "".join(split_units(text)) == text
    assert "".join(split_sentences(text)) == text


def test_refusals_and_introductions_name_the_topic_of_the_instruction() -> None:
    row = PlantRow(
        row_id="lake",
        instruction="How deep is the lake near Como?",
        response=" ".join("abcdefghijklmn"),
    )
    for fault in ("refusal", "introduction"):
        texts = {
            str(plant(row, fault=fault, dose="strong", others=[row], seed=s, part=part).response)
            for s in range(40)
            for part in ("fit", "held_out")
        }
        assert any("the lake near Como" in text for text in texts), fault
        assert any("Como" not in text for text in texts), fault
        assert not any("{topic}" in text for text in texts), fault


def test_an_answer_that_is_only_its_own_introduction_is_planted() -> None:
    row = PlantRow(
        row_id="list", instruction="Name three fruits that grow on trees",
        response="These fruits grow on trees:\n1. Apples\n2. Pears\n3. Plums and many, many more",
    )  # fmt: skip
    texts = [
        plant(row, fault="introduction", dose=dose, others=[row], seed=0).response for dose in DOSES
    ]
    assert texts == [
        "These fruits grow on trees:\n1. Apples",
        "These fruits grow on trees:",
    ]


def test_no_english_introduction_is_put_into_a_german_row() -> None:
    row = PlantRow(row_id="de", instruction="Was ist das für ein Bus?", response=PASSAGES["de"][0])
    found = plant(row, fault="introduction", dose="strong", others=[row], seed=0)
    assert (found.response, found.reason) == (None, "no_introduction")


def test_an_echo_may_be_all_there_is() -> None:
    row = PlantRow(row_id="x", instruction="Name three fruits", response="Apples, pears and plums")
    texts = [
        str(plant(row, fault="echo", dose="strong", others=[row], seed=s).response)
        for s in range(40)
    ]
    assert any("Apples" not in t for t in texts)
    assert all("Name three fruits" in t for t in texts)
