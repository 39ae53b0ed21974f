"""Shared keywords of the Python API: their conversion to settings, and progress bars."""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any, ParamSpec, TypeAlias, TypedDict, TypeVar, get_type_hints

from pydantic import BaseModel

from tutelage.errors import SettingsError
from tutelage.progress import LiveBars, Progress, Silent, live_bars, pace_text

P = ParamSpec("P")
T = TypeVar("T")


class DataOptions(TypedDict, total=False):
    """How rows are read: the settings `data` of a run's YAML file, except `path`."""

    format: str
    shape: str
    fields: Mapping[str, str]
    source_name: str | None
    teacher_name: str | None
    limit: int | None
    split: str | None
    subset: str | None
    revision: str | None


class TemplateOptions(TypedDict, total=False):
    """How the chat template of a student is rendered."""

    template: str
    template_args: Mapping[str, Any]
    template_date: Any
    thinking: str


class StudentOptions(TemplateOptions, total=False):
    """How the student reads: the settings `student` of a run's YAML file, except `model`."""

    dtype: str
    device: str
    backend: str
    base_url: str | None
    served_model: str | None
    api_key_env: str | None
    requests_in_flight: int
    native: bool
    batch_tokens: int | str
    device_map: str | None
    tensor_parallel: int
    gpu_memory_fraction: float
    max_length: int | None
    on_overflow: str
    turns: str
    score_end_of_turn: bool
    trust_remote_code: bool
    weights: str
    use_cache: bool
    cache_path: str | Path | None


class TeacherOptions(TypedDict, total=False):
    """How the teacher is asked: the settings `teacher` of a YAML file, except its names."""

    kind: str
    base_url: str | None
    api_key_env: str | None
    key_header: str
    max_tokens_field: str
    omit: tuple[str, ...]
    concurrency: int
    requests_per_minute: float | None
    tokens_per_minute: float | None
    timeout_seconds: float
    max_attempts: int
    max_wait_seconds: float
    prices: Mapping[str, float] | None
    max_cost: float | None
    batch: bool
    batch_price_fraction: float
    supports_schema: str
    extra_body: Mapping[str, Any]
    device: str | None
    dtype: str
    journal: str | Path | None


class RefineOptions(TypedDict, total=False):
    """What the teacher writes: the settings `refine` of a run's YAML file, except `steps`."""

    source: str
    answer_temperature: float
    answer_max_tokens: int
    prompt_version: str
    instruction_prompt: str | Path | None
    response_prompt: str | Path | None
    instruction_criteria: tuple[str, ...]
    response_criteria: tuple[str, ...]
    use_schema: str
    max_tokens: int
    temperature: float
    retry_temperature: float
    top_p: float
    seed: int
    attempts: int
    min_instruction_chars: int
    max_instruction_chars: int
    min_response_chars: int
    max_response_chars: int


class SampleOptions(TypedDict, total=False):
    """How responses are sampled."""

    accepted: int | None
    system: str | None
    keep_reasoning: bool
    max_tokens: int
    temperature: float
    top_p: float
    seed: int
    min_response_chars: int
    max_response_chars: int


class VerifyOptions(TypedDict, total=False):
    """How responses are checked."""

    function: str | None
    processes: int
    time_limit_seconds: int
    memory_mebibytes: int
    program_memory_mebibytes: int
    allow_weak_sandbox: bool
    ignore_case: bool


class SelectOptions(TypedDict, total=False):
    """How candidates are selected: the settings `select` of a run's YAML file, except `rule`."""

    function: str | None
    of: str
    truth: str | None
    truth_clean: Sequence[str | float | bool | None]
    mode: str
    margin: float
    use_filters: bool
    gate: str
    gate_check: str | None
    gate_order: str
    quality_gate: str
    max_false_refusals: float
    quality_gate_examples: int
    quality_gate_rejected: str | None
    keep_per_example: int
    one_teacher: bool
    best_by: str | None
    best_is: str
    mix: Mapping[str, Any] | None
    keep_fraction: float | None
    keep_count: int | None
    per_source: bool
    quotas: Mapping[str, int]
    diversity: str | None
    diversity_of: str
    embedder: Mapping[str, Any]
    seed: int
    max_unscored_fraction: float


class TrainOptions(TemplateOptions, total=False):
    """How a student is trained."""

    row_weights: str
    method: str
    epochs: int
    learning_rate: float | None
    schedule: str
    warmup_fraction: float
    batch_examples: int
    microbatch_examples: int | None
    max_tokens: int | None
    seed: int
    dtype: str
    save_dtype: str
    device: str
    turns: str
    base_weights: str
    gradient_checkpointing: str
    padding_free: str
    liger: str
    lora_rank: int
    lora_alpha: int
    checkpoint_steps: int
    threads: int | None


