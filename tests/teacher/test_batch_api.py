"""A provider's batch API: submit, end, come back, collect; and nothing is bought twice."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.teacher.batch_provider import (
    Provider,
    RefusalError,
    bad,
    expired,
    good,
    nothing,
    provider,
)
from tutelage.data import Message
from tutelage.errors import (
    BatchFailedError,
    BatchPendingError,
    BudgetError,
    TeacherError,
    UnusableReplyError,
)
from tutelage.teacher import Journal, Reply, Request, TeacherSettings, batch_api, open_teacher
from tutelage.teacher.journal import JournalBatches, request_from_json
from tutelage.teacher.journal_file import request_to_json

SECRET = "sk-not-a-real-key-" + "0123456789"


@pytest.fixture
def served() -> Iterator[Provider]:
    with provider() as made:
        yield made


def settings(served: Provider, **more: Any) -> TeacherSettings:
    usual = {"model": "m", "base_url": served.url, "supports_schema": "no", "batch": True}
    return TeacherSettings(**{**usual, "max_attempts": 1, **more})


def request(text: str) -> Request:
    return Request(model="m", messages=(Message(role="user", content=text),), max_tokens=10)


def asked(
    wanted: TeacherSettings, journal: Path, *texts: str, run: str | None = "run"
) -> tuple[list[Any], Any]:
    """One command: what came of each request, and the teacher afterwards."""

    async def one() -> tuple[list[Any], Any]:
        with Journal(journal) as opened:
            async with open_teacher(wanted, opened, run=run) as teacher:
                made = [teacher.ask(request(text)) for text in texts]
                outcomes = await asyncio.gather(*made, return_exceptions=True)
            return outcomes, (teacher.waiting, teacher.tally)

    return asyncio.run(one())


def kinds(outcomes: list[Any]) -> list[str]:
    return [o.text if isinstance(o, Reply) else type(o).__name__ for o in outcomes]


PENDING = "BatchPendingError"


def test_a_command_submits_and_the_next_one_collects(served: Provider, tmp_path: Path) -> None:
    journal = tmp_path / "j.sqlite"
    outcomes, (waiting, tally) = asked(settings(served), journal, "a", "b", "a")
    assert kinds(outcomes) == [PENDING] * 3
    assert "2 requests are waiting in batch-0 (in_progress" in waiting
    assert (tally.under_way, tally.failed, tally.answered) == (3, 0, 0)
    outcomes, _ = asked(settings(served), journal, "a", "b")
    assert kinds(outcomes) == [PENDING] * 2
    served.finish(lambda r: good(f"re: {r['body']['messages'][0]['content']}"))
    outcomes, (waiting, tally) = asked(settings(served), journal, "a", "b")
    assert kinds(outcomes) == ["re: a", "re: b"]
    assert waiting is None
    assert (tally.answered, tally.from_journal, tally.prompt_tokens) == (2, 0, 14)
    outcomes, (_, tally) = asked(settings(served), journal, "a", "b")
    assert (tally.answered, tally.from_journal) == (0, 2)
    assert sorted(served.bought) == sorted([request("a").key, request("b").key])
    assert not served.chats


def test_the_lines_of_a_batch_are_the_calls_that_would_have_been_sent(
    served: Provider, tmp_path: Path
) -> None:
    wanted = settings(served, extra_body={"top_k": 3}, omit=("seed",))
    asked(wanted, tmp_path / "j.sqlite", "a")
    (batch,) = served.batches.values()
    (line,) = served.requests(batch)
    assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
    assert line["body"]["messages"] == [{"role": "user", "content": "a"}]
    assert line["body"]["top_k"] == 3
    assert "seed" not in line["body"]
    assert batch["endpoint"] == "/v1/chat/completions"
    assert batch["completion_window"] == "24h"


def test_partial_failures_cost_only_their_requests(served: Provider, tmp_path: Path) -> None:
    journal = tmp_path / "j.sqlite"
    texts = ("good", "bad", "lost", "empty", "inside")
    asked(settings(served), journal, *texts)
    lines = {
        "good": good("yes"),
        "bad": bad(400, "too long"),
        "empty": good(None, finish="content_filter"),
        "inside": {
            "response": {"status_code": 200, "body": {"error": {"message": "x"}}},
            "error": None,
        },
        "lost": None,
    }
    served.finish(lambda r: lines[r["body"]["messages"][0]["content"]])
    outcomes, _ = asked(settings(served), journal, *texts)
    assert kinds(outcomes)[0] == "yes"
    assert isinstance(outcomes[1], BatchFailedError)
    assert "HTTP 400: too long" in str(outcomes[1])
    assert "no answer to this request" in str(outcomes[2])
    assert isinstance(outcomes[3], UnusableReplyError)  # paid for, and not asked again
    assert not isinstance(outcomes[4], Reply)
    assert len(served.batches) == 1  # what failed is asked again by the next command, not by this
    outcomes, _ = asked(settings(served), journal, *texts)
    assert kinds(outcomes) == ["yes", PENDING, PENDING, "UnusableReplyError", PENDING]
    assert served.bought.count(request("good").key) == 1


@pytest.mark.parametrize(
    ("status", "line", "ending"),
    [
        ("expired", expired(), "expired"),
        ("expired", None, "expired"),
        ("cancelled", None, "cancelled"),
        ("failed", None, "failed"),
    ],
)
def test_an_ended_batch_says_how_it_ended(
    served: Provider, tmp_path: Path, status: str, line: Any, ending: str
) -> None:
    journal = tmp_path / "j.sqlite"
    asked(settings(served), journal, "kept", "gone")
    served.finish(
        lambda r: good("yes") if r["body"]["messages"][0]["content"] == "kept" else line,
        status=status,
    )
    outcomes, _ = asked(settings(served), journal, "kept", "gone")
    assert kinds(outcomes) == ["yes", "BatchFailedError"]
    assert outcomes[1].ending == ending
    assert status in str(outcomes[1]) or "batch_expired" in str(outcomes[1])


def test_a_batch_that_the_provider_has_forgotten_is_asked_again(
    served: Provider, tmp_path: Path
) -> None:
    journal = tmp_path / "j.sqlite"
    asked(settings(served), journal, "a")
    served.batches.clear()
    outcomes, _ = asked(settings(served), journal, "a")
    assert kinds(outcomes) == ["BatchFailedError"]
    outcomes, _ = asked(settings(served), journal, "a")
    assert kinds(outcomes) == [PENDING]
    assert len(served.batches) == 1


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("state", ["submitting", "submitted"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_between_two_steps_neither_loses_a_batch_nor_buys_one_twice(
    served: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, when: str
) -> None:
    journal = tmp_path / "j.sqlite"
    note = JournalBatches.note

    async def killed(self: JournalBatches, key: str, **about: Any) -> None:
        if about["state"] != state or when == "after":
            await note(self, key, **about)
        if about["state"] == state:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(JournalBatches, "note", killed)
        with pytest.raises(Killed):
            asked(settings(served), journal, "a", "b")
    outcomes, (waiting, _) = asked(settings(served), journal, "a", "b")
    assert kinds(outcomes) == [PENDING] * 2
    assert waiting.startswith("2 requests are waiting in batch-0")
    served.finish()
    outcomes, _ = asked(settings(served), journal, "a", "b")
    assert kinds(outcomes) == ["yes", "yes"]
    assert sorted(served.bought) == sorted([request("a").key, request("b").key])


def test_a_kill_while_planning_leaves_nothing_that_waits_forever(
    served: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "j.sqlite"

    async def killed(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(batch_api.BatchTeacher, "_send", killed)
        with pytest.raises(Killed):
            asked(settings(served), journal, "a")
    assert not served.batches
    asked(settings(served), journal)  # even a command that asks nothing sends what was planned
    assert served.bought == [request("a").key]


def test_a_kill_while_collecting_keeps_every_reply_and_collects_again(
    served: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "j.sqlite"
    asked(settings(served), journal, "a", "b", "c")
    served.finish()
    keep, kept = Journal.keep, []

    async def killed(self: Journal, of: Request, entry: Any) -> Any:
        if len(kept) == 2:
            raise Killed
        kept.append(of.key)
        return await keep(self, of, entry)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "keep", killed)
        with pytest.raises(Killed):
            asked(settings(served), journal, "a", "b", "c")
    outcomes, _ = asked(settings(served), journal, "a", "b", "c")
    assert kinds(outcomes) == ["yes"] * 3
    assert len(served.batches) == 1


def test_an_answer_that_is_lost_on_the_way_is_looked_up_and_not_sent_again(
    served: Provider, tmp_path: Path
) -> None:
    def lost(method: str, path: str) -> None:
        if (method, path) == ("POST", "/batches"):
            raise ConnectionAbortedError

    served.after, served.page = lost, 1
    with pytest.raises(TeacherError):
        asked(settings(served), tmp_path / "j.sqlite", "a")
    served.after = nothing
    for n in range(3):  # others of the same account, so that ours is on a later page
        served.batches[f"other-{n}"] = {
            "id": f"other-{n}",
            "status": "in_progress",
            "input_file_id": "file-0x",
            "metadata": None,
        }
    asked(settings(served), tmp_path / "j.sqlite", "a")
    ours = [b for b in served.batches.values() if b["input_file_id"] == "file-0"]
    assert len(ours) == 1
    assert served.calls.count("POST /files") == 1


def test_where_batches_cannot_be_listed_an_unsure_one_is_not_sent_again(
    served: Provider, tmp_path: Path
) -> None:
    def lost(method: str, path: str) -> None:
        if (method, path) == ("POST", "/batches"):
            raise ConnectionAbortedError

    def unlisted(method: str, path: str) -> None:
        if method == "GET" and path.startswith("/batches?"):
            raise RefusalError(405, {"error": {"message": "not allowed"}})

    served.after = lost
    with pytest.raises(TeacherError):
        asked(settings(served), tmp_path / "j.sqlite", "a")
    served.after, served.before = nothing, unlisted
    with pytest.raises(TeacherError, match="is not known"):
        asked(settings(served), tmp_path / "j.sqlite", "a")
    assert len(served.batches) == 1


KILLED = """
import asyncio, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.teacher.test_batch_api import request
from tutelage.teacher import Journal, TeacherSettings, open_teacher
async def main():
    settings = TeacherSettings(model="m", base_url={url!r}, supports_schema="no", batch=True)
    with Journal(Path({journal!r})) as journal:
        async with open_teacher(settings, journal, run="run") as teacher:
            await asyncio.gather(*(teacher.ask(request(t)) for t in "ab"), return_exceptions=True)
