import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.refinement.reply_checks import loop_of, script_of

PROSE = (
    "Photosynthesis is the process by which plants turn light into chemical energy. It happens in "
    "the chloroplasts, where chlorophyll absorbs red and blue light. Water is split, oxygen is "
    "released, and the energy is stored in sugar. Without it, the air would hold little oxygen, "
    "and most food chains would have no beginning. Farmers care about it because the yield of a "
    "field depends on how much light its leaves can use, and on how much water and carbon dioxide "
    "reach them."
)


@pytest.mark.parametrize(
    "text",
    [
        PROSE + "\n" + "I hope this helps you a lot.\n" * 20,
        "and then we go on and on and on " * 40,
        "ha" * 500,
        PROSE[:80] + " the same eight words are said once again here" * 30,
    ],
)
def test_a_loop_is_found(text):
    assert loop_of(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        PROSE,
        "no " * 20,
        "| a | b |\n|---|---|\n" + "".join(f"| {i} | {i * i} |\n" for i in range(60)),
        "".join(f"def test_{i}():\n    assert f({i}) == {i * 3 % 17}\n\n" for i in range(20)),
        "".join(f"{i} x 7 = {i * 7}\n" for i in range(1, 60)),
        "\n".join("}" for _ in range(30)) + PROSE,
    ],
)
def test_ordinary_repetition_is_no_loop(text):
    assert loop_of(text) is None


@given(st.text())
def test_any_text_can_be_measured(text):
    loop_of(text * 3)
    script_of(text)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Write a short poem about the sea.", "LATIN"),
        ("Напишите стихотворение для детей.", "CYRILLIC"),
        ("写一首关于大海的短诗。", "CJK"),
        ("海についての短い詩を書いてください。", "CJK"),
        ("1 + 1 = 2", None),
        ("Paris", None),
        ("This half is Latin. " + "Напишите короткое стихи.", None),
    ],
)
def test_the_script_is_the_one_of_most_letters(text, script):
    assert script_of(text) == script
