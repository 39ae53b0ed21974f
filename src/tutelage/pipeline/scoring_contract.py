"""Scoring contract version with which a run was scored."""

import shlex
from collections import Counter

import pyarrow.parquet as pq

from tutelage.data import SCORING_CONTRACT
from tutelage.errors import RunError
from tutelage.pipeline.run_dir import RunFolder, is_whole


def check_contract(run: RunFolder, *, model: str) -> None:
    """Raise an error if a run was scored under another contract than this version's.

    Args:
        run: The run folder; one without scores is fine.
        model: The student, for the hint.

    Raises:
        RunError: All of its scores are of another contract.
    """
    found = {contract for contract, _ in _students(run)}
    if found and SCORING_CONTRACT not in found:
        raise RunError(
            f"{run.root}: scored under contract {max(found)}, this version scores under contract "
            f"{SCORING_CONTRACT}: the numbers are not comparable",
            hint=f"rescore with `tutelage score {shlex.quote(str(run.root))} --student {model}`",
        )


def older_contract_note(run: RunFolder) -> str | None:
    """Note on scores made under another contract, or None."""
    older = {key: rows for key, rows in _students(run).items() if key[0] != SCORING_CONTRACT}
    if not older:
        return None
    students = ", ".join(sorted({student for _, student in older}))
    contracts = " and ".join(map(str, sorted({contract for contract, _ in older})))
    rows = sum(older.values())
    return (
        f"scores.parquet still has {rows:,} row{'s' if rows != 1 else ''} that "
        f"{'were' if rows != 1 else 'was'} scored under contract {contracts} (student {students}): "
        f"do not compare them with those of contract {SCORING_CONTRACT}. `tutelage score "
        f"{shlex.quote(str(run.root))} --student MODEL` scores with that student again."
    )


def _students(run: RunFolder) -> Counter[tuple[int, str]]:
    """Count of score rows by contract and student; contract 1 had no column."""
    if not is_whole(run.scores):
        return Counter()
    names = [name for name in ("contract", "student") if name in pq.read_schema(run.scores).names]
    rows = pq.read_table(run.scores, columns=names).to_pylist()
    return Counter((row.get("contract") or 1, str(row.get("student"))) for row in rows)
