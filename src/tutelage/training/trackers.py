"""Experiment trackers: trackio, Weights & Biases and MLflow.

`tracked` opens a tracker for a whole command; inside it every training is one run of that tracker.
trackio is local and free; Weights & Biases and MLflow go through the same four calls. A tracker
only watches: no result depends on it.
"""

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from tutelage.data import content_hash
from tutelage.errors import MissingExtraError, SettingsError

TRACKERS = ("trackio", "wandb", "mlflow")
PROJECT = "tutelage"
MLFLOW_CHARACTERS = 500
"""Longest value of a setting that every MLflow server accepts."""
FINISHED, FAILED = "finished", "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A run with its settings, as a tracker stores it.

    Attributes:
        project: What the runs of several commands are kept under.
        group: The folder of an experiment, whose runs belong together.
        name: Name of the run.
        config: Settings, as JSON has them; no secrets.
        resumed: Whether it goes on where an earlier process was interrupted.
    """

    project: str
    group: str | None
    name: str
    config: Mapping[str, Any]
    resumed: bool = False


class Tracker(Protocol):
    """Protocol of a tracker, with one run at a time."""

    def begin(self, run: "Followed") -> None:
        """Begin a run, or resume an interrupted one."""

    def log(self, numbers: Mapping[str, float], *, step: int | None) -> None:
        """Log numbers at an optimizer step, or at the end of the run with None."""

    def finish(self, state: str) -> None:
        """End the run: `finished` or `failed`."""


@dataclass(slots=True, kw_only=True)
class Tracking:
    """An open tracker with its current run.

    Attributes:
        tracker: Where numbers go.
        project: What the runs are kept under.
        group: The command's folder.
        running: Whether a run has begun and not ended.
    """

    tracker: Tracker
    project: str = PROJECT
    group: str | None = None
    running: bool = field(default=False)

    def log(self, numbers: Mapping[str, Any], *, step: int | None = None) -> None:
        """Log the finite numbers of the current run."""
        found = {
            name: float(value)
            for name, value in numbers.items()
            if isinstance(value, (int, float))
            and not isinstance(value, bool)
            and math.isfinite(value)
        }
        if found and self.running:
            self.tracker.log(found, step=step)


_current: ContextVar[Tracking | None] = ContextVar("tracking", default=None)


def current_tracking() -> Tracking | None:
    """Open tracker, or None."""
    return _current.get()


@contextmanager
def tracked(
    tracker: str | Tracker | None, *, project: str = PROJECT, group: str | None = None
) -> Iterator[Tracking | None]:
    """Context manager that logs every training inside it to a tracker.

    Args:
        tracker: One of `TRACKERS`, a tracker of your own, or None: nothing is followed.
        project: What the runs are kept under.
        group: What belongs together, such as the folder of an experiment.

    Raises:
        SettingsError: There is no such tracker.
        MissingExtraError: Its library is not installed.
    """
    if tracker is None:
        yield None
        return
    opened = open_tracker(tracker) if isinstance(tracker, str) else tracker
    token = _current.set(Tracking(tracker=opened, project=project, group=group))
    try:
        yield _current.get()
    finally:
        _current.reset(token)


@contextmanager
def tracked_run(
    name: str, *, config: Mapping[str, Any], resumed: bool = False
) -> Iterator[Tracking | None]:
    """Context manager of one run; inside another run, that run continues.

    Args:
        name: Name of the run.
        config: Settings, as JSON has them; no secrets.
        resumed: Whether it goes on where an earlier process was interrupted.
    """
    tracking = _current.get()
    if tracking is None or tracking.running:
        yield tracking
        return
    tracking.tracker.begin(
        Followed(
            project=tracking.project,
            group=tracking.group,
            name=name,
            config=dict(config),
            resumed=resumed,
        )
    )
    tracking.running = True
    state = FAILED
    try:
        yield tracking
        state = FINISHED
    finally:
        tracking.running = False
        tracking.tracker.finish(state)


def open_tracker(name: str) -> Tracker:
    """Open a tracker by name.

    Raises:
        SettingsError: There is no such tracker.
        MissingExtraError: Its library is not installed.
    """
    trackers: dict[str, type[Tracker]] = {"trackio": _Trackio, "wandb": _Wandb, "mlflow": _Mlflow}
    if name not in trackers:
        raise SettingsError(f"unknown tracker {name!r}", hint=f"trackers are {', '.join(TRACKERS)}")
    try:
        return trackers[name]()
    except ImportError as error:
        raise MissingExtraError(
            f"the tracker {name} is not installed: {error}", hint=f"pip install {name}"
        ) from error


class _Trackio:
    """Tracker of trackio, in its local folder (`TRACKIO_DIR`)."""

    def __init__(self) -> None:
        import trackio

        self._library = trackio

    def begin(self, run: Followed) -> None:
        with _out_of_the_data():
            self._library.init(
                project=run.project,
                name=run.name,
                group=run.group,
                config=dict(run.config),
                resume="allow" if run.resumed else "never",
                embed=False,
            )

    def log(self, numbers: Mapping[str, float], *, step: int | None) -> None:
        self._library.log(dict(numbers), step=step)

    def finish(self, state: str) -> None:
        del state  # trackio keeps none
        with _out_of_the_data():
            self._library.finish()


class _Wandb:
    """Tracker of Weights & Biases; `WANDB_MODE=offline` keeps it on this machine."""

    def __init__(self) -> None:
        import wandb

        self._library = wandb

    def begin(self, run: Followed) -> None:
        with _out_of_the_data():
            self._library.init(
                project=run.project,
                name=run.name,
                group=run.group,
                config=dict(run.config),
                id=content_hash("run", run.project, run.group, run.name),
                resume="allow" if run.resumed else None,  # None restarts the run of that id
            )

    def log(self, numbers: Mapping[str, float], *, step: int | None) -> None:
        self._library.log(dict(numbers), step=step)

    def finish(self, state: str) -> None:
        with _out_of_the_data():
            self._library.finish(exit_code=int(state == FAILED))


class _Mlflow:
    """Tracker of MLflow, at `MLFLOW_TRACKING_URI`."""

    def __init__(self) -> None:
        import mlflow

        self._library = mlflow

    def begin(self, run: Followed) -> None:
        with _out_of_the_data():
            self._library.set_experiment(run.project)
            tags = {"resumed": str(run.resumed).lower()}
            tags |= {} if run.group is None else {"group": run.group}
            self._library.start_run(run_name=run.name, tags=tags)
            shown = {key: str(value)[:MLFLOW_CHARACTERS] for key, value in run.config.items()}
            self._library.log_params(shown)

    def log(self, numbers: Mapping[str, float], *, step: int | None) -> None:
        self._library.log_metrics(dict(numbers), step=step)

    def finish(self, state: str) -> None:
        with _out_of_the_data():
            self._library.end_run("FAILED" if state == FAILED else "FINISHED")


@contextmanager
def _out_of_the_data() -> Iterator[None]:
    """Redirect what a library prints to stderr, because stdout is for data."""
    with redirect_stdout(sys.stderr):
        yield
