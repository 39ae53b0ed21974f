"""Numbers of an experiment for an experiment tracker."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tutelage.evaluation import summary_of


def task_means(results: pa.Table) -> dict[str, Any]:
    """Mean value and share of correct items of each task, under `evaluation/`."""
    found = {}
    for task in dict.fromkeys(str(name) for name in results["task"].to_pylist()):
        summary = summary_of(results.filter(pc.equal(results["task"], pa.scalar(task))))
        for name in ("mean_value", "right_fraction"):
            found[f"evaluation/{task}/{name}"] = summary.get(name)
    return found
