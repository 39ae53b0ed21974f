"""Small pools of candidates from few values, so that ties and gaps are common."""

from math import isfinite

import pyarrow as pa
from hypothesis import strategies as st

from tutelage.data.schemas import SCORES

METRICS = ("ifd", "r_ifd", "grape", "rsr")
VALUES = [0.25, 0.5, 0.75, 1.0, 1.25]
value = st.sampled_from(VALUES)
candidate_status = st.sampled_from(["ok", "ok", "ok", "ok", "teacher_failed"])
score_status = st.sampled_from(["ok", "ok", "ok", "ok", "ok", "too_long", None])
sometimes_missing = st.one_of(
    value, value, value, value, value, st.sampled_from([None, float("nan")])
)


PARENTS = {
    "rr_original": "original",
    "rr_reflection": "instruction_reflection",
    "rr_sample": "sample",
}


def _parents_first(kind):
    return (kind in PARENTS, kind)


@st.composite
def one_pool(draw, example_id, *, steps=None):
    """Rows of one example: a candidate and its score, or None where it was not scored."""
    shape = draw(
        st.lists(
            st.sampled_from(
                steps
                or [
                    *("original", "instruction_reflection", "sample"),
                    *("rr_original", "rr_reflection", "rr_sample"),
                ]
            ),
            max_size=7,
        )
    )
    letters = draw(st.permutations("abcdefg"))
    rows = []
    for letter, kind in zip(letters, sorted(shape, key=_parents_first), strict=False):
        step = "response_reflection" if kind.startswith("rr") else kind
        wanted = PARENTS.get(kind)
        parents = [r["candidate_id"] for r in rows if r["step"] == wanted]
        orphaned = not parents or draw(st.integers(0, 9)) == 0
        rows.append(
            {
                "candidate_id": f"{example_id}{letter}",
                "example_id": example_id,
                "parent_id": None if orphaned else draw(st.sampled_from(parents)),
                "step": step,
                "status": draw(candidate_status),
                "score": draw(score_status),
                "response_tokens": draw(st.integers(1, 4)),
                **{name: draw(sometimes_missing) for name in METRICS},
            }
        )
    return rows


@st.composite
def pools(draw, *, max_examples=12):
    """Rows by example id; an example may have none."""
    count = draw(st.integers(1, max_examples))
    return {f"x{i}": draw(one_pool(f"x{i}")) for i in range(count)}


def merged(rows):
    """The rows of one example as the oracle reads them."""
    found = []
    for row in rows:
        usable = row["status"] == "ok" and row["score"] == "ok"
        numbers = {
            name: row[name]
            for name in METRICS
            if usable and row[name] is not None and isfinite(row[name])
        }
        score = row["score"] or "not_scored"
        why = row["status"] if row["status"] != "ok" else score
        found.append(row | {"numbers": numbers, "why": "not_scored" if why == "ok" else why})
    return found


def tables(by_example, *, shuffle=None):
    """Candidates, scores and examples as tables, with rows in any order."""
    rows = [row for rows in by_example.values() for row in rows]
    if shuffle is not None:
        shuffle.shuffle(rows)
    candidates = pa.Table.from_pylist(
        rows,
        schema=pa.schema(
            [
                (n, pa.string())
                for n in ("candidate_id", "example_id", "parent_id", "step", "status")
            ]
        ),
    )
    schema = pa.schema([*SCORES, *(pa.field(name, pa.float64()) for name in METRICS)])
    scored = [row | {"status": row["score"]} for row in rows if row["score"] is not None]
    if shuffle is not None:
        shuffle.shuffle(scored)
    ids = sorted(by_example)
    if shuffle is not None:
        shuffle.shuffle(ids)
    examples = pa.table(
        {"example_id": pa.array(ids, pa.string()), "source": pa.array([i[-1] for i in ids])}
    )
    return {
        "candidates": candidates,
        "scores": pa.Table.from_pylist(scored, schema=schema),
        "examples": examples,
    }
