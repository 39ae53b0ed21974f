"""Command group with grouped help, renamed options and plain error messages.

Data goes to stdout, everything for people to stderr. Exit codes: 0 done, 1 failed, 2 misuse, 130
interrupted with what is finished kept. Libraries are imported inside the command that needs them,
so that `--help` answers at once.
"""

import atexit
import errno
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

from tutelage.cli.output import (
    add_output_flags,
    escaped,
    explain_error,
    output_flags,
    say,
    show_bug,
)
from tutelage.errors import SettingsError, TutelageError
from tutelage.version import __version__

INTERRUPTED = 130

_DISK = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES))
_DISK_HINT = (
    "check that it may be read and written and that its disk is not full; what is finished is kept"
)


SECTIONS = {
    "Start": ("demo", "init", "run"),
    "Data": ("load", "audit", "filter", "verify", "drift"),
    "Teachers": ("refine", "sample", "rank"),
    "Student": ("score", "metrics", "recompute", "delta", "frontier"),
    "Selection": ("select", "explain"),
    "Training and proof": ("train", "evaluate", "prove", "rounds"),
    "Tools": ("report", "view", "export", "doctor"),
}
"""Commands by the step of the work they belong to, in the order of `--help`."""


CONTINUES = "stopped; finished work is kept, and the same command continues it"
_REPLIES = "stopped; replies of a teacher are kept, everything else of this command starts over"
_STARTS_OVER = "stopped; no unfinished file is left, and the same command starts over"
_WROTE_NOTHING = "stopped; nothing was written"
_VIEWER = "the viewer has stopped; corrections that were made in it are kept"

INTERRUPTED_TEXTS = {
    **dict.fromkeys(("demo", "run", "refine", "sample", "rank", "score", "audit"), CONTINUES),
    **dict.fromkeys(("frontier", "train", "evaluate", "prove", "rounds"), CONTINUES),
    **dict.fromkeys(("filter", "verify"), _REPLIES),
    **dict.fromkeys(("load", "drift", "recompute", "delta", "select"), _STARTS_OVER),
    **dict.fromkeys(("report", "export", "init", "rank agreement"), _STARTS_OVER),
    **dict.fromkeys(("metrics", "explain", "doctor"), _WROTE_NOTHING),
    "view": _VIEWER,
}
"""What Ctrl-C says, by command: only some commands continue where they stopped."""

_ESTIMATES = ("--dry-run", "--plan")
_COMMAND = "tutelage.command"


_RENAMED = {"--beside": "--compare-with"}
"""Renamed options; the old name still works, with a warning, until the next release."""


class _Misuse(click.ClickException):
    exit_code = 2


@contextmanager
def _interruptible() -> Iterator[None]:
    """Context manager in which SIGTERM, and SIGINT of a background job, act like Ctrl-C."""

    def forward(_signal: int, _frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGINT)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, forward)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _escaping() -> Iterator[None]:
    """Context manager that escapes click's own error messages, which repeat what was typed."""
    try:
        yield
    except click.ClickException as error:
        vars(error)["message"] = escaped(error.message)
        raise


def _close_stderr() -> None:
    """Close stderr as the last exit handler.

    The database's binding then lists its objects that are still referred to, and calls them
    leaked. A command that was interrupted or has failed leaves such references behind in threads
    and in the errors of other libraries. The list has no switch.
    """
    sys.stderr.flush()
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), 2)


