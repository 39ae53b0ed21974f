"""Run folder from rows alone, for candidates made elsewhere, without a teacher or a student."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tutelage.data import Row, Rows
from tutelage.errors import DataError, RunError
from tutelage.pipeline import stages
from tutelage.pipeline.config import DataSettings, checked
from tutelage.pipeline.resources import begin
from tutelage.pipeline.run_dir import RunFolder
from tutelage.progress import Progress


def load_data(*, data: Mapping[str, Any], out: Path, progress: Progress) -> dict[str, Any]:
    """Read rows and the candidates that come with them into a run folder.

    Args:
        data: Settings of the data room, with `path`.
        out: The run folder.
        progress: Told of each row.

    Returns:
        The tally of the stage.

    Raises:
        RunError: The folder holds candidates that a teacher wrote.
    """
    settings = checked(DataSettings, data, place="data")
    run = RunFolder(root=out).create()
    with run.locked():
        if run.candidates.exists() and "refine" not in run.read_manifest().get("stages", {}):
            raise RunError(
                f"{run.candidates}: loading would drop candidates that a teacher wrote",
                hint="give another --out",
            )
        inputs = stages.input_checksums(settings)
        begin(run, settings={"data": settings.model_dump(mode="json")}, inputs=inputs, seed=0)
        tally = stages.load_once(run, settings=settings, inputs=inputs, progress=progress)
        stages.take_once(run)
    return {"load": tally, "run": str(out)}


def with_responses(found: Rows) -> Iterator[Row]:
    """Same rows; raises an error instead of writing an empty table.

    Raises:
        DataError: There are examples, and not one of them has a response.
    """
    examples = answered = 0
    for row in found:
        examples += row.example is not None
        answered += bool(row.candidates or row.repeated)
        yield row
    if examples and not answered:
        raise DataError(
            " ".join(found.notes), hint="`tutelage sample` lets a teacher answer instructions"
        )
