"""Facts from the manifest about time, cost and settings; any of them may be missing."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tutelage.reporting.number_format import UNKNOWN
from tutelage.reporting.run_summary import Account

HIDDEN = "(not shown)"
MAX_VALUE_CHARACTERS = 300
MAX_ENTRIES = 400

_SECRET_NAME = re.compile(
    r"(^|[._-])(api_?key|key_value|password|passwd|secret|authorization|bearer|cookie"
    r"|(access|auth|hf|api|id|refresh)_token|token)$",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    r"\b(sk|hf|gsk|xai|ghp|gho|glpat|AIza|AKIA)[-_]?[A-Za-z0-9_-]{16,}|://[^/\s:@]+:[^/\s@]+@"
)


def read_account(manifest: Mapping[str, Any]) -> Account:
    """Time by stage and the teacher's counts, wherever the manifest has them."""
    teacher = _teacher(manifest)
    cost, currency = _number(teacher.get("cost")), teacher.get("currency")
    before = _number(teacher.get("spent_before")) or 0.0
    paid = None if cost is None else cost + before
    return Account(
        seconds=tuple(_seconds(manifest)),
        teacher=tuple(_tally(teacher)),
        cost=paid if currency else None,
        currency=str(currency) if currency else None,
    )


def _stage_words(name: str, *, decider: str | None) -> str:
    """Name of a stage for people; the stage of the deciding student is called `score`."""
    kind, _, which = name.partition(":")
    if kind == "score" and which:
        return "score" if which == decider else f"scores of student {which[:8]}"
    return f"{kind} {which}".rstrip()


def _seconds(manifest: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    decider = decider_of(manifest)
    for name, stage in _mapping(manifest.get("stages")).items():
        seconds = _number(_mapping(stage).get("seconds"))
        if seconds is not None:
            yield _stage_words(str(name), decider=decider), seconds
    for name, value in _mapping(manifest.get("seconds")).items():
        seconds = _number(value)
        if seconds is not None:
            yield str(name), seconds


def _teacher(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    stages = _mapping(manifest.get("stages")).values()
    places = (
        *(_mapping(_mapping(stage).get("tally")).get("teacher") for stage in stages),
        manifest.get("teacher_tally"),
        _mapping(manifest.get("teacher")).get("tally"),
    )
    return next((place for place in map(_mapping, places) if "asked" in place), {})


def _tally(teacher: Mapping[str, Any]) -> Iterator[tuple[str, str | int | float]]:
    for name, value in teacher.items():
        if isinstance(value, Mapping):
            for kind, count in value.items():
                if _number(count) is not None:
                    yield f"{name}: {kind}", count
        elif isinstance(value, str) or _number(value) is not None:
            yield str(name), value


def decider_of(manifest: Mapping[str, Any]) -> str | None:
    """Fingerprint of the student that decided, or else of the configured one."""
    tally = _mapping(_mapping(_mapping(manifest.get("stages")).get("select")).get("tally"))
    names = (tally.get("student"), _mapping(manifest.get("student")).get("fingerprint"))
    return next((str(name) for name in names if name), None)


def mode_of(manifest: Mapping[str, Any]) -> str | None:
    """Mode of the srt rule, if the manifest names one."""
    tally = _mapping(_mapping(_mapping(manifest.get("stages")).get("select")).get("tally"))
    settings = _mapping(_mapping(manifest.get("settings")).get("select"))
    modes = (_mapping(tally.get("rule")).get("mode"), settings.get("mode"))
    return next((str(mode) for mode in modes if mode), None)


def flatten(manifest: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Manifest as dotted names and texts, in its order, without secrets."""
    entries = list(_flat("", manifest))
    left = len(entries) - MAX_ENTRIES
    shown = entries[:MAX_ENTRIES]
    return (*shown, *([("(more)", f"{left} more entries in manifest.json")] if left > 0 else []))


def _flat(name: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}" if name else str(key), inner)
    elif isinstance(value, list | tuple) and any(isinstance(v, Mapping) for v in value):
        for index, inner in enumerate(value):
            yield from _flat(f"{name}.{index}", inner)
    else:
        yield name, _shown(name, value)


def _shown(name: str, value: object) -> str:
    if isinstance(value, str | bytes) and value and _SECRET_NAME.search(name):
        return HIDDEN
    if value is None:
        return UNKNOWN
    if isinstance(value, list | tuple):
        text = ", ".join(str(v) for v in value) or "(none)"
    else:
        text = str(value)
    if _SECRET_VALUE.search(text):
        return HIDDEN
    if len(text) > MAX_VALUE_CHARACTERS:
        return f"{text[:MAX_VALUE_CHARACTERS]} … ({len(text):,} characters)"
    return text


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
