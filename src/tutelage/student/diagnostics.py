"""Diagnostics of `tutelage doctor`: available devices and problems of a template."""

from tutelage.models.hardware import cpu_multiplies_bfloat16
from tutelage.student.chat_template import ChatTemplate, template_problems
from tutelage.student.components import OpenStudent
from tutelage.student.config import StudentSettings


def devices() -> tuple[str, ...]:
    """Devices on which a student could run, each with its details. Needs torch."""
    import torch

    cpu = f"cpu, {torch.get_num_threads()} threads"
    found = [f"{cpu}, multiplies bfloat16" if cpu_multiplies_bfloat16() else cpu]
    for index in range(torch.cuda.device_count()):
        gigabytes = torch.cuda.get_device_properties(index).total_memory / 1e9
        found.append(f"cuda:{index}, {torch.cuda.get_device_name(index)}, {gigabytes:.0f} GB")
    return tuple(found)


def check_template(settings: StudentSettings) -> tuple[str, ...]:
    """Problems of a student's template that make scores differ from training.

    Returns:
        One sentence a problem; nothing for a template without any, and for raw templates, which
        render exactly what they say.

    Raises:
        StudentError: The student cannot be found.
        SettingsError: It has no such template.
    """
    student = OpenStudent(settings)
    if settings.template == "alpaca":
        return ()
    found = (
        template_problems(student.template) if isinstance(student.template, ChatTemplate) else []
    )
    if student.reads_clock:
        found.append(
            "reads today's date; scoring and `tutelage train` set it to "
            f"{settings.template_date.isoformat()} (template_date, --template-date), "
            "other trainers take the day of the training"
        )
    return tuple(found)
