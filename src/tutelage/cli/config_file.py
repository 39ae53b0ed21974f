"""Command `init`, which writes a configuration file."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from tutelage.cli.output import show_result


@click.command()
@click.argument(
    "file", type=click.Path(path_type=Path), default=Path("tutelage.yaml"), required=False
)
@click.option("--data", help="Your rows, for data.path.")
@click.option("--student", help="The model that you will train, for student.model.")
@click.option("--out", help="The run folder, for out.")
@click.option("--force", is_flag=True, help="Replace existing files.")
def init(file: Path, *, force: bool, **values: Any) -> None:
    """Write a commented configuration file to start from.

    FILE is tutelage.yaml by default. The JSON schema of the configuration is written next to it, so
    that editors complete and check settings. Existing files are not changed.

    \b
    Example:
      tutelage init
      tutelage init my-run.yaml --data pairs.jsonl --student smollm2-135m
    """
    from tutelage.pipeline.config_file import write_config

    show_result(write_config(file, force=force, **values), text=_written)


def _written(found: Mapping[str, Any]) -> Iterable[str]:
    yield f"Wrote {found['config']}, and {found['schema']} for editors."
    yield "Set data.path and student.model in it, and a teacher if you want rewrites."
    yield f"Next: tutelage run {found['config']}"


COMMANDS = (init,)
