"""Training weights of the rows of a set: from the rule, or from the student's likelihoods."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

from tutelage.errors import RunError
from tutelage.pipeline.explanation import deciding_student
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.sql_views import open_tables

Weights: TypeAlias = Literal["auto", "likelihood", "off"]
TRAIN_WEIGHT = "train_weight"

_NLL = "nll_response_given_instruction"


def weighted_rows(
    rows: Iterable[Mapping[str, Any]], run: RunFolder, *, weights: Weights
) -> Iterator[dict[str, Any]]:
    """Same rows with `train_weight`, None where a row has no weight.

    Args:
        rows: Rows with `candidate_id` and, where the rule gives one, `weight`.
        run: Where they come from.
        weights: auto: the weight of the rule (lark). likelihood: exp(-L), the geometric mean
            probability of a response token under the student, in (0, 1]. off: none.

    Raises:
        RunError: The weights come from likelihoods and a row has none.
    """
    nats = likelihoods_of(run) if weights == "likelihood" else {}
    for row in rows:
        if weights == "likelihood":
            found = nats.get(str(row["candidate_id"]))
            if found is None:
                raise RunError(
                    f"{run.root}: candidate {row['candidate_id']} has no likelihood to weigh it by",
                    hint="score the run again: `tutelage score RUN --student MODEL`",
                )
            yield {**row, TRAIN_WEIGHT: math.exp(-found)}
        else:
            yield {**row, TRAIN_WEIGHT: row.get("weight") if weights == "auto" else None}


def student_with_scores(run: RunFolder) -> str | None:
    """Fingerprint of the student that decided, or of the only one that scored."""
    if not run.scores.exists():
        return None
    with open_tables(run) as tables:
        found = [s for (s,) in tables.execute("select distinct student from scores").fetchall()]
    wanted = deciding_student(run.shown_manifest())
    if wanted in found:
        return wanted
    return found[0] if len(found) == 1 else None


def likelihoods_of(run: RunFolder) -> dict[str, float]:
    """Mean negative log-likelihood of each scored response, in nats per token, by candidate.

    Raises:
        RunError: There are no scores of one student that read the response.
    """
    student = student_with_scores(run)
    with open_tables(run, student=student) as tables:
        named = student is not None and _NLL in {
            name for name, *_ in tables.execute("describe scores").fetchall()
        }
        if not named:
            raise RunError(
                f"{run.root}: has no likelihoods of its student",
                hint="score it: `tutelage score RUN --student MODEL --metrics grape`",
            )
        found = tables.execute(
            f"select candidate_id, {_NLL} from scores where status = 'ok' and {_NLL} is not null"  # noqa: S608
        ).fetchall()
    return dict(found)
