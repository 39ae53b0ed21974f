"""Numbers of one round as an experiment tracker shows them."""

from typing import Any

from tutelage.experiments.rounds.model import Round
from tutelage.pipeline.tracked_numbers import task_means


def round_numbers(one: Round) -> dict[str, Any]:
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
