"""Tables for the tests of the filters."""

from collections.abc import Callable, Sequence

import pyarrow as pa
import pytest

from tutelage.data.schemas import CANDIDATES

MakeCandidates = Callable[..., pa.Table]


def _make(
    pairs: Sequence[tuple[str, str | None]],
    *,
    ids: Sequence[str] | None = None,
    examples: Sequence[str] | None = None,
    steps: Sequence[str] | None = None,
) -> pa.Table:
    """Candidates from (instruction, response); a response of None makes a failed candidate."""
    rows = []
    for i, (instruction, response) in enumerate(pairs):
        candidate_id = ids[i] if ids else f"c{i:03}"
        rows.append(
            {
                "candidate_id": candidate_id,
                "example_id": examples[i] if examples else f"e-{candidate_id}",
                "step": steps[i] if steps else "original",
                "status": "teacher_failed" if response is None else "ok",
                "messages": None
                if response is None
                else [
                    {"role": "user", "content": instruction},
                    {"role": "assistant", "content": response},
                ],
            }
        )
    return pa.Table.from_pylist(rows, schema=CANDIDATES)


@pytest.fixture(scope="session")
def make_candidates() -> MakeCandidates:
    return _make
