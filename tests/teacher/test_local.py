"""Tests of the teacher in this process, with a tiny model made on the spot."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tutelage.errors import SettingsError, TeacherError  # noqa: E402
from tutelage.teacher import (  # noqa: E402
    Journal,
    LocalTeacher,
    Request,
    TeacherSettings,
    local,
    open_teacher,
)
from tutelage.teacher.local import LocalModel, _choose, _choose_rows  # noqa: E402

RequestFor = Callable[..., Request]
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of random weights whose tokens are characters, and which ends now and then."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from tokenizers.decoders import Fuse

    path = tmp_path_factory.mktemp("tiny") / "tiny-teacher"
    letters = ["<end>", *(chr(c) for c in range(32, 127))]
    raw = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    raw.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    raw.decoder = Fuse()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=raw)
    tokenizer.eos_token = letters[0]
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(path)
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=len(letters),
        n_positions=64,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=0.6,
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(path)
    return path


def ask(teacher: Any, *requests: Request) -> list[Any]:
    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(teacher.ask(r) for r in requests), return_exceptions=True)

    return asyncio.run(all_of_them())


@pytest.fixture(scope="module")
def teacher(folder: Path) -> LocalTeacher:
    return LocalTeacher(TeacherSettings(kind="local", model=str(folder), concurrency=4))


def requests_of(request_for: RequestFor) -> list[Request]:
    return [
        request_for(
            "hello there"[: 2 + seed % 7],
            model="tiny-teacher",
            seed=seed if seed % 5 else None,
            temperature=[0.0, 0.7, 1.0][seed % 3],
            top_p=[1.0, 0.8][seed % 2],
            max_tokens=1 + seed,
        )
        for seed in range(12)
    ]


def test_the_same_request_gets_the_same_text_in_any_company(
    teacher: LocalTeacher, request_for: RequestFor
) -> None:
    requests = requests_of(request_for)
    together = ask(teacher, *requests)
    backwards = ask(teacher, *reversed(requests))
    alone = [ask(teacher, r)[0] for r in requests]
    for others in (reversed(backwards), alone):
        for reply, other in zip(together, others, strict=True):
            assert replace(reply, seconds=0.0) == replace(other, seconds=0.0)
    assert [r.request_key for r in together] == [r.key for r in requests]


def test_greedy_replies_are_those_of_transformers(
    teacher: LocalTeacher, folder: Path, request_for: RequestFor
) -> None:
    request = request_for("abc", max_tokens=12)
    (reply,) = ask(teacher, request)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    ids = tokenizer("<user>abc<assistant>", return_tensors="pt", add_special_tokens=False)
    out = model.generate(**ids, max_new_tokens=12, do_sample=False, pad_token_id=0)
    new = out[0, ids["input_ids"].shape[1] :].tolist()
    new = new[: new.index(0)] if 0 in new else new
    assert reply.text == tokenizer.decode(new)
    assert reply.prompt_tokens == len("<user>abc<assistant>")


def test_a_reply_ends_by_itself_or_at_its_limit(
    teacher: LocalTeacher, request_for: RequestFor
) -> None:
    replies = ask(
        teacher, *(request_for(seed=s, temperature=1.5, max_tokens=20) for s in range(40))
    )
    kinds = Counter(r.finish_reason for r in replies)
    assert kinds.keys() == {"stop", "length"}
    for reply in replies:
        if reply.finish_reason == "length":
            assert reply.completion_tokens == 20 == len(reply.text)
        else:
            assert reply.completion_tokens == len(reply.text) + 1  # and the token that ends it


def test_another_seed_gives_another_text(teacher: LocalTeacher, request_for: RequestFor) -> None:
    replies = ask(teacher, *(request_for(seed=s, temperature=1.0) for s in range(8)))
    assert len({r.text for r in replies}) > 4


def test_a_teacher_that_cannot_be_found_is_an_error_without_a_request_to_the_hub(
    request_for: RequestFor,
) -> None:
    unknown = LocalTeacher(TeacherSettings(kind="local", model="no-such-teacher"))
    (error,) = ask(unknown, request_for())
    assert isinstance(error, SettingsError)
    assert str(error).startswith("teacher 'no-such-teacher' is neither a folder nor")
    assert "smollm2-135m" in str(error.hint)


@pytest.mark.parametrize("device", ["gpu", "nn", "cuda:x", "cuda:-1", "auto:1", "cuda:99"])
def test_a_device_that_does_not_exist_is_an_error(
    device: str, folder: Path, request_for: RequestFor
) -> None:
    settings = TeacherSettings(kind="local", model=str(folder), device=device)
    (error,) = ask(LocalTeacher(settings), request_for())
    assert isinstance(error, SettingsError)
    assert str(error).startswith(f"device '{device}'")


@pytest.mark.parametrize("fast", [True, False])
def test_a_processor_that_is_slow_in_bfloat16_computes_in_float32(
    *, fast: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "cpu_multiplies_bfloat16", lambda: fast)
    saved = tmp_path / "saved"
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    model.to(torch.bfloat16).save_pretrained(saved)
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(saved)
    settings = TeacherSettings(kind="local", model=str(saved), device="cpu")
    dtype = local.load_local_model(settings)._model.dtype
    assert dtype == (torch.bfloat16 if fast else torch.float32)


def test_a_prompt_that_does_not_fit_fails_alone(
    teacher: LocalTeacher, request_for: RequestFor
) -> None:
    long, short = ask(teacher, request_for("x" * 60), request_for("x"))
    assert isinstance(long, TeacherError)
    assert "64 positions" in str(long)
    assert short.text is not None


def test_a_batch_that_does_not_fit_into_memory_is_halved(
    folder: Path, request_for: RequestFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate = LocalModel._generate

    def small(self: LocalModel, requests: Any, prompts: Any) -> Any:
        if len(requests) > 1 or "big" in requests[0].messages[0].content:
            raise torch.OutOfMemoryError("no room")
        return generate(self, requests, prompts)

    monkeypatch.setattr(LocalModel, "_generate", small)
    teacher = LocalTeacher(TeacherSettings(kind="local", model=str(folder)))
    outcomes = ask(teacher, request_for("a"), request_for("big"), request_for("b"))
    assert [type(o).__name__ for o in outcomes] == ["Reply", "TeacherError", "Reply"]
    assert "not enough memory" in str(outcomes[1])


def test_an_interrupted_batch_ends_at_once(
    teacher: LocalTeacher, request_for: RequestFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(teacher, request_for())  # the model is loaded
    tokens: list[int] = []
    choose = local._choose

    def slow(*args: Any, **kwargs: Any) -> int:
        tokens.append(1)
        time.sleep(0.05)
        return max(1, choose(*args, **kwargs))  # never ends by itself

    monkeypatch.setattr(local, "_choose", slow)

    async def scene() -> None:
        asking = asyncio.create_task(teacher.ask(request_for("x", max_tokens=40)))
        await asyncio.sleep(0.2)
        asking.cancel()

    asyncio.run(scene())  # waits for the thread
    assert 1 <= len(tokens) < 20


def test_the_sampler_follows_the_distribution() -> None:
    scores_V = torch.tensor([0.5, 0.2, 0.3]).log()
    request = Request(model="m", messages=_turn(), temperature=1.0)
    draws = [0.0, 0.49, 0.51, 0.79, 0.81, 0.999999]
    chosen = [_choose(scores_V, request=request, quantile=draw) for draw in draws]
    assert chosen == [0, 0, 2, 2, 1, 1]
    cut = replace(request, top_p=0.7)  # keeps 0.5 and 0.3
    assert [_choose(scores_V, request=cut, quantile=d) for d in (0.62, 0.63, 0.99)] == [0, 2, 2]
    cold = replace(request, temperature=0.5)  # 25 : 4 : 9
    assert [_choose(scores_V, request=cold, quantile=d) for d in (0.65, 0.66, 0.9)] == [0, 2, 1]
    assert _choose(scores_V, request=replace(request, temperature=0.0), quantile=0.99) == 0


def test_sorting_only_the_most_probable_tokens_chooses_the_same_token() -> None:
    generator = torch.Generator().manual_seed(0)
    for spread in (0.0, 0.1, 3.0):  # all equal; hardly any token among the first; peaked
        scores_B_V = torch.randn((300, 1000), generator=generator) * spread
        scores_B_V = scores_B_V.bfloat16().float()  # with many equal scores
        requests = [
            Request(
                model="m",
                messages=_turn(),
                temperature=[0.0, 0.6, 1.0, 1.7][row % 4],
                top_p=[1.0, 0.9, 0.3][row % 3],
            )
            for row in range(len(scores_B_V))
        ]
        quantiles = torch.rand(len(requests), generator=generator).tolist()
        expected = [
            _choose(scores_V, request=request, quantile=quantile)
            for scores_V, request, quantile in zip(scores_B_V, requests, quantiles, strict=True)
        ]
        assert _choose_rows(scores_B_V, requests=requests, quantiles=quantiles) == expected


def test_equal_prompts_are_read_once_and_ended_rows_leave(
    folder: Path, request_for: RequestFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = local.load_local_model(TeacherSettings(kind="local", model=str(folder)))
    monkeypatch.setattr(local, "STRETCH", 4)
    requests = [
        request_for("hello there" if seed % 2 else "hi", seed=seed, temperature=1.0, max_tokens=20)
        for seed in range(16)
    ]
    alone = [model.generate([request])[0] for request in requests]
    read: list[tuple[int, int]] = []

    def record(_module: object, _args: object, given: dict[str, Any]) -> None:
        read.append(tuple(given["input_ids"].shape))

    hook = model._model.register_forward_pre_hook(record, with_kwargs=True)
    together = model.generate(requests)
    hook.remove()
    assert together == alone
    longest = len("<user>hello there<assistant>")
    assert read[0] == (2, longest - 1)  # two different prompts
    assert all(tokens == 1 for _rows, tokens in read[1:])
    rows = [rows for rows, _tokens in read[1:]]
    assert rows == sorted(rows, reverse=True)
    assert rows[0] == 16
    assert rows[-1] < 16


def test_a_cache_whose_rows_cannot_be_selected_is_left_alone(
    folder: Path, request_for: RequestFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = local.load_local_model(TeacherSettings(kind="local", model=str(folder)))
    requests = [request_for("hi", seed=seed, temperature=1.0, max_tokens=20) for seed in range(4)]
    expected = model.generate(requests)
    monkeypatch.setattr(local, "_rows_can_be_selected", lambda _cache: False)
    plain = local.load_local_model(TeacherSettings(kind="local", model=str(folder)))
    assert plain.generate(requests) == expected
    assert plain.generate(requests) == expected  # now known beforehand


def test_logits_that_are_not_finite_are_an_error_not_a_text() -> None:
    request = Request(model="m", messages=_turn(), temperature=0.0)
    with pytest.raises(TeacherError, match="not finite"):
        _choose(torch.tensor([0.0, float("nan")]), request=request, quantile=0.5)


def test_a_model_without_a_chat_template_is_no_teacher(
    folder: Path, tmp_path: Path, request_for: RequestFor
) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    transformers.AutoModelForCausalLM.from_pretrained(folder).save_pretrained(tmp_path)
    (outcome,) = ask(
        LocalTeacher(TeacherSettings(kind="local", model=str(tmp_path))), request_for()
    )
    assert isinstance(outcome, SettingsError)
    assert "chat template" in str(outcome)


def test_a_folder_without_a_model_is_named(tmp_path: Path, request_for: RequestFor) -> None:
    (outcome,) = ask(
        LocalTeacher(TeacherSettings(kind="local", model=str(tmp_path))), request_for()
    )
    assert isinstance(outcome, SettingsError)
    assert str(tmp_path) in str(outcome)


def test_it_opens_by_the_front_door(
    folder: Path, journal: Journal, request_for: RequestFor
) -> None:
    settings = TeacherSettings(kind="local", model=str(folder))
    teacher = open_teacher(settings, journal)
    (reply,) = ask(teacher, request_for(model="tiny-teacher"))
    (again,) = ask(teacher, request_for(model="tiny-teacher"))
    assert again.text == reply.text
    assert again.from_journal


def _turn() -> Any:
    from tutelage.data import Message

    return (Message(role="user", content="x"),)
