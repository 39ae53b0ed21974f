"""One line of tokens: nothing is lost, nothing that is shared is computed twice."""

from hypothesis import given
from hypothesis import strategies as st

from tutelage.student.packed_layout import lay_out, plan_packed
from tutelage.student.passages import passage_of

ids = st.lists(st.integers(0, 2), min_size=1, max_size=40)
passages = st.lists(st.builds(passage_of, ids, ids), min_size=1, max_size=12)


@given(passages)
def test_every_token_stands_in_the_line_at_its_position(batch):
    line = lay_out(batch)
    for passage, strand in zip(batch, line.strands, strict=True):
        assert line.ids_N[strand.where_T].tolist() == passage.ids_T.tolist()
        assert line.positions_N[strand.where_T].tolist() == list(range(len(passage.ids_T)))
    assert len(line.ids_N) <= sum(len(passage.ids_T) for passage in batch)


@given(passages, st.integers(1, 200))
def test_each_passage_is_in_one_batch_and_batches_keep_to_the_budget(batch, budget):
    planned = plan_packed(batch, batch_tokens=budget)
    assert sorted(index for part in planned for index in part) == list(range(len(batch)))
    for part in planned:
        computed = len(lay_out([batch[index] for index in part]).ids_N)
        assert computed <= budget or len(part) == 1


def test_a_family_that_fits_is_not_split():
    pool = [[passage_of([c] * 60, [9, r, r, r]) for r in range(10)] for c in range(3)]
    planned = plan_packed([p for family in pool for p in family], batch_tokens=120)
    assert [sorted(part) for part in planned] == [list(range(s, s + 10)) for s in (0, 10, 20)]


def test_batches_are_of_about_one_size_and_an_even_number():
    many = [passage_of([c], [c, c + 1, *[9] * 28]) for c in range(10, 310)]
    planned = plan_packed(many, batch_tokens=4096)
    assert [len(part) for part in planned] == [75] * 4, "three full ones and a rest would do, too"
    few = plan_packed(many[:40], batch_tokens=4096)
    assert [len(part) for part in few] == [40], "two small batches are slower than one"


def test_equal_passages_are_one():
    same = passage_of([1, 2, 3, 4, 5, 6, 7, 8], [9])
    assert len(lay_out([same, same]).ids_N) == 9
