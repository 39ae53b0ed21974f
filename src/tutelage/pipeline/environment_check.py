"""Environment check: installed libraries, devices, sandbox and the student's template."""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from tutelage.data import VIEW_NAMES, Candidate, Message, Reading
from tutelage.errors import TutelageError
from tutelage.pipeline.config import checked
from tutelage.pipeline.resources import opened_student, versions
from tutelage.student import StudentSettings, check_template, devices
from tutelage.verification.sandbox import (
    MECHANISMS,
    memory_groups,
    sandbox_mechanism,
    why_not,
)

EXTRAS = {
    "student": ("torch", "transformers"),
    "demo": ("torch", "transformers", "accelerate", "gguf"),
    "report": ("altair", "vl_convert"),
    "maths": ("math_verify",),
    "filters": ("fasttext", "model2vec"),
    "ray": ("ray",),
    "ui": ("starlette", "uvicorn"),
    "datasets": ("datasets",),
    "train": ("accelerate", "datasets", "peft", "trl"),
    "eval": ("lm_eval",),
}
"""Import names of the libraries of each extra."""

_PROBE = Candidate(
    candidate_id="probe",
    example_id="probe",
    messages=(
        Message(role="user", content="Name a colour."),
        Message(role="assistant", content="Blue is a colour."),
    ),
)


def examine(
    *, student: str | None, template: str, arguments: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Examine this machine, and a student if one is named.

    Args:
        student: A folder, a hub id or an alias; None looks at the machine alone.
        template: As in the student's settings.
        arguments: Its other settings about the template, such as `template_args`.

    Returns:
        Findings by topic; `healthy` is false where the student cannot be used.
    """
    findings: dict[str, Any] = {
        "versions": versions(),
        "extras": {
            name: "installed"
            if not _missing(libraries)
            else f"missing {', '.join(_missing(libraries))}"
            for name, libraries in EXTRAS.items()
        },
        "cpus": os.cpu_count(),
        "devices": _devices(),
        "sandbox": _sandbox(),
        "healthy": True,
    }
    if student is not None:
        findings["student"] = _student(student, template, arguments or {})
        findings["healthy"] = "error" not in findings["student"]
    return findings


def _missing(libraries: tuple[str, ...]) -> list[str]:
    return [name for name in libraries if find_spec(name) is None]


def _sandbox() -> dict[str, str]:
    """Isolation of `verify --check code` on this machine, and why other mechanisms do not work."""
    used = sandbox_mechanism()
    found = {str(name): why_not(name) or "works" for name in MECHANISMS}
    above, why_none = memory_groups()
    memory = f"counted every 50 ms: {why_none}" if above is None else f"control group in {above}"
    return {"used": used or "none: programs are not run", **found, "memory": memory}


def _devices() -> list[str]:
    return list(devices()) if not _missing(("torch",)) else []


def _student(model: str, template: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    try:
        settings = checked(
            StudentSettings,
            {"model": model, "template": template, "use_cache": False, **arguments},
            place="doctor",
        )
        with opened_student(settings) as opened:
            (outcome,) = opened.read([_PROBE], views=VIEW_NAMES)
            readable = isinstance(outcome, Reading)
            return {
                **opened.describe(),
                "probe": "read" if readable else f"not read: {outcome}",
                "template_problems": list(check_template(settings)),
            }
    except TutelageError as error:
        return {"model": model, "error": str(error), "hint": error.hint}
