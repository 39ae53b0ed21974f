"""Random numbers that belong to an id."""

import hashlib

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.selection.candidate_table import draws

ids = st.lists(st.text(alphabet="abc0123456789\u00e9", min_size=1, max_size=20), min_size=1)


@settings(max_examples=20, deadline=None)
@given(ids, st.integers(0, 10**9))
def test_a_draw_is_the_md5_of_purpose_seed_and_id(names, seed):
    found = draws(pa.array(names), seed=seed, purpose="nulls")[0].tolist()
    assert found == [
        int(hashlib.md5(f"nulls:{seed}:{name}".encode()).hexdigest()[:13], 16) / 16**13  # noqa: S324
        for name in names
    ]
    assert all(0 <= draw < 1 for draw in found)


def test_seeds_and_purposes_draw_independently():
    names = pa.array([f"id{i}" for i in range(50)])
    drawn = [
        draws(names, seed=seed, purpose=purpose)[0].tolist()
        for seed in (0, 1)
        for purpose in ("rule", "nulls")
    ]
    assert len({tuple(d) for d in drawn}) == 4