class EvaluateOptions(TemplateOptions, total=False):
    """How a student is evaluated."""

    dtype: str
    backend: str
    device: str
    max_length: int | None
    batch_examples: int | str
    seed: int


class AttemptOptions(TypedDict, total=False):
    """How a student answers the examples of a frontier."""

    sampled: int
    greedy: int
    shots: int
    temperature: float
    top_p: float
    max_tokens: int
    system: str | None
    seed: int


class BandOptions(TypedDict, total=False):
    """Which pass rates of a frontier are kept."""

    keep_fraction: float
    keep_count: int | None
    low: float | None
    high: float | None
    keep_unknown: bool
    order: str


class AuditOptions(TypedDict, total=False):
    """How exact an audit is."""

    examples: int
    planted: int
    max_false_refusals: float
    seed: int


class ExportOptions(TypedDict, total=False):
    """What an export holds beyond the texts of a set."""

    weights: str
    routes: str | Path | None
    pairs: str | None
    check: str | None
    pairs_per_prompt: int | None


class AuditCallOptions(DataOptions, StudentOptions, AuditOptions, total=False):
    """The keywords of `tutelage.audit`."""


class RefineCallOptions(DataOptions, TeacherOptions, RefineOptions, total=False):
    """The keywords of `tutelage.refine`."""


class SampleCallOptions(DataOptions, TeacherOptions, SampleOptions, total=False):
    """The keywords of `tutelage.sample`."""


class ScoreCallOptions(DataOptions, StudentOptions, total=False):
    """The keywords of `tutelage.score` and of the rankings."""


class VerifyCallOptions(DataOptions, TeacherOptions, VerifyOptions, total=False):
    """The keywords of `tutelage.verify`."""


class FilterCallOptions(DataOptions, TeacherOptions, total=False):
    """The keywords of `tutelage.filter`."""


class DriftCallOptions(DataOptions, TemplateOptions, total=False):
    """The keywords of `tutelage.experiments.drift`."""


class FrontierCallOptions(DataOptions, StudentOptions, AttemptOptions, BandOptions, total=False):
    """The keywords of `tutelage.frontier`."""


GROUPS: tuple[type[Any], ...] = (
    DataOptions,
    TemplateOptions,
    StudentOptions,
    TeacherOptions,
    RefineOptions,
    SampleOptions,
    VerifyOptions,
    SelectOptions,
    TrainOptions,
    EvaluateOptions,
    AttemptOptions,
    BandOptions,
)
"""Keyword groups that correspond to the settings of one package."""

_COMMAND_LINE = {
    "mapping": "fields",
    "map": "fields",
    "source": "source_name",
    "teacher_kind": "kind",
    "student_url": "base_url",
    "student_key_env": "api_key_env",
    "no_cache": "use_cache=False",
    "batch": "batch_examples",
    "microbatch": "microbatch_examples",
    "time_limit": "time_limit_seconds",
    "max_unscored": "max_unscored_fraction",
    "keep": "keep_fraction",
}
"""Command-line options with another keyword in Python."""


def grouped(
    options: Mapping[str, Any], *groups: type[Any], function: str
) -> tuple[dict[str, Any], ...]:
    """Keywords of a call, as one dictionary of settings per group.

    Args:
        options: The keywords as they were given.
        groups: The TypedDicts that the function takes, in the order of the result.
        function: The name of the function, for the message.

    Raises:
        SettingsError: The function takes no such keyword; the hint names the nearest.

    Examples:
        >>> grouped({"limit": 3, "dtype": "float32"}, DataOptions, StudentOptions, function="score")
        ({'limit': 3}, {'dtype': 'float32'})
    """
    names = [set(get_type_hints(group)) for group in groups]
    known = sorted(set().union(*names))
    for name in options:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            meant = _COMMAND_LINE.get(name) or (near[0] if near else None)
            raise SettingsError(
                f"{function}() takes no keyword {name!r}",
                hint=f"did you mean {meant}?" if meant else f"it takes {', '.join(known)}",
            )
    return tuple({k: v for k, v in options.items() if k in group} for group in names)


