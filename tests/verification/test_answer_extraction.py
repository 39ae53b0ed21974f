"""The final answer of a response, and what several answers agree on."""

import time
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tutelage.verification.answer_extraction import Found, NotFound, find_answer
from tutelage.verification.majority_vote import find_agreement

numbers = st.integers(-(10**9), 10**9).map(str)
MARKED = [
    ("#### {}", "after ####"),
    (r"So we get \boxed{{{}}}.", "boxed"),
    (r"\[ \boxed{{{}}} \]", "boxed"),
    ("The answer is {}.", "after 'answer'"),
    ("**Final answer:** {}", "after 'answer'"),
    ("Answer: {}", "after 'answer'"),
    ("A: {}", "after 'A:'"),
    ('{{"reasoning": "6 and 7", "answer": "{}"}}', "JSON field"),
    ('{{"reasoning": "6 and 7", "answer": {}}}', "JSON field"),
    ("```output\n{}\n```", "program output"),
    ("<answer>{}</answer> (in 2 steps)", "answer tag"),
    ("### Final Answer\n\n{}\n\nThis took 2 steps.", "after 'answer'"),
    ("The answer is:\n\\[\n{}\n\\]", "after 'answer'"),
    ("That makes **{}**.", "bold text in the last line"),
    ("That makes {}", "last number"),
]


@pytest.mark.parametrize(("pattern", "how"), MARKED)
@given(number=numbers)
def test_an_answer_is_found_after_work_that_is_full_of_numbers(pattern, how, number):
    found = find_answer("First 3 and 4 make <<3+4=7>>7.\n" + pattern.format(number))
    assert isinstance(found, Found)
    assert (found.text, found.how) == (number, how)


@given(st.text(max_size=200))
@example("$")
@example(" $$\t.")
def test_every_text_has_an_answer_or_a_reason(text):
    found = find_answer(text)
    assert found.why if isinstance(found, NotFound) else found.text


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("The answer is 3. Wait, no.\nThe answer is 4.", "4"),
        ("<answer>The answer is 4.</answer>", "4"),
        ("<answer>\nx = 3 or x = -3\n</answer>", "x = 3 or x = -3"),
        ("### Answer\n\n1. Take 3 of 5.\n2. This leaves 2.", "2"),
        ("### Answer\n\n$3 + 4 = 7$\n\n$7 \\cdot 2 = 14$", "14"),
        ("**Answer**\n\n42\n\nThat is 6 times 7.", "42"),
        ("So we have x = 3 or x = -3.", "x = 3 or x = -3"),
        ("So we have 3 apples or 5 pears.", "5"),
        ("The answer is negative. The answer is -95.", "-95"),
        (r"\boxed{3} is too small, so finally" + "\n" + r"\boxed{4}", "4"),
        (r"\boxed{3} or \boxed{4}", "3 or 4"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed 5", "5"),
        ("A: 5\n\nQ: What is 6 * 7?\nA: 42", "5"),
        ("The answer is 5.\nQuestion: And 6 * 7?\nThe answer is 42.", "5"),
        ("Question: what is 2 + 3?\nThe answer is 5.", "5"),
        ('{"answer": "18"}\nThe answer is given as a string.', "18"),
        ('{"answer": "18"}\nSorry, the answer is 19.', "19"),
        ('{"reasoning": "\\(3 \\times 6 = $18\\)", "answer": "18"}', "18"),
        ('{"answer": "$1,596"', "$1,596"),
        ("The answer is $1,234.50. That is a lot.", "$1,234.50"),
        ("The answer is 5 m.\nIt has 2 parts.", "5 m"),
    ],
)
def test_the_last_answer_to_the_question_asked_counts(response, answer):
    found = find_answer(response)
    assert isinstance(found, Found)
    assert found.text == answer


@pytest.mark.parametrize(
    ("response", "why"),
    [
        ("", "empty"),
        ("   \n", "empty"),
        ("I do not know.", "no number"),
        ('{"reasoning": "First 3, then 4', "JSON without an answer"),
        ("```python\nprint(6 * 7)\n```", "code without its output"),
    ],
)
def test_no_answer_has_a_reason(response, why):
    found = find_answer(response)
    assert isinstance(found, NotFound)
    assert why in found.why


@pytest.mark.parametrize(
    "piece", ["answer:", "answer is ", "\\boxed{", "```output\n", '"answer": "', "**", "1,", "\nQ:"]
)
def test_a_response_made_to_be_slow_is_not(piece):
    started = time.process_time()  # not the clock: the machine may be busy
    find_answer(piece * 20_000)
    assert time.process_time() - started < 3


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("You would have to read 12 pages each night to finish in 10 days.", "12"),
        ("Read 12 a night (120 in 10 days).", "12"),
        ("120 / 10 = 12. So it is 12 pages in each of 10 nights!", "12"),
        ("That is 120 pages in 10 days.", "10"),  # nothing is new
        ("In 10 days 12 pages or 13 pages a night, 10 nights.", "10"),  # two are new
        ("Then 130 - 120 = 10", "10"),  # a result is the answer, new or not
        ("The answer is 10, since 12 is too many.", "10, since 12 is too many"),
    ],
)
def test_a_number_that_only_repeats_the_question_is_not_the_answer(response, answer):
    question = "A book has 120 pages. How many must you read each night to finish in 10 days?"
    assert find_answer(response, instruction=question).text == answer


def test_without_the_question_the_last_number_counts():
    assert find_answer("You would have to read 12 pages to finish in 10 days.").text == "10"


answers = st.lists(st.none() | st.integers(0, 3), max_size=12)


def responses(values):
    return [None if value is None else f"First 7.\n#### {value}" for value in values]


@given(answers)
def test_the_winner_is_the_one_that_counting_finds(values):
    found = find_agreement(responses(values))
    votes = Counter(value for value in values if value is not None)
    most = max(votes.values(), default=0)
    first = [str(value) for value in votes if votes[value] == most]
    assert found.responses == len(values)
    assert found.votes == most
    if len(first) == 1:
        assert (found.answer, found.tied) == (first[0], ())
        assert found.share == most / len(values)
        assert found.agrees == tuple(
            None if value is None else str(value) == first[0] for value in values
        )
    else:
        assert found.answer is None
        assert set(found.tied) == set(first)
        assert found.agrees == (None,) * len(values)


@given(answers, st.randoms())
def test_order_does_not_matter(values, random):
    shuffled = random.sample(values, len(values))
    one, other = find_agreement(responses(values)), find_agreement(responses(shuffled))
    assert (one.answer, one.votes, set(one.tied)) == (other.answer, other.votes, set(other.tied))


def test_nobody_answering_has_no_share():
    found = find_agreement([None, "I do not know", ""])
    assert (found.answer, found.votes, found.share, found.tied) == (None, 0, None, ())


def test_spellings_of_a_number_vote_together_and_texts_by_their_words():
    found = find_agreement(["#### 1,200", "The answer is $1200.00", "#### 12", "#### 1200 "])
    assert (found.answer, found.votes) == ("1,200", 3)
    assert find_agreement(["#### North  east", "#### north East"]).votes == 2