class PlainErrors(click.Group):
    """Command group that prints this package's errors without a traceback.

    No message reaches the terminal with control characters in it. Every command gets `--json`,
    `-v` and `-q`, and `--help` lists the commands by the step of the work they belong to.
    """

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Register a command with the flags that every command has."""
        add_output_flags(cmd)
        super().add_command(cmd, name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a command and rename its old options."""
        name, command, rest = super().resolve_command(ctx, args)
        ctx.meta[_COMMAND] = [str(name), *rest]
        return name, command, rest if command is None else list(_renamed(command, rest))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Format the commands by the step of the work they belong to."""
        width = max(map(len, self.commands), default=0)
        limit = formatter.width - 6 - width
        placed = {name for names in SECTIONS.values() for name in names}
        others = tuple(sorted(self.commands.keys() - placed))
        for title, names in (*SECTIONS.items(), ("Other", others)):
            known = [name for name in names if name in self.commands]
            rows = [
                (name.ljust(width), self.commands[name].get_short_help_str(limit)) for name in known
            ]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def main(self, args: Sequence[str] | None = None, *more: Any, **options: Any) -> Any:
        """Run as a program, with tracebacks of bugs escaped."""
        if args is None:
            sys.excepthook = show_bug
            atexit.register(_close_stderr)
        return super().main(args, *more, **options)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Parse the command line.

        Args:
            info_name: Name of the program.
            args: The arguments.
            parent: The enclosing context.
            extra: Further arguments of click.
        """
        with _escaping():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Invoke the command and translate the errors that are raised on purpose."""
        try:
            with _interruptible(), _escaping():
                return super().invoke(ctx)
        except TutelageError as error:
            explain_error(error)
            text = f"{error}\nhint: {error.hint}" if error.hint else str(error)
            kind = _Misuse if isinstance(error, SettingsError) else click.ClickException
            raise kind(escaped(text)) from error
        except OSError as error:
            if error.filename is None and error.errno not in _DISK:
                raise
            explain_error(error)
            place = error.filename or "a file"
            text = f"{place}: {error.strerror or error}\nhint: {_DISK_HINT}"
            raise click.ClickException(escaped(text)) from error
        except KeyboardInterrupt:
            say(interrupted_text(ctx.meta.get(_COMMAND, [])))
            ctx.exit(INTERRUPTED)


def interrupted_text(words: Sequence[str]) -> str:
    """What Ctrl-C says of a command.

    Args:
        words: The command and its arguments.

    Examples:
        >>> interrupted_text(["score", "data.jsonl", "--no-cache"])
        'stopped; no unfinished file is left, and the same command starts over'
        >>> interrupted_text(["explain", "runs/demo", "row:1"])
        'stopped; nothing was written'
    """
    given = {word.partition("=")[0] for word in words}
    if given.intersection(_ESTIMATES):
        return _WROTE_NOTHING
    named = " ".join(words[:2])
    text = INTERRUPTED_TEXTS.get(named) or INTERRUPTED_TEXTS.get(" ".join(words[:1]), CONTINUES)
    if words and words[0] in ("score", "audit") and "--no-cache" in given:
        return _STARTS_OVER
    return text


def _renamed(command: click.Command, words: Sequence[str]) -> Iterator[str]:
    known = {option for parameter in command.params for option in parameter.opts}
    options_end = False
    for word in words:
        old, equals, value = word.partition("=")
        new = _RENAMED.get(old)
        options_end = options_end or word == "--"
        if new is None or new not in known or options_end:
            yield word
            continue
        say(f"{old} is now called {new}; the old name will not work in the next release")
        yield f"{new}{equals}{value}"


@click.group(cls=PlainErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="tutelage")
@click.option(
    "--extensions",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A Python file with your own metrics, rules, filters, checks and exports. It is run.",
)
def main(extensions: Path | None) -> None:
    """Choose training data with the model that will be trained on it.

    A teacher model rewrites instruction data. The student model scores every version by its own
    token likelihoods, and one version of each example is chosen. Every decision keeps its reason.

    \b
    Start here:
      tutelage demo                     try everything on embedded examples, offline
      tutelage audit DATA --student M   estimate what share of the rows is faulty
      tutelage init                     write a configuration file to start from
      tutelage run tutelage.yaml        load, rewrite, score, select and report
    """
    if extensions is not None:
        from tutelage.data.extensions import load_extensions

        load_extensions(extensions)


def _register() -> None:
    from tutelage.cli.commands import (
        rank,
        report,
        rounds,
        run,
        score,
        select,
        train,
        verify,
    )

    main.params.extend(output_flags())
    for module in (
        run,
        score,
        select,
        report,
        verify,
        train,
        rank,
        rounds,
    ):
        for command in module.COMMANDS:
            main.add_command(command)


_register()
