"""What N answers agree on."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tutelage.verification.majority_vote import find_agreement

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
