"""Dataset card of an exported set: source, teacher, student, rule and notes."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tutelage.data import write_text
from tutelage.errors import StudentError, TutelageError
from tutelage.models.folder import is_here
from tutelage.pipeline.config import checked
from tutelage.pipeline.run_dir import RunFolder
from tutelage.pipeline.set_rows import TEMPLATE_ARGS, openai_turns
from tutelage.reporting.number_format import count
from tutelage.student import StudentSettings, unread_fields

NOT_SAID = "not recorded"
WITHOUT_ARGUMENTS = ("axolotl", "llamafactory", "sharegpt", "alpaca")
"""Formats without a place for a row's own template arguments."""
ALL_TURNS = ("axolotl", "llamafactory", "sharegpt")
"""Trainers that train on every assistant turn by default."""
OPENAI_TURNS = ("messages", "trl", "axolotl")
"""Formats whose turns are rendered by the chat template, field by field."""
BY_TURNS = ("llamafactory", "sharegpt")
"""Formats of LLaMA-Factory, which accept only strictly alternating conversations."""


def alternates(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether user and assistant alternate, after at most one system message at the start.

    A tool's result takes the place of the user's turn.
    """
    asks = {"user", "tool"}
    turns = [message["role"] for message in messages]
    if turns[:1] == ["system"]:
        turns = turns[1:]
    return len(turns) % 2 == 0 and all(
        (role in asks) if place % 2 == 0 else role == "assistant"
        for place, role in enumerate(turns)
    )


@dataclass(slots=True, kw_only=True)
class Card:
    """Collector that counts exported rows and then writes the card next to the file.

    Attributes:
        run: Where the set was made.
        chosen: `selected`, or the name of a null.
        file: The exported file.
        made_by: The rule to name, where it is neither that of the selection nor a baseline.
    """

    run: RunFolder
    chosen: str
    file: Path
    made_by: Mapping[str, Any] | None = None
    _rows: int = 0
    _several_turns: int = 0
    _out_of_turn: int = 0
    _first_out_of_turn: str = ""
    _with_arguments: int = 0
    _fields: Counter[str] = field(default_factory=Counter)
    _with_field: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _counts: dict[str, Counter[str]] = field(
        default_factory=lambda: {n: Counter() for n in ("source", "teacher", "step", "reason")}
    )

    def noted(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """Same rows, counted as they pass."""
        for row in rows:
            self._rows += 1
            roles = [message["role"] for message in row["messages"]]
            self._several_turns += roles.count("assistant") > 1
            if not alternates(row["messages"]):
                self._out_of_turn += 1
                self._first_out_of_turn = self._first_out_of_turn or str(row["example_id"])
            self._with_arguments += bool(row.get(TEMPLATE_ARGS))
            for name in ("reasoning", "tool_calls"):
                if row["messages"][-1].get(name):
                    self._fields[name] += 1
                    self._with_field.setdefault(name, row)
            for name, counter in self._counts.items():
                counter[str(row.get(name) or NOT_SAID)] += 1
            yield row

    def notes(self, to: str) -> list[str]:
        """Notes for training on this file with this trainer."""
        found = []
        if self._several_turns and to in ALL_TURNS:
            found.append(
                f"{count(self._several_turns, 'row')} with several assistant turns, of which only "
                "the last was scored: LLaMA-Factory trains on it alone with mask_history: true; in "
                "axolotl set the field `train` of the earlier turns to false"
            )
        if self._out_of_turn and to in BY_TURNS:
            found.append(
                f"{count(self._out_of_turn, 'row')} in which user and assistant do not alternate, "
                f"such as example {self._first_out_of_turn}: LLaMA-Factory leaves such rows out "
                "with a warning in its log; --to trl and --to axolotl keep them"
            )
        if self._with_arguments and to in WITHOUT_ARGUMENTS:
            found.append(
                f"{count(self._with_arguments, 'row')} with own template arguments "
                f"({TEMPLATE_ARGS}), which {to} does not read: it renders such rows otherwise than "
                "they were scored; --to trl and --to messages keep the arguments"
            )
        if to in OPENAI_TURNS:
            found += self._unread_by_the_template()
        if self.chosen != "selected":
            found.append(f"{self.chosen} is a baseline: a set chosen without the student")
        return found

    def _unread_by_the_template(self) -> Iterator[str]:
        """Notes on fields that the chat template of the run's student ignores.

        A student that cannot be opened here has no notes: it may be on another machine.
        """
        for name, row in self._with_field.items():
            turns = openai_turns(row["messages"])
            written = "reasoning_content" if name == "reasoning" else name
            try:
                settings = checked(StudentSettings, self._student(), place=str(self.run.manifest))
                unread = unread_fields(settings, turns, tools=row.get("tools"))
            except TutelageError:
                continue
            if written in unread:
                other = unread[written]
                yield (
                    f"{count(self._fields[name], 'row')} with `{written}`, which the chat template "
                    f"of {_base(settings.model)} does not read, so that a trainer leaves it out: "
                    + (
                        f"rename the field to `{other}`, which it reads"
                        if other
                        else "write it into `content`, or train with a template that reads it"
                    )
                )

    def _student(self) -> dict[str, Any]:
        """Settings of the run's student, if its files are on this machine."""
        manifest = self.run.read_manifest()
        about = manifest.get("student", {})
        own: dict[str, Any] = manifest.get("settings", {}).get("student") or {}
        if own.get("model") != about.get("model"):
            own = {name: about[name] for name in ("model", "template") if about.get(name)}
        if not is_here(str(own.get("model"))):
            raise StudentError(f"{own.get('model')} is not on this machine")
        return own

    @property
    def path(self) -> Path:
        """Path of the card: train.jsonl has train.card.md."""
        return self.file.with_name(f"{self.file.stem}.card.md")

    def write(self) -> Path:
        """Write the card, after all rows have passed."""
        write_text(self.path, self._text())
        return self.path

    def _text(self) -> str:
        manifest, rows = self.run.shown_manifest(), count(self._rows, "row")
        settings = manifest.get("settings", {})
        student, teacher = _decider(manifest), manifest.get("teacher", {})
        rule = settings.get("select", {}) if self.chosen == "selected" else {"null": self.chosen}
        rule = rule if self.made_by is None else self.made_by
        head = {
            "language": NOT_SAID,
            "license": NOT_SAID,
            "task_categories": ["text-generation"],
            "size": self._rows,
            "made_with": f"tutelage {manifest.get('versions', {}).get('tutelage', NOT_SAID)}",
        }
        lines = [
            "---",
            yaml.safe_dump(head, sort_keys=False).strip(),
            "---",
            "",
            f"# {self.file.stem}",
            "",
            f"{rows} of the set `{self.chosen}` of the run `{self.run.root.name}`.",
            "",
            *_pairs("Who wrote and who chose", _people(student, teacher)),
            *_pairs("Rule", {str(k): str(v) for k, v in rule.items() if v not in (None, {}, [])}),
            *self._tables(),
            *_licences(self._counts["source"], self._counts["teacher"]),
            *_pairs("Inputs (SHA-256)", _inputs(manifest)),
        ]
        return "\n".join(lines)

    def _tables(self) -> Iterator[str]:
        titles = {"source": "Sources", "teacher": "Teachers", "step": "Versions", "reason": "Why"}
        for name, title in titles.items():
            counted = self._counts[name].most_common()
            yield from _pairs(title, {key: f"{count:,}" for key, count in counted})


def _decider(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """Name of the student whose scores decided, which may not be the last one that read the run.

    Of another than the last one, a run knows the fingerprint and no more.
    """
    last: Mapping[str, Any] = manifest.get("student", {})
    tally = manifest.get("stages", {}).get("select", {}).get("tally", {})
    decided = tally.get("student") or last.get("fingerprint")
    if decided == last.get("fingerprint"):
        return last
    return {"model": NOT_SAID, "fingerprint": decided}


def _people(student: Mapping[str, Any], teacher: Mapping[str, Any]) -> dict[str, str]:
    named = {
        "student": _base(student.get("model")),
        "student's fingerprint": student.get("fingerprint"),
        "student's template": student.get("template"),
        "student's dtype": student.get("dtype"),
        "teacher": teacher.get("name"),
        "teacher's prompts": teacher.get("prompts"),
    }
    return {name: str(value) for name, value in named.items() if value}


def _base(model: object) -> str | None:
    """Last part of a model's name, because a published card must not contain a local path."""
    return Path(str(model)).name if model else None


def _inputs(manifest: Mapping[str, Any]) -> dict[str, str]:
    return {Path(name).name: digest for name, digest in manifest.get("inputs", {}).items()}


def _licences(sources: Iterable[str], teachers: Iterable[str]) -> Iterator[str]:
    """Licence line to fill in for every source and teacher."""
    yield "## Licences"
    yield ""
    yield "To be filled in before this set is shared. Terms of a teacher can bind its answers."
    yield ""
    yield "| from | licence |"
    yield "|---|---|"
    for kind, names in (("source", sources), ("teacher", teachers)):
        for name in sorted(names):
            if name != NOT_SAID:
                yield f"| {kind}: {_cell(name)} | {NOT_SAID} |"
    yield ""


def _pairs(title: str, rows: Mapping[str, str]) -> Iterator[str]:
    if not rows:
        return
    yield f"## {title}"
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield from (f"| {_cell(key)} | {_cell(value)} |" for key, value in rows.items())
    yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
