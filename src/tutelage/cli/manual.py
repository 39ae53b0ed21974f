"""Write the reference pages that are made from the code: `python -m tutelage.cli.manual docs`.

A test holds the committed pages to what this writes.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from tutelage.cli.main import main

WIDTH = 96


def commands_page() -> str:
    """docs/cli.md: every command's own help."""
    lines = [
        "# Commands",
        "",
        "Data goes to stdout, everything for people to stderr. Exit codes: 0 done, 1 failed,",
        "2 misuse, 130 interrupted with what is finished kept.",
        "",
    ]
    root = click.Context(main, info_name="tutelage", max_content_width=WIDTH, terminal_width=WIDTH)
    for name, command in sorted(main.commands.items()):
        context = click.Context(
            command,
            info_name=name,
            parent=root,
            max_content_width=WIDTH,
            terminal_width=WIDTH,
        )
        lines += [f"## tutelage {name}", "", "```text", command.get_help(context), "```", ""]
    return "\n".join(lines)


def settings_page() -> str:
    """docs/configuration.md: every setting of a run's YAML file."""
    from tutelage.runs import RunSettings

    schema = RunSettings.model_json_schema()
    lines = [
        "# Configuration",
        "",
        "`tutelage run CONFIG.yaml` reads one YAML file. Unknown names are errors, and all that is",
        "wrong is reported at once. `--set name=value` wins over the file. Only `data.path`,",
        "`student.model` and `out` must be given. The smallest useful file:",
        "",
        "```yaml",
        "data: {path: pairs.jsonl}           # rows with an original and somebody's refinement",
        "student: {model: smollm2-135m}",
        "out: runs/first",
        "```",
        "",
        "With a teacher behind an OpenAI-compatible endpoint:",
        "",
        "```yaml",
        "data: {path: data.jsonl}",
        "teacher: {model: my-teacher, base_url: http://127.0.0.1:8081/v1, concurrency: 8}",
        "student: {model: smollm2-135m}",
        "select: {rule: srt, mode: safe}",
        "out: runs/second",
        "```",
        "",
    ]
    for section, values in schema["properties"].items():
        inner = _resolved(values, schema)
        if "properties" not in inner:
            continue
        lines += [f"## {section}", "", "| setting | default | meaning |", "|---|---|---|"]
        lines += list(_rows(section, inner, schema))
        lines.append("")
    return "\n".join(lines)


def _resolved(values: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in values:
        found: dict[str, Any] = schema["$defs"][values["$ref"].rsplit("/", 1)[1]]
        return found
    for choice in values.get("anyOf", ()):
        if "$ref" in choice:
            return _resolved(choice, schema)
    return values


def _rows(prefix: str, model: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    required = model.get("required", ())
    for name, values in model["properties"].items():
        inner = _resolved(values, schema)
        if "properties" in inner:
            yield from _rows(f"{prefix}.{name}", inner, schema)
            continue
        default = "required" if name in required else f"`{_yaml(values.get('default'))}`"
        meaning = " ".join(str(values.get("description", "")).split()).replace("|", "\\|")
        choices = values.get("enum") or inner.get("enum")
        if choices:
            meaning = f"One of {', '.join(f'`{c}`' for c in choices)}. {meaning}"
        yield f"| `{prefix}.{name}` | {default} | {meaning.strip()} |"


def _yaml(value: object) -> str:
    import yaml

    if isinstance(value, list | tuple) and sum(len(str(item)) for item in value) > WIDTH:
        return "(see below)"
    text: str = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return text.replace("\n...", "").strip()


PAGES = {"cli.md": commands_page, "configuration.md": settings_page}


def write(folder: Path) -> None:
    """Write all pages into a folder."""
    for name, page in PAGES.items():
        (folder / name).write_text(page().rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
