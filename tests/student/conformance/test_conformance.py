"""Every template and every kind of row: what is scored is what is trained on, or has a status.

`expected.json` lists for each template the rows with a status, and all that TRL's mask of prompt
and completion covers beyond the target. `python -m tests.student.conformance.test_conformance`
writes it, and docs/conformance-templates.md, from what is found.
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.student.conformance.checks import Checked, Setup, check_row, check_turns
from tests.student.conformance.conversations import ROWS, Row
from tests.student.conformance.families import FAMILIES
from tutelage.errors import DataError
from tutelage.student.template_sandbox import TEMPLATE_ERRORS

EXPECTED = Path(__file__).with_name("expected.json")
MOST_STATUSES = 0.30
"""The largest share of rows with a status, unless `LIMITED` says why it is larger."""
MOST_UNREVERSED = 0.12
"""The largest share of rows whose response is scored and whose instruction is not."""
LIMITED = {
    "system needed": 0.90,  # refuses every row without a system prompt
    "mistral v0.2": 0.35,  # refuse system prompts, tools and turns that do not alternate
    "mistral v0.3": 0.35,
    "trl gemma": 0.35,
    "trl gemma_training": 0.35,
}


@cache
def expected() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(EXPECTED.read_text(encoding="utf-8"))
    return found


@cache
def setup_of(name: str) -> Setup:
    return Setup(sources()[name])


@cache
def sources() -> dict[str, str]:
    """Our own imitations, and the templates inside TRL where it is installed."""
    found = dict(FAMILIES)
    for file in trl_templates():
        found[f"trl {file.stem}"] = file.read_text(encoding="utf-8")
    return found


def trl_templates() -> list[Path]:
    from importlib.util import find_spec

    spec = find_spec("trl")
    if spec is None or spec.origin is None:
        return []
    return sorted((Path(spec.origin).parent / "chat_templates").glob("*.jinja"))


def summary(name: str) -> dict[str, Any]:
    checked = {row: check_row(setup_of(name), value) for row, value in ROWS.items()}
    return {
        "statuses": {row: c.status for row, c in checked.items() if c.status != "ok"},
        "reverse": {row: c.reverse for row, c in checked.items() if c.reverse != "ok"},
        "straddles": [row for row, c in checked.items() if c.straddles],
        "between": _texts(checked, "between"),
        "end": _texts(checked, "end"),
    }


def _texts(checked: dict[str, Checked], field: str) -> list[str]:
    return sorted({getattr(c, field) for c in checked.values() if c.status == "ok"} - {""})


def assert_as_expected(name: str) -> None:
    found = summary(name)
    limit = LIMITED.get(name, MOST_STATUSES)
    assert len(found["statuses"]) <= limit * len(ROWS), found["statuses"]
    assert len(found["reverse"]) <= MOST_UNREVERSED * len(ROWS), found["reverse"]
    if name in expected():  # another version of TRL may have templates that are not listed
        assert found == {key: expected()[name][key] for key in found}
    else:
        assert name.startswith("trl ")


@pytest.mark.parametrize("name", list(FAMILIES))
def test_what_is_scored_is_what_is_trained_on(name):
    assert_as_expected(name)


_PLAIN = [f"trl {file.stem}" for file in trl_templates() if "_training" not in file.stem]
_TRAINING = [f"trl {file.stem}" for file in trl_templates() if "_training" in file.stem]


@pytest.mark.parametrize("name", _PLAIN)
def test_templates_inside_trl_are_scored_as_they_are_trained(name):
    assert_as_expected(name)


@pytest.mark.conformance
@pytest.mark.parametrize("name", _TRAINING)
def test_training_templates_inside_trl_are_scored_as_they_are_trained(name):
    assert_as_expected(name)


@pytest.mark.conformance
@pytest.mark.parametrize("name", _TRAINING)
def test_all_turns_are_what_the_assistant_mask_covers(name):
    assert turns_beyond(name) == expected()[name]["turns"]


def turns_beyond(name: str) -> dict[str, list[str]]:
    """What TRL's mask of assistant turns covers beyond our targets, and the rows we do not read."""
    setup = setup_of(name)
    beyond: set[str] = set()
    statuses: list[str] = []
    for row, value in ROWS.items():
        found = check_turns(setup, value)
        if isinstance(found, str):
            statuses.append(f"{row}: {found}")
        else:
            beyond |= set(found)
    return {"beyond": sorted(beyond - {""}), "statuses": sorted(statuses)}


_TRAINABLE = [*FAMILIES, *_PLAIN]
OWN, REFUSED = "its own", "refused"


@pytest.mark.conformance
@pytest.mark.parametrize("name", _TRAINABLE)
def test_what_trl_trains_with_for_messages(name):
    pytest.importorskip("trl")
    if name in expected():
        assert trained_with(name) == expected()[name]["messages"]


