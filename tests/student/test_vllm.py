"""The contract with a vLLM server: what is sent, what is understood, what is refused."""

import json
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.loopback_server import JsonHandler, served
from tutelage.data import VIEW_NAMES
from tutelage.errors import MissingExtraError, SettingsError, StudentError
from tutelage.student import StudentSettings, open_student
from tutelage.student.engine_vllm import VllmClient


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
        self.keys: list[str | None] = []
        self.models: list[dict[str, Any]] | None = None
        self.meeting: threading.Barrier | None = None
        self.most: int | None = None
        self.refusal: tuple[int, str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


def measured(token: int) -> dict[str, Any]:
    return {str(token): {"logprob": -token / 100, "rank": token, "decoded_token": "?"}}


class Handler(JsonHandler):
    server: Server

    def obey(self, method: str, data: bytes) -> None:
        if method == "GET":
            assert self.path == "/v1/models"
            only = {"id": "served", "max_model_len": self.server.limit}
            return self.send(self.server.status, {"data": self.server.models or [only]})
        assert self.path == "/v1/completions"
        body = json.loads(data)
        self.server.asked.append(body)
        self.server.keys.append(self.headers["Authorization"])
        if self.server.meeting is not None:
            self.server.meeting.wait(20)
        most, refusal = self.server.most, self.server.refusal
        if most is not None and refusal and max(map(len, body["prompt"])) > most:
            return self.send(refusal[0], {"error": {"message": refusal[1]}})
        choices = [
            {"index": n, "text": "", "prompt_logprobs": [None, *map(measured, prompt[1:])]}
            for n, prompt in enumerate(body["prompt"])
        ]
        choices.reverse()  # the order is in the index, not in the list
        return self.send(self.server.status, self.server.change({"choices": choices}))


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    with served(running):
        yield running


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
    assert server.keys == [None]
    assert readings[0].views["response"].ranks_T is not None


def test_its_readings_do_not_mix_with_those_of_another_backend(student_of, tiny_llama):
    local = open_student(StudentSettings(model=str(tiny_llama), dtype="float32"))
    assert student_of().parts.scope.model != local.parts.scope.model
    assert student_of().fingerprint == local.fingerprint


def test_the_distribution_cannot_be_had_and_that_is_said_first(server, student_of, some_candidates):
    with pytest.raises(SettingsError, match="entropies and sums of squares are not available"):
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
        (lambda a: {"choices": a["choices"][1:]}, "does not return log-probabilities"),
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


def test_a_text_that_the_server_cannot_take_costs_that_row_alone(
    server, student_of, some_candidates
):
    server.limit = 60
    readings = list(student_of(use_cache=False).read(some_candidates, views=VIEW_NAMES))
    assert [getattr(r, "reason", "ok") for r in readings].count("too_long") == 1
    assert "the server takes 59" in next(r.detail for r in readings if hasattr(r, "detail"))
    longest = max(len(prompt) for body in server.asked for prompt in body["prompt"])
    assert longest < 60


@pytest.mark.parametrize("status", [400, 413])
def test_a_limit_that_the_server_only_tells_when_it_refuses_costs_those_rows_alone(
    server, student_of, some_candidates, status
):
    server.limit = None
    server.most = 60
    server.refusal = (status, "This model's maximum context length is 60 tokens")
    readings = list(student_of(use_cache=False).read(some_candidates, views=VIEW_NAMES))
    assert [getattr(r, "reason", "ok") for r in readings].count("too_long") == 1


def test_several_requests_are_under_way_at_the_same_time(server, student_of, some_candidates):
    rows = [some_candidates[0], *some_candidates[2:]]
    student = student_of(use_cache=False, batch_tokens=1, requests_in_flight=3)
    student.parts.engine()
    server.meeting = threading.Barrier(3)
    readings = list(student.read(rows, views=["response"]))
    assert not server.meeting.broken
    one = student_of(use_cache=False, requests_in_flight=1)
    server.meeting = None
    for a, b in zip(readings, one.read(rows, views=["response"]), strict=True):
        np.testing.assert_array_equal(
            a.views["response"].logprobs_T, b.views["response"].logprobs_T
        )


@pytest.mark.parametrize(
    "value", [-9999.0, -1e4, -1e30, -3.4028234663852886e38, -1000.0, None, "-Infinity", "NaN", 5.0]
)
def test_what_stands_in_for_minus_infinity_is_no_number(server, student_of, some_candidates, value):
    def clamped(answer):
        for choice in answer["choices"]:
            for entry in choice["prompt_logprobs"][-1].values():
                entry["logprob"] = value
        return answer

    server.change = clamped
    readings = list(student_of(use_cache=False).read(some_candidates, views=VIEW_NAMES))
    assert {reading.reason for reading in readings} == {"nonfinite"}


def test_a_token_of_which_a_server_says_nothing_has_no_number(server, student_of, some_candidates):
    def holed(answer):
        for choice in answer["choices"]:
            choice["prompt_logprobs"][-1] = None
        return answer

    server.change = holed
    readings = list(student_of(use_cache=False).read(some_candidates[:1], views=["response"]))
    assert {reading.reason for reading in readings} == {"nonfinite"}


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8000/v1",
        "http://",
        "http://127.0.0.1:99999/v1",
        "http://127.0.0.1:abc/v1",
        "http://[::1/v1",
        "http://a b/v1",
        "http://a\nb/v1",
        f"http://{'a' * 70}.x/v1",
    ],
)
def test_what_is_no_address_is_an_error_that_shows_one(url):
    with pytest.raises(StudentError, match="not the address of a server") as caught:
        VllmClient(url)
    assert "http://127.0.0.1:8000/v1" in caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_server_without_ranks_gives_log_probabilities_alone(server, student_of, some_candidates):
    def unranked(answer):
        for choice in answer["choices"]:
            for token in choice["prompt_logprobs"][1:]:
                for entry in token.values():
                    del entry["rank"]
        return answer

    server.change = unranked
    student = student_of(use_cache=False)
    (reading, *_) = student.read(some_candidates, views=VIEW_NAMES)
    assert reading.views["response"].ranks_T is None
    with pytest.raises(StudentError, match="returns no ranks"):
        list(student.read(some_candidates, views=VIEW_NAMES, statistics="ranks"))


