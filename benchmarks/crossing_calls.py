"""Calls that cross a file while one row is read, filtered and selected.

A call counts where a function in one file of the package calls a function in another one. Each job
has run before, so that what is imported or made once does not count.

    python benchmarks/crossing_calls.py
"""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow as pa

import tutelage
from tutelage.data import Candidate, Message, candidate_id_of, read
from tutelage.data.schemas import SCORES, candidates_to_table, columns_of, table_schema
from tutelage.filters import LengthSettings, apply_filters
from tutelage.selection import SelectSettings, select

PACKAGE = str(Path(tutelage.__file__).parent)


def crossings(job: Callable[[int], object], *, rows: int) -> Counter[tuple[str, str]]:
    """Crossing calls of a job over so many rows."""
    found: Counter[tuple[str, str]] = Counter()

    def watch(frame: FrameType, event: str, _arg: Any) -> None:
        if event != "call" or frame.f_back is None:
            return
        callee, caller = frame.f_code.co_filename, frame.f_back.f_code.co_filename
        if callee != caller and callee.startswith(PACKAGE) and caller.startswith(PACKAGE):
            found[caller.removeprefix(PACKAGE), callee.removeprefix(PACKAGE)] += 1

    job(rows)  # what is imported and made once
    sys.setprofile(watch)
    try:
        job(rows)
    finally:
        sys.setprofile(None)
    return found


def alpaca(row: int) -> dict[str, str]:
    return {"instruction": f"Add {row} and 1.", "input": "", "output": f"It is {row + 1}."}


def read_rows(rows: int) -> None:
    list(read([alpaca(row) for row in range(rows)]))


def candidate(row: int) -> Candidate:
    messages = (
        Message(role="user", content=f"Add {row} and 1."),
        Message(role="assistant", content=f"It is {row + 1}."),
    )
    example_id = f"{row:020x}"
    own = candidate_id_of(
        example_id=example_id, step="original", parent_id=None, teacher=None, messages=messages
    )
    return Candidate(candidate_id=own, example_id=example_id, messages=messages)


def filter_rows(candidates: list[Candidate]) -> Callable[[int], object]:
    tables = {rows: candidates_to_table(candidates[:rows]) for rows in (1, 5)}
    return lambda rows: apply_filters(tables[rows], filters=[LengthSettings(maximum=100)])


def select_rows(candidates: list[Candidate]) -> Callable[[int], object]:
    schema = table_schema(SCORES, columns_of(("ifd", "r_ifd"), pa.float64()))

    tables = {}
    for rows in (1, 5):
        numbers = {"student": "s", "status": "ok", "response_tokens": 9, "ifd": 0.5, "r_ifd": 0.5}
        scores = [
            {"candidate_id": one.candidate_id, "example_id": one.example_id, **numbers}
            for one in candidates[:rows]
        ]
        tables[rows] = {
            "candidates": candidates_to_table(candidates[:rows]),
            "scores": pa.Table.from_pylist(scores, schema=schema),
        }
    return lambda rows: select(**tables[rows], settings=SelectSettings())


def main() -> None:
    candidates = [candidate(row) for row in range(8)]
    jobs: dict[str, Callable[[int], object]] = {
        "read": read_rows,
        "filter": filter_rows(candidates),
        "select": select_rows(candidates),
    }
    for name, job in jobs.items():
        one, five = crossings(job, rows=1), crossings(job, rows=5)
        further = (five.total() - one.total()) / 4
        print(
            f"{name:<7} {one.total():4} calls over {len(one):3} pairs of files for one row, "
            f"{further:g} calls for each further one"
        )


if __name__ == "__main__":
    main()
