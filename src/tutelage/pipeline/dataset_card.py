"""The card of an exported set: where it came from, who wrote it, who chose it, by which rule."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tutelage.data import write_text
from tutelage.pipeline.run_dir import RunFolder
from tutelage.reporting.number_format import count

NOT_SAID = "not recorded"
ALL_TURNS = ("axolotl", "llamafactory", "sharegpt")
"""Trainers that train on every assistant turn unless they are told otherwise."""
BY_TURNS = ("llamafactory", "sharegpt")
"""Formats of LLaMA-Factory, which takes no conversation that does not alternate."""


def alternates(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether asker and assistant speak in turn, after at most one system message at the start.

    A tool's result stands where the user would speak.
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
    """Counts rows as they pass, then writes the card beside the file.

    Attributes:
        run: Where the set was made.
        chosen: `selected`, or the name of a null.
        file: The exported file.
        made_by: What stands as the rule, where it is neither that of the selection nor a null.
    """

    run: RunFolder
    chosen: str
    file: Path
    made_by: Mapping[str, Any] | None = None
    _rows: int = 0
    _several_turns: int = 0
    _out_of_turn: int = 0
    _first_out_of_turn: str = ""
    _counts: dict[str, Counter[str]] = field(
        default_factory=lambda: {n: Counter() for n in ("source", "teacher", "step", "reason")}
    )

    def noted(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """The same rows, counted."""
        for row in rows:
            self._rows += 1
            roles = [message["role"] for message in row["messages"]]
            self._several_turns += roles.count("assistant") > 1
            if not alternates(row["messages"]):
                self._out_of_turn += 1
                self._first_out_of_turn = self._first_out_of_turn or str(row["example_id"])
            for name, counter in self._counts.items():
                counter[str(row.get(name) or NOT_SAID)] += 1
            yield row

    def notes(self, to: str) -> list[str]:
        """What a person should know before training on this file with this program."""
        found = []
        if self._several_turns and to in ALL_TURNS:
            found.append(
                f"{self._several_turns} rows have several assistant turns, and only the last was "
                "scored: LLaMA-Factory trains on it alone with mask_history: true; in axolotl set "
                "the field `train` of the earlier turns to false"
            )
        if self._out_of_turn and to in BY_TURNS:
            found.append(
                f"{self._out_of_turn} rows do not alternate between user and assistant, such as "
                f"example {self._first_out_of_turn}: LLaMA-Factory leaves them out with a warning "
                "in its log; --to trl and --to axolotl keep them"
            )
        if self.chosen != "selected":
            found.append(f"{self.chosen} is a null: a set chosen without the student")
        return found

    @property
    def path(self) -> Path:
        """Beside the file: train.jsonl has train.card.md."""
        return self.file.with_name(f"{self.file.stem}.card.md")

    def write(self) -> Path:
        """Write the card; call it when all rows have passed."""
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
    """The student whose scores decided, which need not be the one that read the run last.

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
    """The last part of a model's name: a card is published, a folder's place is not."""
    return Path(str(model)).name if model else None


def _inputs(manifest: Mapping[str, Any]) -> dict[str, str]:
    return {Path(name).name: digest for name, digest in manifest.get("inputs", {}).items()}


def _licences(sources: Iterable[str], teachers: Iterable[str]) -> Iterator[str]:
    """One line to fill in for every source and teacher: a licence cannot be found out here."""
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