asyncio.run(main())
"""


def test_a_process_that_is_killed_while_its_batch_is_made_finds_it_again(
    served: Provider, tmp_path: Path
) -> None:
    journal, root = tmp_path / "j.sqlite", str(Path(__file__).parents[2])
    running: list[subprocess.Popen[bytes]] = []

    def kill(method: str, path: str) -> None:
        if (method, path) == ("POST", "/batches"):
            os.kill(running[0].pid, signal.SIGKILL)

    served.after = kill
    script = KILLED.format(root=root, url=served.url, journal=str(journal))
    running.append(subprocess.Popen([sys.executable, "-c", script]))
    assert running[0].wait(120) == -signal.SIGKILL
    served.after = nothing
    outcomes, (waiting, _) = asked(settings(served), journal, "a", "b")
    assert kinds(outcomes) == [PENDING] * 2
    assert "batch-0" in waiting
    assert len(served.batches) == 1


def test_a_request_waits_in_one_batch_whoever_asks_for_it(served: Provider, tmp_path: Path) -> None:
    journal = tmp_path / "j.sqlite"
    asked(settings(served), journal, "a", run="one")
    asked(settings(served), journal, "a", "b", run="other")
    assert sorted(served.bought) == sorted([request("a").key, request("b").key])
    served.finish()
    prices = {"input_per_million": 1e6, "output_per_million": 0}
    wanted = settings(served, prices=prices)
    asked(wanted, journal, run="other")
    with Journal(journal) as opened:  # each run pays for what it asked for, at half the price
        assert opened.spent(run="one", currency="USD") == 7 * 0.5
        assert opened.spent(run="other", currency="USD") == 7 * 0.5


def test_without_batch_what_waits_is_waited_for_and_the_rest_is_asked(
    served: Provider, tmp_path: Path
) -> None:
    journal = tmp_path / "j.sqlite"
    asked(settings(served), journal, "a")
    outcomes, _ = asked(settings(served, batch=False), journal, "a", "b")
    assert kinds(outcomes) == [PENDING, "direct"]
    assert [c["messages"][0]["content"] for c in served.chats] == ["b"]


def test_the_cap_on_cost_holds_for_what_waits(served: Provider, tmp_path: Path) -> None:
    prices = {"input_per_million": 0, "output_per_million": 1e6}  # 10 tokens: 10, half of it: 5
    wanted = settings(served, prices=prices, max_cost=12)
    outcomes, _ = asked(wanted, tmp_path / "j.sqlite", "a", "b", "c")
    assert kinds(outcomes) == [PENDING, PENDING, "BudgetError"]
    outcomes, _ = asked(wanted, tmp_path / "j.sqlite", "a", "c")
    assert [type(o) for o in outcomes] == [BatchPendingError, BudgetError]
    assert len(served.bought) == 2


def test_a_large_set_is_split_into_batches(
    served: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_api, "MOST_REQUESTS", 2)
    asked(settings(served), tmp_path / "j.sqlite", *"abcde")
    assert [len(served.requests(b)) for b in served.batches.values()] == [2, 2, 1]
    monkeypatch.setattr(batch_api, "MOST_BYTES", 1)
    asked(settings(served), tmp_path / "j.sqlite", *"xy")
    assert len(served.batches) == 5


def test_the_key_is_sent_and_stands_nowhere(
    served: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEACHER_KEY", SECRET)
    wanted = settings(served, api_key_env="TEACHER_KEY")
    asked(wanted, tmp_path / "j.sqlite", "a", "b")
    said = {"a": good(f"your key is {SECRET}"), "b": bad(400, f"Bearer {SECRET}")}
    served.finish(lambda r: said[r["body"]["messages"][0]["content"]])
    outcomes, _ = asked(wanted, tmp_path / "j.sqlite", "a", "b")
    assert all(
        h.get("Authorization", h.get("authorization")) == f"Bearer {SECRET}" for h in served.headers
    )
    assert outcomes[0].text == "your key is [key]"
    assert SECRET not in str(outcomes[1])
    for path in tmp_path.iterdir():
        assert SECRET.encode() not in path.read_bytes(), path


def test_a_stored_request_has_the_same_key() -> None:
    whole = Request(
        model="m",
        messages=(Message(role="system", content="s"), Message(role="user", content="ü\n")),
        temperature=0.7,
        top_p=0.9,
        max_tokens=7,
        seed=3,
        schema={"type": "object"},
        extra={"top_k": 3},
        omit=("seed",),
    )
    assert request_from_json(request_to_json(whole)).key == whole.key


@pytest.mark.parametrize("kind", ["local", "replay"])
def test_only_an_endpoint_has_a_batch_api(kind: str) -> None:
    with pytest.raises(ValueError, match="has no batch API"):
        TeacherSettings(model="m", kind=kind, batch=True)  # type: ignore[arg-type]
