"""The student without a model."""

from tutelage.data import VIEW_NAMES, Unscored
from tutelage.student import TableStudent, TextPair


def test_equal_texts_read_alike_and_others_differ(candidate_of):
    rows = [candidate_of("a b", "c d e"), candidate_of("a b", "c d e"), candidate_of("a", "c d e")]
    one, same, other = TableStudent().read(rows, views=VIEW_NAMES, statistics="full")
    assert one.views["response"].mean_nll == same.views["response"].mean_nll
    given = "response_given_instruction"
    assert one.views[given].mean_nll != other.views[given].mean_nll
    assert one.views["response"].tokens == one.views[given].tokens == 3


def test_the_table_decides(candidate_of):
    good, bad, empty = candidate_of("a", "b c"), candidate_of("a", "d"), candidate_of("a", " ")
    table = {good.candidate_id: {"response": 2.5}, bad.candidate_id: "too_long"}
    outcomes = list(TableStudent(table).read([good, bad, empty], views=["response"]))
    assert outcomes[0].views["response"].mean_nll == 2.5
    assert [o.reason for o in outcomes[1:] if isinstance(o, Unscored)] == [
        "too_long",
        "empty_response",
    ]


def test_pairs_and_names():
    (stats,) = TableStudent().read_pairs([TextPair(pair_id="p", context="x", target="y z")])
    assert stats.tokens == 2
    assert TableStudent(name="a").fingerprint != TableStudent(name="b").fingerprint