def model_values(
    given: str | Path | Mapping[str, Any] | BaseModel, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Settings of a student or a teacher, from its name or from settings.

    Args:
        given: The name of a model, a mapping of settings, or a settings model.
        options: Keywords; they win over the settings.
    """
    if isinstance(given, BaseModel):
        return {**given.model_dump(exclude_unset=True), **options}
    if isinstance(given, Mapping):
        return {**given, **options}
    return {"model": str(given), **options}


def names_in(given: str | tuple[str, ...] | list[str] | None) -> tuple[str, ...]:
    """Names from a sequence, or from a comma-separated text.

    Examples:
        >>> names_in("ifd, rsr")
        ('ifd', 'rsr')
    """
    if given is None:
        return ()
    parts = given.split(",") if isinstance(given, str) else given
    return tuple(name.strip() for name in parts if name.strip())


def renamed_keyword(*, old: str, new: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorator that accepts a renamed keyword under its old name, with a warning.

    Args:
        old: The name until now; it goes away with the next release.
        new: The name that the signature has.

    Raises:
        SettingsError: Both are given in a call.
    """

    def decorated(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def called(*args: P.args, **options: P.kwargs) -> T:
            if old in options:
                if new in options:
                    raise SettingsError(
                        f"{function.__name__}() got both `{new}` and `{old}`, its old name",
                        hint=f"give `{new}` alone",
                    )
                warnings.warn(
                    f"`{old}` is now called `{new}`; the old name will not work in the next "
                    "release",
                    DeprecationWarning,
                    stacklevel=2,
                )
                options[new] = options.pop(old)
            return function(*args, **options)

        return called

    return decorated


_LINE_SECONDS = 0.5

ShownProgress: TypeAlias = Progress | bool | None
"""Progress argument: None shows bars in a terminal or notebook and nothing elsewhere, such as in a
script whose output goes to a file. True always shows them, False never. An object with the methods
of `tutelage.Progress` is called directly.
"""


@contextmanager
def told(progress: ShownProgress) -> Iterator[Progress]:
    """Progress object for a function: the given one, bars, or a silent one."""
    if progress is None:
        progress = _is_watched()
    if isinstance(progress, bool):
        if not progress:
            yield Silent()
            return
        if in_notebook() and find_spec("ipywidgets") is None:
            yield CellLines()  # without the widgets rich draws no bars, and warns again and again
            return
        # In a notebook rich draws into the cell by itself.
        with live_bars(stderr=not in_notebook()) as bars:
            yield LiveBars(bars)
        return
    yield progress


class CellLines:
    """A progress that writes one line a stage into the cell of a notebook, and changes it."""

    def __init__(self) -> None:
        self._show = import_module("IPython.display").display
        self._line: Any = None
        self._stage, self._unit, self._note = "", "", ""
        self._total: int | None = None
        self._done = 0
        self._began = self._shown = 0.0

    def begin(self, stage: str, *, total: int | None, unit: str) -> None:
        """Write a line for a stage."""
        self._stage, self._total, self._unit, self._note = stage, total, unit, ""
        self._done, self._began = 0, monotonic()
        self._line = self._show(self._text(), raw=True, display_id=True)

    def tell(self, text: str) -> None:
        """Write a line that stays."""
        self._show(_plain(text), raw=True)

    def advance(self, count: int = 1, *, note: str | None = None) -> None:
        """Change the line of the stage that began last, at most twice a second."""
        self._done += count
        self._note = self._note if note is None else note
        if monotonic() - self._shown >= _LINE_SECONDS:
            self._update()

    def end(self, *, note: str | None = None) -> None:
        """Change the line of the stage that began last for the last time."""
        self._total = self._done
        self._note = self._note if note is None else note
        self._update()

    def _update(self) -> None:
        if self._line is not None:
            self._line.update(self._text(), raw=True)
            self._shown = monotonic()

    def _text(self) -> dict[str, str]:
        seconds = monotonic() - self._began
        of = "" if self._total is None else f" of {self._total:,}"
        parts = [f"{self._stage}: {self._done:,}{of} {self._unit}"]
        if self._done and seconds > 0:
            parts.append(pace_text(self._done / seconds))
        return _plain(", ".join([*parts, *filter(None, [self._note])]))


def _plain(text: str) -> dict[str, str]:
    """Text as a cell takes it, with everything that cannot be printed as an escape."""
    return {"text/plain": "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)}


def _is_watched() -> bool:
    """Whether the output is visible to a person now."""
    return in_notebook() or bool(getattr(sys.stderr, "isatty", bool)())


def in_notebook() -> bool:
    """Whether this runs in a Jupyter kernel, which shows HTML but is not a terminal."""
    shell = sys.modules.get("IPython")
    if shell is None:
        return False
    found = shell.get_ipython()
    return type(found).__name__ == "ZMQInteractiveShell"
