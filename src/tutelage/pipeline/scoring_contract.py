"""The version of the scoring contract under which a run was scored."""

import pyarrow.parquet as pq

from tutelage.data import SCORING_CONTRACT
from tutelage.errors import RunError
from tutelage.pipeline.run_dir import RunFolder, is_whole


def check_contract(run: RunFolder, *, model: str) -> None:
    """See that a run that was scored before was scored under this version's contract.

    Args:
        run: The run folder; one without scores is fine.
        model: The student, for the hint.

    Raises:
        RunError: All of its scores are of another contract.
    """
    if not is_whole(run.scores):
        return
    found = {1}
    if "contract" in pq.read_schema(run.scores).names:
        column = pq.read_table(run.scores, columns=["contract"])["contract"]
        found = {value or 1 for value in column.unique().to_pylist()}
    if found and SCORING_CONTRACT not in found:
        raise RunError(
            f"{run.root}: scored under contract {max(found)}, this version scores under contract "
            f"{SCORING_CONTRACT}: the numbers are not comparable",
            hint=f"rescore with `tutelage score {run.root} --student {model}`",
        )
