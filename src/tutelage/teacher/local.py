"""Teacher in this process: a transformers model that answers in batches.

The same request gets the same text: sampling uses one generator per request, seeded from it, so
it depends neither on the order of the requests nor on which others share the batch. What remains is
rounding: padding moves logits in the last bits, which can turn a near-tie between two tokens,
rarely in float32 and more often in bfloat16.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tutelage.errors import MissingExtraError, SettingsError, TeacherError
from tutelage.teacher.config import TeacherSettings
from tutelage.teacher.protocol import Reply, Request

if TYPE_CHECKING:
    from tutelage.teacher.local_generation import LocalModel


@dataclass(frozen=True, slots=True)
class _Waiting:
    request: Request
    reply: asyncio.Future[Reply]


class LocalTeacher:
    """Teacher that runs a transformers model in this process, loaded with the first request.

    Args:
        settings: `model` is a folder or a name on the hub; `concurrency` is the batch.
    """

    def __init__(self, settings: TeacherSettings) -> None:
        self._settings = settings
        self._model: LocalModel | None = None
        self._waiting: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """Name stored with every candidate that this teacher wrote."""
        return self._settings.teacher_name

    @property
    def supports_schema(self) -> bool:
        """Always false: generation is not constrained."""
        return False

    async def ask(self, request: Request) -> Reply:
        """Answer one request, batched with others that wait at the same time.

        Raises:
            TeacherError: The prompt is too long, or memory does not suffice for it.
            SettingsError: The model cannot be loaded, or has no chat template.
            MissingExtraError: torch and transformers are not installed.
        """
        loop = asyncio.get_running_loop()
        if self._worker is not None and self._worker.get_loop() is not loop:
            self._worker, self._waiting = None, []  # an event loop that ended under us
        waiting = _Waiting(request, loop.create_future())
        self._waiting.append(waiting)
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._work())
        return await waiting.reply

    async def _work(self) -> None:
        await asyncio.sleep(0)  # let the others of this moment join the batch
        while self._waiting:
            size = self._settings.concurrency
            batch, self._waiting = self._waiting[:size], self._waiting[size:]
            batch = [w for w in batch if not w.reply.done()]
            if not batch:
                continue
            try:
                outcomes = await asyncio.to_thread(self._answer, [w.request for w in batch])
            except (SettingsError, MissingExtraError, TeacherError) as error:
                outcomes = [error] * len(batch)
            except BaseException:
                if self._model is not None:
                    self._model.stop()
                for waiting in batch:
                    waiting.reply.cancel()
                raise
            for waiting, outcome in zip(batch, outcomes, strict=True):
                if waiting.reply.done():
                    continue
                if isinstance(outcome, Reply):
                    waiting.reply.set_result(outcome)
                else:
                    waiting.reply.set_exception(outcome)

    def _answer(self, requests: list[Request]) -> list[Reply | Exception]:
        if self._model is None:
            from tutelage.teacher.local_generation import load

            self._model = load(self._settings)
        started = time.monotonic()
        outcomes = self._model.generate(requests)
        seconds = time.monotonic() - started
        return [
            outcome
            if isinstance(outcome, TeacherError)
            else Reply(
                request_key=request.key,
                model=self.name,
                text=outcome.text,
                finish_reason=outcome.finish_reason,
                prompt_tokens=outcome.prompt_tokens,
                completion_tokens=outcome.completion_tokens,
                seconds=seconds,
            )
            for request, outcome in zip(requests, outcomes, strict=True)
        ]