def trained_with(name: str) -> dict[str, Any]:
    """The template that TRL takes for `assistant_only_loss`, and the rows that it changes.

    Its own where that marks what the assistant wrote, another one that TRL has for it, or none.
    """
    from trl.chat_template_utils import get_training_chat_template, has_generation_markers

    if has_generation_markers(sources()[name]):
        return {"template": OWN, "differs": []}
    setup = setup_of(name)
    try:
        patched = get_training_chat_template(setup.tokenizer)
    except ValueError:
        return {"template": REFUSED, "differs": []}
    other = next(key for key, source in sources().items() if source == patched)
    differs = [row for row, value in ROWS.items() if _changed(setup, setup_of(other), value)]
    return {"template": other.removeprefix("trl "), "differs": differs}


def _changed(setup: Setup, other: Setup, row: Row) -> bool:
    """Whether a row that is scored is rendered otherwise, up to the end of the response."""
    try:
        rendered = setup.template.render(row.messages, len(row.messages) - 1, tools=row.tools)
        text = other.trained_text(row)
    except (*TEMPLATE_ERRORS, DataError):
        return False
    return not text.startswith(rendered.context + rendered.target)


def test_there_are_enough_kinds_of_rows_and_families():
    assert len(ROWS) >= 20
    assert len(FAMILIES) >= 20


def _report(found: dict[str, Any]) -> Iterator[str]:
    yield "# Chat templates: the last result of `make conformance`\n"
    yield (
        f"This page shows how {len(ROWS)} kinds of rows are handled under each of {len(found)} "
        "chat templates. `make conformance` tests this and writes the page.\n"
    )
    yield (
        "A row is either scored exactly as `apply_chat_template` renders it for training, or it "
        "gets a status instead of a score. *Exactly* means that the text and the token ids are "
        "equal, and so are the headers of the turns in both views of a response. The reverse view "
        "(the instruction given the response) is compared in the same way with a conversation "
        "of its own.\n"
    )
    yield (
        "* **template**: `trl NAME` is a template from the TRL package; the others are short "
        "imitations of the templates of model families."
    )
    yield "* **scored**: the number of kinds that are scored."
    yield "* **not scored**: the status of every other kind."
    yield (
        "* **between**, **end**: text that TRL trains on in addition to our target if it masks "
        "only the prompt (`completion_only_loss`): between the prompt and the target, and after "
        "the target.\n"
    )
    yield "| template | scored | not scored | between | end |"
    yield "|---|---|---|---|---|"
    for name, entry in found.items():
        statuses: dict[str, list[str]] = {}
        for row, status in entry["statuses"].items():
            statuses.setdefault(status, []).append(row)
        told = "; ".join(f"`{s}`: {', '.join(rows)}" for s, rows in sorted(statuses.items()))
        shown = [
            ", ".join(f"`{json.dumps(t, ensure_ascii=False)[1:-1]}`" for t in entry[field])
            for field in ("between", "end")
        ]
        scored = len(ROWS) - len(entry["statuses"])
        cells = [name, f"{scored}/{len(ROWS)}", told, *shown]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield "\n## Messages: the template that TRL uses\n"
    yield (
        "With `assistant_only_loss`, TRL needs a template that marks the assistant's text. If the "
        "template of the model does this, TRL uses it. Otherwise TRL replaces it with one of its "
        "own training templates, or refuses if it has none for this template. If the training "
        "template renders a row differently, the student is trained on a different text from the "
        "one that was scored. In this case, score with the training template "
        "(`--template FILE`).\n"
    )
    refused = [name for name, entry in found.items() if _messages(entry) == REFUSED]
    yield f"TRL refuses these {len(refused)} templates: {', '.join(refused)}.\n"
    yield "| template | TRL trains with | kinds of rows rendered differently |"
    yield "|---|---|---|"
    for name, entry in found.items():
        if _messages(entry) not in (None, REFUSED):
            cells = [name, _messages(entry), ", ".join(entry["messages"]["differs"])]
            yield "| " + " | ".join(str(cell) for cell in cells) + " |"
    yield "\n## All assistant turns\n"
    yield (
        "This table is about `--turns all`, where every assistant turn is a target. It shows, for "
        "TRL's own training templates, the text that TRL's `assistant_only_loss` trains on in "
        "addition to our targets, and the kinds of rows that are not scored.\n"
    )
    yield "| template | additional text | not scored |"
    yield "|---|---|---|"
    for name, entry in found.items():
        if "turns" in entry:
            beyond = ", ".join(
                f"`{json.dumps(t, ensure_ascii=False)[1:-1]}`" for t in entry["turns"]["beyond"]
            )
            cells = [name, beyond, "; ".join(entry["turns"]["statuses"])]
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _messages(entry: dict[str, Any]) -> str | None:
    told = entry.get("messages")
    return None if told is None else str(told["template"])


def write_results() -> None:
    found = {name: summary(name) for name in sources()}
    for name in _TRAINABLE:
        found[name]["messages"] = trained_with(name)
    for name in _TRAINING:
        found[name]["turns"] = turns_beyond(name)
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    EXPECTED.write_text(text, encoding="utf-8")
    docs = Path(__file__).parents[3] / "docs" / "conformance-templates.md"
    docs.write_text("\n".join(_report(found)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_results()
