"""The contract with a vLLM server: what is sent, what is understood, what is refused."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from tutelage.data import VIEW_NAMES
from tutelage.errors import SettingsError, StudentError
from tutelage.student import StudentSettings, open_student


class Server(ThreadingHTTPServer):
    """Answers as vLLM does; the log-probability of a token is minus its id / 100, its rank its id.

    Attributes:
        asked: The bodies of completions.
        change: Applied to the answer before it is sent.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[dict[str, Any]] = []
        self.limit: int | None = 4096
        self.change: Any = lambda answer: answer
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


def measured(token: int) -> dict[str, Any]:
    return {str(token): {"logprob": -token / 100, "rank": token, "decoded_token": "?"}}


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        assert self.path == "/v1/models"
        self.answer({"data": [{"id": "served", "max_model_len": self.server.limit}]})

    def do_POST(self) -> None:
        assert self.path == "/v1/completions"
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        choices = [
            {"index": n, "text": "", "prompt_logprobs": [None, *map(measured, prompt[1:])]}
            for n, prompt in enumerate(body["prompt"])
        ]
        choices.reverse()  # the order is in the index, not in the list
        self.answer(self.server.change({"choices": choices}))

    def answer(self, value: Any) -> None:
        text = json.dumps(value).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def student_of(server, tiny_llama):
    def opened(**more):
        settings = StudentSettings(
            model=str(tiny_llama), backend="vllm", base_url=server.url, dtype="float32", **more
        )
        return open_student(settings)

    return opened


def test_token_ids_are_sent_and_their_own_numbers_are_read(server, student_of, some_candidates):
    student = student_of(use_cache=False)
    readings = list(student.read(some_candidates, views=VIEW_NAMES, statistics="ranks"))
    for candidate, reading in zip(some_candidates, readings, strict=True):
        ids_T = student.targets(candidate, "response").ids_T
        for view in ("response", "response_given_instruction"):
            stats = reading.views[view]
            np.testing.assert_allclose(stats.logprobs_T, -ids_T / 100, rtol=1e-6)
            assert stats.ranks_T.tolist() == np.clip(ids_T, 1, 100).tolist()
            assert stats.entropies_T is None
    (body,) = server.asked
    assert body["model"] == "served"
    assert body["prompt_logprobs"] == 0
    assert all(isinstance(token, int) for prompt in body["prompt"] for token in prompt)
    assert student.describe()["engine"] == "vllm"


def test_what_was_read_is_not_asked_for_again(server, student_of, some_candidates, tmp_path):
    for _ in range(2):
        student = student_of(cache_path=tmp_path / "cache.sqlite")
        readings = list(student.read(some_candidates, views=VIEW_NAMES, statistics="ranks"))
        student.close()
    assert len(server.asked) == 1
    assert readings[0].views["response"].ranks_T is not None


def test_its_readings_do_not_mix_with_those_of_another_backend(student_of, tiny_llama):
    local = open_student(StudentSettings(model=str(tiny_llama), dtype="float32"))
    assert student_of().parts.scope.model != local.parts.scope.model
    assert student_of().fingerprint == local.fingerprint


def test_the_distribution_cannot_be_had_and_that_is_said_first(server, student_of, some_candidates):
    with pytest.raises(SettingsError, match="entropies and sums of squares cannot be had"):
        next(student_of(use_cache=False).read(some_candidates, views=VIEW_NAMES, statistics="full"))
    assert not server.asked


def without(answer, name):
    return {"choices": [{k: v for k, v in c.items() if k != name} for c in answer["choices"]]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: without(a, "prompt_logprobs"), "without prompt_logprobs"),
        (
            lambda a: {"choices": [{**c, "prompt_logprobs": None} for c in a["choices"]]},
            "without prompt_logprobs",
        ),
        (lambda a: {"choices": a["choices"][1:]}, "does not measure the tokens"),
        (
            lambda a: {
                "choices": [
                    {
                        **c,
                        "prompt_logprobs": [None] + [measured(7)] * (len(c["prompt_logprobs"]) - 1),
                    }
                    for c in a["choices"]
                ]
            },
            "measured other tokens",
        ),
    ],
)
def test_a_server_that_answers_something_else_is_not_trusted(
    server, student_of, some_candidates, change, message
):
    server.change = change
    with pytest.raises(StudentError, match=message):
        list(student_of(use_cache=False).read(some_candidates, views=VIEW_NAMES))


def test_a_refusal_of_the_server_is_shown(server, student_of, some_candidates):
    student = student_of(use_cache=False)
    student.parts.engine()
    server.status = 400
    with pytest.raises(StudentError, match="answered 400"):
        list(student.read(some_candidates, views=VIEW_NAMES))


def test_a_text_that_the_server_cannot_take_is_said_before_anything_is_sent(
    server, student_of, some_candidates
):
    server.limit = 20
    with pytest.raises(StudentError, match="the server takes 19") as caught:
        list(student_of(use_cache=False).read(some_candidates, views=VIEW_NAMES))
    assert "--max-length 19" in caught.value.hint
    assert not server.asked


def test_long_lists_are_sent_in_several_requests(server, student_of, some_candidates):
    student = student_of(use_cache=False, batch_tokens=8)
    assert len(list(student.read(some_candidates, views=VIEW_NAMES))) == len(some_candidates)
    sizes = [sum(map(len, body["prompt"])) for body in server.asked]
    assert len(sizes) > 1
    assert all(
        size <= 8 * 16 or len(b["prompt"]) == 1 for size, b in zip(sizes, server.asked, strict=True)
    )


def test_a_number_that_is_not_finite_is_a_status(server, student_of, some_candidates):
    def broken(answer):
        for choice in answer["choices"]:
            for token in choice["prompt_logprobs"][1:]:
                for entry in token.values():
                    entry["logprob"] = float("-inf")
        return answer

    server.change = broken
    readings = list(student_of(use_cache=False).read(some_candidates, views=VIEW_NAMES))
    assert {reading.reason for reading in readings} == {"nonfinite"}


def test_a_server_that_is_not_there_is_named(tiny_llama, some_candidates):
    settings = StudentSettings(
        model=str(tiny_llama), backend="vllm", base_url="http://127.0.0.1:9/v1", dtype="float32"
    )
    with pytest.raises(StudentError, match=":9/v1: cannot be reached"):
        list(open_student(settings).read(some_candidates, views=VIEW_NAMES))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"backend": "vllm", "dtype": "float32"}, "belong together"),
        ({"base_url": "http://127.0.0.1:9/v1"}, "belong together"),
        ({"backend": "vllm", "base_url": "http://127.0.0.1:9/v1"}, "its own flag --dtype"),
        ({"backend": "vllm", "base_url": "127.0.0.1:9", "dtype": "float32"}, "base_url"),
    ],
)
def test_settings_say_what_the_server_computes_in(more, message):
    with pytest.raises(ValueError, match=message):
        StudentSettings(model="m", **more)