KEY = "sk-very-secret-0123456789"


def test_the_key_is_sent_and_never_shown(
    server, student_of, some_candidates, monkeypatch, tmp_path
):
    monkeypatch.setenv("STUDENT_KEY", KEY)
    student = student_of(api_key_env="STUDENT_KEY", cache_path=tmp_path / "cache.sqlite")
    list(student.read(some_candidates, views=VIEW_NAMES))
    assert set(server.keys) == {f"Bearer {KEY}"}
    refused = student_of(api_key_env="STUDENT_KEY", use_cache=False)
    refused.parts.engine()
    server.status, server.change = 401, lambda _: {"error": f"the key {KEY} is wrong"}
    with pytest.raises(StudentError) as caught:
        list(refused.read(some_candidates, views=VIEW_NAMES))
    shown = [str(caught.value), str(student.describe())]
    shown.append(student.parts.settings.model_dump_json())
    assert not any(KEY in text for text in shown)
    assert "[key]" in str(caught.value)
    assert "api_key_env" in caught.value.hint
    student.close()
    assert KEY.encode() not in (tmp_path / "cache.sqlite").read_bytes()


def test_a_key_that_is_not_set_is_an_error_with_its_name(student_of, monkeypatch):
    monkeypatch.delenv("STUDENT_KEY", raising=False)
    with pytest.raises(StudentError, match="STUDENT_KEY is not set"):
        student_of(api_key_env="STUDENT_KEY").parts.engine()


def test_a_key_in_place_of_its_name_is_refused_without_showing_it(student_of):
    with pytest.raises(ValueError, match="NAME of an environment variable") as caught:
        student_of(api_key_env=KEY)
    assert KEY not in str(caught.value)


def test_the_student_is_chosen_among_several_models(server, student_of, tiny_llama):
    server.models = [{"id": "base"}, {"id": "adapter"}]
    with pytest.raises(StudentError, match=r"serves 2 models \(base, adapter\)") as caught:
        student_of().parts.engine()
    assert "served_model" in caught.value.hint
    with pytest.raises(StudentError, match="does not serve 'other', but base, adapter"):
        student_of(served_model="other").parts.engine()
    chosen = student_of(served_model="adapter")
    assert chosen.parts.engine()._served.name == "adapter"
    assert chosen.parts.scope.model != student_of(served_model="base").parts.scope.model
    server.models = [{"id": "first"}, {"id": "second", "root": str(tiny_llama)}]
    assert student_of().parts.engine()._served.name == "second"


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
        model=str(tiny_llama),
        backend="vllm",
        base_url="http://127.0.0.1:9/v1",
        dtype="float32",
        use_cache=False,
    )
    with pytest.raises(StudentError, match=":9/v1: cannot be reached"):
        list(open_student(settings).read(some_candidates, views=VIEW_NAMES))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"backend": "vllm", "dtype": "float32"}, "belong together"),
        ({"base_url": "http://127.0.0.1:9/v1"}, "belong together"),
        ({"backend": "vllm", "base_url": "http://127.0.0.1:9/v1"}, "with which the server"),
        ({"backend": "vllm", "base_url": "127.0.0.1:9", "dtype": "float32"}, "base_url"),
    ],
)
def test_settings_say_what_the_server_computes_in(more, message):
    with pytest.raises(ValueError, match=message):
        StudentSettings(model="m", **more)


