import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.refinement.reply_parser import has_marker, read_sections

BOTH = ("instruction", "response")
WHOLE = """<<<CRITICISM>>>
Too vague.
<<<NEW INSTRUCTION>>>
Name two rivers of France.
<<<NEW RESPONSE>>>
The Loire and the Seine.
<<<END>>>"""


def read(text, wanted=BOTH):
    return read_sections(text, wanted=wanted)


def test_a_reply_in_the_layout_is_read_whole():
    found = read(WHOLE)
    assert found.problem is None
    assert found.criticism == "Too vague."
    assert found.instruction == "Name two rivers of France."
    assert found.response == "The Loire and the Seine."
    assert found.ended


@pytest.mark.parametrize(
    "change",
    [
        str.lower,
        str.title,
        lambda t: t.replace("<<<", "**<<<").replace(">>>", ">>>**"),
        lambda t: t.replace("<<<", "### <<< ").replace(">>>", " >>>:"),
        lambda t: t.replace("<<<", "  <<").replace(">>>", ">>  "),
        lambda t: t.replace("NEW ", "NEW_"),
        lambda t: t.replace("NEW ", ""),
        lambda t: t.replace("\n", "\r\n"),
        lambda t: "```\n" + t + "\n```",
        lambda t: "Sure! Here it is:\n\n```text\n" + t + "\n```\nI hope this helps.",
        lambda t: t + "\n\nI hope this helps.",
        lambda t: t.replace("<<<NEW R", "<<</NEW INSTRUCTION>>>\n<<<NEW R"),
        lambda t: t.replace("<<<END>>>", "<<<END OF NEW RESPONSE>>>"),
        lambda t: t.replace("<<<NEW INSTRUCTION", "2. <<<NEW INSTRUCTION"),
        lambda t: t.replace(">>>\n", ">>> "),
    ],
)
def test_the_form_of_a_marker_may_vary(change):
    found = read(change(WHOLE))
    assert found.problem is None
    assert found.instruction is not None
    assert found.response is not None
    assert found.instruction.casefold() == "name two rivers of france."
    assert found.response.casefold() == "the loire and the seine."
    assert found.ended


def test_a_word_that_begins_with_end_does_not_end_a_response():
    text = WHOLE.replace(
        "The Loire", "End-to-end: the Endocrine system.\nEnd\n[End]\nEND\nThe Loire"
    )
    assert read(text).response.startswith("End-to-end: the Endocrine system.\nEnd\n[End]\nEND")


def test_a_heredoc_is_not_an_end_marker():
    text = WHOLE.replace("The Loire", "echo <<<END\nhello\nEND;\ncout << END >> x;\nThe Loire")
    assert read(text).response.startswith("echo <<<END\nhello\nEND;\ncout << END >> x;")


def test_a_marker_inside_a_line_is_text():
    text = WHOLE.replace("Too vague.", "I would write <<<NEW INSTRUCTION>>> below. Too vague.")
    found = read(text)
    assert found.criticism == "I would write <<<NEW INSTRUCTION>>> below. Too vague."
    assert found.instruction == "Name two rivers of France."


def test_a_marker_inside_a_code_fence_of_the_response_is_text():
    fenced = "```\n<<<NEW RESPONSE>>>\n<<<END>>>\n```\nThe Loire"
    found = read(WHOLE.replace("The Loire", fenced))
    assert found.problem is None
    assert found.response == fenced + " and the Seine."


def test_a_fence_that_is_never_closed_hides_no_marker():
    found = read(WHOLE.replace("Name two", "```\nName two"))
    assert found.problem is None
    assert found.response == "The Loire and the Seine."


@pytest.mark.parametrize(
    "text",
    [
        WHOLE.replace("The Loire", "<<<NEW RESPONSE>>>\nThe Loire"),
        WHOLE.replace("The Loire", "<<<NEW INSTRUCTION>>>\nThe Loire"),
        WHOLE.replace("Too vague.", "<<<NEW INSTRUCTION>>>\nToo vague."),
        WHOLE + "\n" + WHOLE,
        WHOLE + "\nor shorter:\nLoire\n<<<END>>>",
        "<<<NEW RESPONSE>>>\nA\n<<<NEW INSTRUCTION>>>\nB\n<<<END>>>",
        "no markers at all",
        "<<<CRITICISM>>>\nonly that\n<<<END>>>",
        "",
    ],
)
def test_two_readings_or_none_are_a_problem(text):
    assert read(text).problem is not None


def test_a_missing_end_is_told():
    found = read(WHOLE.replace("<<<END>>>", ""))
    assert found.problem is None
    assert not found.ended
    assert found.response == "The Loire and the Seine."


def test_the_fence_around_a_reply_without_end_is_not_part_of_the_response():
    found = read("```\n" + WHOLE.replace("\n<<<END>>>", "") + "\n```")
    assert found.response == "The Loire and the Seine."


def test_code_keeps_its_indentation_and_its_fence():
    code = "    def f():\n        return 1\n\n```python\nf()\n```"
    assert read(WHOLE.replace("The Loire and the Seine.", code)).response == code


def test_text_before_the_first_marker_is_the_criticism_where_it_has_no_marker():
    found = read(WHOLE.replace("<<<CRITICISM>>>\n", ""))
    assert found.criticism == "Too vague."


@pytest.mark.parametrize("text", ["I use <<<END>>>", "<<<ENDING>>>", "<END>", "End", "<<<x>>>"])
def test_other_text_is_no_marker(text):
    assert not has_marker(text)


pieces = st.lists(
    st.sampled_from(
        [
            "<<<CRITICISM>>>",
            "<<<NEW INSTRUCTION>>>",
            "**<<new response>>**",
            "<<<END>>>",
            "```",
            "```python",
            "text",
            "",
            "End",
            "<<<NEW RESPONSE>>> same line",
        ]
    ),
    max_size=14,
)


@given(pieces)
def test_whatever_comes_no_part_is_made_up(lines):
    text = "\n".join(lines)
    found = read(text)
    for part in (found.criticism, found.instruction, found.response):
        assert part is None or part in text


plain = (
    st.text(alphabet=st.characters(exclude_characters="<`~", exclude_categories=["Cs"]), min_size=1)
    .map(lambda t: t.replace("\r", ""))
    .filter(lambda t: t.strip("\n \t") and t.strip())
)


@given(plain, plain, plain)
def test_what_is_laid_out_is_read_back(criticism, instruction, response):
    found = read(
        f"<<<CRITICISM>>>\n{criticism}\n<<<NEW INSTRUCTION>>>\n{instruction}\n"
        f"<<<NEW RESPONSE>>>\n{response}\n<<<END>>>"
    )
    assert found.problem is None
    assert found.ended
    assert found.instruction.strip() == instruction.strip()
    assert found.response.strip() == response.strip()
