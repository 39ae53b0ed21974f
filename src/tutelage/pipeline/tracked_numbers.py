"""Numbers of experiments and rounds as an experiment tracker shows them."""

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from tutelage.evaluation import summary_of

if TYPE_CHECKING:
    from tutelage.experiments.rounds.model import Round


def task_means(results: pa.Table) -> dict[str, Any]:
    """The mean value and the share right of each task, under `evaluation/`."""
    found = {}
    for task in dict.fromkeys(str(name) for name in results["task"].to_pylist()):
        summary = summary_of(results.filter(pc.equal(results["task"], pa.scalar(task))))
        for name in ("mean_value", "right_fraction"):
            found[f"evaluation/{task}/{name}"] = summary.get(name)
    return found


def round_numbers(one: "Round") -> dict[str, Any]:
    """What a round came to beside the loss of its training, under `round/` and `drift/`."""
    found: dict[str, Any] = {
        "round/kept": one.judged["kept"],
        "round/examples": one.judged["examples"],
        "round/flip_fraction": None if one.flips is None else one.flips.fraction,
        "round/accepted": None if one.accepted is None else int(one.accepted),
    }
    for line in one.lines:
        found[f"drift/{line.subject}/{line.name}/{line.measure}"] = line.value.value
    return found if one.results is None else found | task_means(one.results)