class Llm:
    """A stand-in for `vllm.LLM`; measures as `Server` does."""

    made: dict[str, Any]
    asked: list[Any]

    def __init__(self, **arguments: Any) -> None:
        type(self).made, type(self).asked = arguments, []

    def generate(self, prompts: Any, sampling: Any, *, use_tqdm: bool) -> Any:
        assert not use_tqdm
        self.asked.append(([p["prompt_token_ids"] for p in prompts], sampling))
        return [SimpleNamespace(prompt_logprobs=self.measured(p)) for p in prompts]

    @staticmethod
    def measured(prompt: Any) -> Any:
        ids = prompt["prompt_token_ids"]
        found = [{t: SimpleNamespace(logprob=-t / 100, rank=t)} for t in ids[1:]]
        return [None, *found]


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> type[Llm]:
    fake = type("Fake", (Llm,), {})
    module = SimpleNamespace(LLM=fake, SamplingParams=lambda **values: values)
    monkeypatch.setitem(sys.modules, "vllm", module)
    return fake


def offline(tiny_llama, **more):
    settings = {"backend": "vllm-offline", "dtype": "float16", "use_cache": False, **more}
    return open_student(StudentSettings(model=str(tiny_llama), **settings))


def test_vllm_in_process_reads_what_a_server_reads(vllm, tiny_llama, student_of, some_candidates):
    views = {"views": VIEW_NAMES, "statistics": "ranks"}
    student = offline(tiny_llama, tensor_parallel=2)
    served = student_of(use_cache=False).read(some_candidates, **views)
    for found, expected in zip(student.read(some_candidates, **views), served, strict=True):
        for view in VIEW_NAMES:
            assert np.array_equal(found.views[view].logprobs_T, expected.views[view].logprobs_T)
            assert np.array_equal(found.views[view].ranks_T, expected.views[view].ranks_T)
    assert vllm.made["tensor_parallel_size"] == 2
    assert vllm.made["dtype"] == "float16"
    ((_, sampling),) = vllm.asked
    assert sampling == {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
    assert student.describe()["engine"] == "vllm-offline"


def test_vllm_in_process_does_not_give_the_distribution(vllm, tiny_llama, some_candidates):
    with pytest.raises(SettingsError, match="not the distribution"):
        offline(tiny_llama).read(some_candidates, views=VIEW_NAMES, statistics="full")


def test_vllm_that_cannot_load_says_what_to_change(vllm, tiny_llama, some_candidates):
    def fails(self, **_):
        raise ValueError("No available memory for the cache blocks.")

    vllm.__init__ = fails
    with pytest.raises(StudentError, match="cache blocks") as raised:
        list(offline(tiny_llama).read(some_candidates, views=VIEW_NAMES))
    assert "gpu_memory_fraction" in raised.value.hint


def test_without_vllm_the_extra_is_named(tiny_llama, some_candidates, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtraError, match="needs vLLM"):
        list(offline(tiny_llama).read(some_candidates, views=VIEW_NAMES))


def test_settings_of_vllm_in_process_are_checked():
    with pytest.raises(ValueError, match="belong together"):
        StudentSettings(model="x", backend="vllm-offline", base_url="http://127.0.0.1:1/v1")
    with pytest.raises(ValueError, match="vllm-offline"):
        StudentSettings(model="x", tensor_parallel=2)
    with pytest.raises(ValueError, match="device_map"):
        StudentSettings(model="x", backend="packed", device_map="auto")


@pytest.mark.parametrize("wrap", [str, json.dumps, lambda key: b64encode(key.encode()).decode()])
def test_a_server_that_repeats_the_key_does_not_get_it_into_an_error_or_a_name(
    wrap: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sk-student-" + "0123456789"
    monkeypatch.setenv("STUDENT_KEY", key)
    client = VllmClient("http://127.0.0.1:9/v1", api_key_env="STUDENT_KEY")
    said = str(client._refused("/models", 401, f"x{' ' * 490}{wrap(key)} end".encode()))
    assert "0123456789" not in said
    assert wrap(key)[:12] not in said
    answer = {"data": [{"id": f"model {wrap(key)}"}, {"id": "b"}]}
    monkeypatch.setattr(client, "_ask", lambda *_: answer)
    with pytest.raises(StudentError) as caught:
        client.served(wanted="c", student="s")
    assert "[key]" in str(caught.value)
    assert wrap(key) not in str(caught.value)
