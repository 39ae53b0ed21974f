"""The demo: the main job on the embedded examples, with a real teacher's replies replayed."""

from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from tutelage.pipeline.config import RunSettings, checked
from tutelage.pipeline.jobs import run_all
from tutelage.pipeline.resources import Doors
from tutelage.progress import Progress
from tutelage.refinement import RefineSettings

TEACHER = "qwen2.5-coder-1.5b"
"""Qwen2.5-Coder-1.5B-Instruct (Q4_K_M) behind llama.cpp wrote the replies in the journal."""

REFINE = RefineSettings(prompt_version="v1", max_tokens=512)
"""As the replies were asked for: other settings would be other requests, which nobody answered."""


def demo_settings(out: Path, *, student: Mapping[str, Any]) -> RunSettings:
    """The settings of the demo's run, which are also an example of settings."""
    here = resources.files("tutelage.demo_data")
    values = {
        "data": {"path": str(here / "examples.jsonl")},
        "teacher": {
            "kind": "replay",
            "model": TEACHER,
            "journal": str(here / "journal.sqlite"),
        },
        "refine": REFINE,
        "student": student,
        "out": str(out),
    }
    return checked(RunSettings, values, place="demo")


def run_demo(
    out: Path,
    *,
    student: Mapping[str, Any],
    progress: Progress,
    say: Callable[[str], None],
    doors: Doors | None = None,
) -> dict[str, Any]:
    """Do the main job on embedded examples, offline.

    Args:
        out: The run folder.
        student: Settings of the student room.
        progress: Told how far each stage is.
        say: Told, in a sentence, what happens next.
        doors: How student and teacher are reached.

    Returns:
        What `run_all` returns.
    """
    settings = demo_settings(out, student=student)
    say(
        f"Replaying recorded replies of the teacher {TEACHER}. "
        f"The student {settings.student.model} scores every version."
    )
    return run_all(settings, progress=progress, doors=doors)
