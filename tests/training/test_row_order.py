"""The order of rows: every row once, alike in length, and the same when it is asked again."""

from hypothesis import given
from hypothesis import strategies as st

from tutelage.training.trainer import LikeLengths

lengths = st.lists(st.integers(1, 500), min_size=1, max_size=200)


@given(lengths, st.integers(1, 9), st.integers(0, 3), st.integers(0, 3))
def test_every_row_comes_once_an_epoch(
    tokens: list[int], batch: int, seed: int, epoch: int
) -> None:
    order = LikeLengths(tokens, batch=batch, seed=seed)
    order.set_epoch(epoch)
    assert sorted(order) == list(range(len(tokens)))
    assert len(order) == len(tokens)


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = LikeLengths(range(1, 41), batch=4, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, 1) == order(0, 1)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


def test_rows_of_a_batch_are_alike_in_length() -> None:
    tokens = [(7 * n) % 64 + 1 for n in range(64)]
    order = list(LikeLengths(tokens, batch=4, seed=0))
    padded = sum(4 * max(tokens[i] for i in order[at : at + 4]) for at in range(0, 64, 4))
    assert padded <= 1.06 * sum(tokens)
