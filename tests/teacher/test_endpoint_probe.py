"""Tests of finding out what an endpoint can do."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tutelage.errors import TeacherError, TeacherUnreachableError
from tutelage.teacher import Abilities, OpenAITeacher, TeacherSettings

SettingsFor = Callable[..., TeacherSettings]


def probe(settings: TeacherSettings) -> Abilities:
    async def run() -> Abilities:
        teacher = OpenAITeacher(settings, sleep=lambda _: asyncio.sleep(0))
        try:
            return await teacher.probe()
        finally:
            await teacher.close()

    return asyncio.run(run())


def able(_: int, body: dict[str, Any]) -> Any:
    """What a server that does everything would say."""
    text = f"The {body['seed']}" if "seed" in body else "The Rose"
    if "response_format" in body:
        schema = body["response_format"]["json_schema"]["schema"]
        text = json.dumps({"verdict": schema["properties"]["verdict"]["enum"][1]})
    choice: dict[str, Any] = {"message": {"content": text}, "finish_reason": "stop"}
    if body.get("logprobs"):
        choice["logprobs"] = {"content": [{"token": "The", "logprob": -0.5}]}
    return {"choices": [choice] * body.get("n", 1)}


def test_an_able_endpoint_is_found_able(endpoint: Any, settings: SettingsFor) -> None:
    endpoint.script = lambda index, body: endpoint.answer(body=able(index, body))
    assert probe(settings()) == Abilities(schema=True, seed=True, n=True, logprobs=True)
    assert len(endpoint.seen) == 6
    assert all(seen.body["max_tokens"] <= 64 for seen in endpoint.seen)


@pytest.mark.parametrize("text", ['{"verdict": "yes"}', "It rains.", "", "[]", '"quexil"'])
def test_a_200_proves_nothing(endpoint: Any, settings: SettingsFor, text: str) -> None:
    endpoint.answers(endpoint.answer(body=endpoint.good(text)))
    assert probe(settings()) == Abilities(schema=False, seed=False, n=False, logprobs=False)


def test_an_endpoint_that_is_always_random_does_not_respect_a_seed(
    endpoint: Any, settings: SettingsFor
) -> None:
    endpoint.script = lambda index, _: endpoint.answer(body=endpoint.good(f"random {index}"))
    assert not probe(settings()).seed


def test_what_is_rejected_is_not_supported(endpoint: Any, settings: SettingsFor) -> None:
    def script(index: int, body: dict[str, Any]) -> Any:
        refused = {"response_format", "n", "logprobs"} & body.keys()
        return endpoint.answer(status=400) if refused else endpoint.answer(body=able(index, body))

    endpoint.script = script
    assert probe(settings()) == Abilities(schema=False, seed=True, n=False, logprobs=False)


@pytest.mark.parametrize(("status", "kind"), [(401, TeacherError), (500, TeacherUnreachableError)])
def test_an_endpoint_that_cannot_be_asked_is_not_called_unable(
    endpoint: Any, settings: SettingsFor, status: int, kind: type[TeacherError]
) -> None:
    endpoint.answers(endpoint.answer(status=status))
    with pytest.raises(kind, match="could not find out"):
        probe(settings(max_attempts=2))


def test_a_busy_endpoint_is_asked_again(endpoint: Any, settings: SettingsFor) -> None:
    endpoint.script = lambda index, body: (
        endpoint.answer(status=429) if index == 0 else endpoint.answer(body=able(index, body))
    )
    assert probe(settings()).schema
