"""Teacher behind an endpoint with the OpenAI chat API."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from tutelage.data.redaction import Redactor
from tutelage.errors import SettingsError, TeacherError, TeacherUnreachableError, UnusableReplyError
from tutelage.teacher import openai_format
from tutelage.teacher.config import TeacherSettings
from tutelage.teacher.endpoint_probe import PROBE_TOKENS, Abilities, obeys_schema, probe
from tutelage.teacher.http_errors import Failed
from tutelage.teacher.protocol import Reply, Request
from tutelage.teacher.retry import Circuit, Pace, attempts

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI


# The HTTP client of a teacher: follows no redirect to a stranger and reads no endless reply.


MOST_REPLY_BYTES = 16 * 2**20
"""Most bytes of a decompressed reply. 100,000 tokens in the longest spelling of JSON have 2 MB."""

MOST_ERROR_BYTES = 64 * 2**10
"""Most bytes of an error's body that are read."""


MOST_REDIRECTS = 4
"""Most redirects of one request, all on the same host."""


class RedirectError(Exception):
    """The server sends the request on to where it must not go, or in a way that loses its body."""


_LOSING_BODY = (301, 302, 303)
"""Redirects after which a POST is sent again as a GET, without what it asked."""


class ReplyTooLargeError(Exception):
    """The reply is larger than `MOST_REPLY_BYTES`."""


MOST_FILE_BYTES = 2 * 2**30
"""Most bytes of a batch's file of replies."""


def new_client(*, most_bytes: int = MOST_REPLY_BYTES) -> "httpx2.AsyncClient":
    """HTTP client with the limits of the `openai` library and our two checks.

    Args:
        most_bytes: Most bytes of one reply.
    """
    import openai

    read = partial(read_bounded, most_bytes=most_bytes)
    client = openai.DefaultAsyncHttpxClient(
        event_hooks={"request": [], "response": [refuse_strangers, read]}
    )
    client.max_redirects = MOST_REDIRECTS
    return client


async def refuse_strangers(response: "httpx2.Response") -> None:
    """Refuse a redirect to another scheme, host or port, and one that loses the request.

    Raises:
        RedirectError: It is one.
    """
    if not response.has_redirect_location:
        return
    asked = response.request.url
    told = asked.join(response.headers["location"])
    if (told.scheme, told.host, told.port) != (asked.scheme, asked.host, asked.port):
        port = f":{told.port}" if told.port is not None else ""
        raise RedirectError(f"redirects to another host ({told.scheme}://{told.host}{port})")
    if response.request.method == "POST" and response.status_code in _LOSING_BODY:
        raise RedirectError(
            f"redirects to {told.path} (HTTP {response.status_code}), where a request would arrive "
            "without its body"
        )


async def read_bounded(response: "httpx2.Response", *, most_bytes: int = MOST_REPLY_BYTES) -> None:
    """Read the body up to a limit.

    Args:
        response: The response, before anything of it is read.
        most_bytes: Most bytes of a success.

    Raises:
        ReplyTooLargeError: A success has a larger one. Of an error the beginning is kept.
    """
    if response.has_redirect_location:
        return
    parts: list[bytes] = []
    size = 0
    most = most_bytes if response.is_success else MOST_ERROR_BYTES
    async for part in response.aiter_bytes(chunk_size=2**16):
        parts.append(part)
        size += len(part)
        if size > most:
            break
    if size > most:
        await response.aclose()
        if response.is_success:
            raise ReplyTooLargeError(f"a reply of more than {most_bytes / 2**20:g} MB")
    # What `aread` would have set; there is no public way to hand over a body that was read.
    response._content = b"".join(parts)[:most]  # noqa: SLF001


OPENAI_URL = "https://api.openai.com/v1"
OPENAI_KEY = "OPENAI_API_KEY"
CONNECT_SECONDS = 30.0
NO_KEY = "none"
"""Placeholder key, so that a key in the environment is never sent to another endpoint."""

OnRetry: TypeAlias = Callable[[Request, TeacherError], Awaitable[None]]


class OpenAITeacher:
    """Teacher behind an OpenAI-compatible endpoint, with rate limit, retries and a circuit breaker.

    Connections belong to the event loop in which they were made; under another loop new ones are
    made. The `openai` library is imported with the first request.

    Args:
        settings: Settings of the teacher.
        supports_schema: Whether it obeys JSON schemas; None where that is still to be found out,
            which `open` does.
        on_retry: Told of every failed attempt after which another one follows.
        http_client: Another transport, for tests and for proxies.
        sleep: How to wait between attempts.
        most_bytes: Most bytes of one reply, or of one file of replies.

    Raises:
        SettingsError: The environment variable that should hold the key is not set.
    """

    def __init__(
        self,
        settings: TeacherSettings,
        *,
        supports_schema: bool | None = None,
        on_retry: OnRetry | None = None,
        http_client: "httpx2.AsyncClient | None" = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        most_bytes: int = MOST_REPLY_BYTES,
    ) -> None:
        self._most_bytes = most_bytes
        self.settings = settings
        self.endpoint = endpoint_of(settings)
        self._supports_schema = supports_schema
        self._on_retry = on_retry
        self._http_client = http_client
        self._sleep = sleep
        self._key = key_of(settings)
        self._redactor = Redactor(self._key)
        self._circuit = Circuit(concurrency=settings.concurrency)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: AsyncOpenAI | None = None
        self._pace = Pace(settings)

    def __repr__(self) -> str:
        return f"OpenAITeacher({self.name!r} at {self.endpoint})"

    @property
    def name(self) -> str:
        """Name stored with every candidate that this teacher wrote."""
        return self.settings.teacher_name

    @property
    def supports_schema(self) -> bool:
        """Whether a request may carry a JSON schema that the endpoint enforces."""
        return bool(self._supports_schema)

    async def open(self) -> None:
        """Detect whether the endpoint enforces JSON schemas, unless that is known.

        Raises:
            TeacherError: The endpoint could not be asked.
        """
        if self._supports_schema is None:
            self._supports_schema = await obeys_schema(self._post_probe)

    async def probe(self) -> Abilities:
        """Detect the endpoint's capabilities; sends six short requests.

        Raises:
            TeacherError: The endpoint could not be asked.
        """
        return await probe(self._post_probe)

    async def ask(self, request: Request) -> Reply:
        """Answer one request, with as many attempts as the settings allow.

        Raises:
            TeacherError: No reply could be had.
            TeacherStoppedError: Too many before it could not be answered either.
        """
        self._enter_loop()
        self._circuit.check()

        async def attempt() -> Reply | Failed:
            async with self._pace.turn(request):
                self._circuit.check()
                outcome = await self.attempt(request)
            if isinstance(outcome, Failed) and outcome.wait_seconds:
                self._pause(outcome.wait_seconds)
            return outcome

        async def before_retry(failed: Failed) -> None:
            if self._on_retry is not None:
                await self._on_retry(request, failed.error)

        outcome = await attempts(
            attempt, settings=self.settings, before_retry=before_retry, sleep=self._sleep
        )
        self._circuit.saw(outcome)
        if not isinstance(outcome, Failed):
            return outcome  # paid for, and kept even where another request has stopped the asking
        if not isinstance(outcome.error, UnusableReplyError):
            self._circuit.check()
        raise outcome.error

    async def attempt(self, request: Request) -> Reply | Failed:
        """Send a request once and return its outcome; server errors are returned, not raised."""
        started = time.monotonic()
        answer = await self.post(
            openai_format.body_of(request, self.settings) | dict(request.extra or {})
        )
        if isinstance(answer, Failed):
            return answer
        seconds = time.monotonic() - started
        return openai_format.reply_of(answer, request, seconds=seconds, place=self.endpoint)

    async def post(self, body: dict[str, object]) -> dict[str, object] | Failed:
        """Send a JSON body to `/chat/completions` once.

        Returns:
            The JSON object that came, or the failure. Neither contains the key.
        """
        response = await self._send(body)
        if isinstance(response, Failed):
            return response
        if len(response.content) > MOST_REPLY_BYTES:  # a client of the caller's own has no limit
            return self._too_large(f"a reply of {len(response.content):,} bytes")
        # A server may repeat the key it was sent; nothing behind this line has seen it.
        parsed = openai_format.parse_body(
            response.content, place=self.endpoint, redactor=self._redactor
        )
        if isinstance(parsed, Failed):
            return parsed
        within = openai_format.failure_within(
            parsed,
            _headers_of(response),
            place=self.endpoint,
            settings=self.settings,
            sent=body.keys(),
        )
        return within or parsed

    async def call(
        self, method: Literal["GET", "POST"], path: str, body: dict[str, object] | None = None
    ) -> dict[str, object] | Failed:
        """Send one request to another path of the endpoint, such as `/batches`.

        A GET is attempted as often as the settings allow; a POST once, since one whose answer was
        lost may have been obeyed.

        Args:
            method: GET or POST.
            path: Below `base_url`, with its query.
            body: The JSON object of a POST.
        """

        async def attempt() -> dict[str, object] | Failed:
            client = self._open_client()
            if method == "GET":
                response = await self._received(client.get(path, **self._arguments()))
            else:
                sent = client.post(path, body=body, **self._arguments())
                response = await self._received(sent, sent=(body or {}).keys())
            return response if isinstance(response, Failed) else self._parsed(response, {})

        self._enter_loop()
        if method == "POST":
            return await attempt()
        return await attempts(attempt, settings=self.settings, sleep=self._sleep)

    async def upload(self, data: bytes, *, name: str) -> dict[str, object] | Failed:
        """Upload the file of a batch; uploading it twice does no harm.

        Args:
            data: Its lines.
            name: What the provider calls it.
        """

        async def attempt() -> dict[str, object] | Failed:
            response = await self._received(
                self._open_client().post(
                    "/files",
                    body={"purpose": "batch"},
                    files={"file": (name, data, "application/jsonl")},
                    **self._arguments({"Content-Type": "multipart/form-data"}),
                )
            )
            return response if isinstance(response, Failed) else self._parsed(response, {})

        self._enter_loop()
        return await attempts(attempt, settings=self.settings, sleep=self._sleep)

    async def download(self, file_id: str) -> list[dict[str, object]]:
        """JSON objects of a file of replies, with the key removed.

        Args:
            file_id: As the provider names the file.

        Raises:
            TeacherError: It cannot be had.
        """
        path = f"/files/{file_id}/content"

        async def attempt() -> bytes | Failed:
            sent = self._open_client().get(path, **self._arguments())
            response = await self._received(sent)
            return response if isinstance(response, Failed) else response.content

        self._enter_loop()
        found = await attempts(attempt, settings=self.settings, sleep=self._sleep)
        if isinstance(found, Failed):
            raise found.error
        lines = (line for line in found.splitlines() if line.strip())
        parsed = (
            openai_format.parse_body(line, place=self.endpoint, redactor=self._redactor)
            for line in lines
        )
        return [line for line in parsed if not isinstance(line, Failed)]

    def _parsed(
        self, response: "httpx2.Response", sent: Mapping[str, object]
    ) -> dict[str, object] | Failed:
        parsed = openai_format.parse_body(
            response.content, place=self.endpoint, redactor=self._redactor
        )
        if isinstance(parsed, Failed):
            return parsed
        if parsed.get("object") in ("batch", "file", "list"):
            return parsed  # a batch may hold the errors of its requests
        within = openai_format.failure_within(
            parsed,
            _headers_of(response),
            place=self.endpoint,
            settings=self.settings,
            sent=sent.keys(),
        )
        return within or parsed

    async def _send(self, body: dict[str, object]) -> "httpx2.Response | Failed":

        self._enter_loop()
        sent = self._open_client().post("/chat/completions", body=body, **self._arguments())
        return await self._received(sent, sent=body.keys())

    async def _received(
        self, sending: Awaitable["httpx2.Response"], *, sent: Collection[str] = ()
    ) -> "httpx2.Response | Failed":
        import httpx2
        import openai

        # Failures are values here, not exceptions raised from the library's own: those hold the
        # request with its headers, and so the key.
        try:
            async with asyncio.timeout(self.settings.timeout_seconds):
                return await sending
        except openai.APIStatusError as error:
            return openai_format.failure_of(
                error.status_code,
                _headers_of(error.response),
                error.response.content,
                place=self.endpoint,
                settings=self.settings,
                sent=sent,
                redactor=self._redactor,
            )
        except ReplyTooLargeError as error:
            return self._too_large(str(error))
        except (openai.APITimeoutError, TimeoutError):
            return self._unreachable(
                f"no reply within {self.settings.timeout_seconds:g} s",
                hint="raise timeout_seconds, or lower concurrency or max_tokens",
            )
        except (openai.APIConnectionError, httpx2.HTTPError, httpx2.StreamError) as error:
            root = error.__cause__ or error
            if not isinstance(root, httpx2.TooManyRedirects):
                hint = f"check that the server runs and base_url ({self.endpoint})"
                return self._unreachable(_root_of(error), hint=hint)
            said = f"redirects in a circle, {MOST_REDIRECTS} times"
        except (RedirectError, httpx2.InvalidURL, UnicodeError, openai.OpenAIError) as error:
            said = self._redactor.text(str(error))
        return Failed(
            error=TeacherError(
                f"{self.endpoint}: {said}",
                hint="check base_url: give the address that answers itself; nothing is sent to "
                "the one a server redirects to",
            )
        )

    async def _post_probe(self, body: dict[str, object]) -> dict[str, object] | Failed:
        limit = {self.settings.max_tokens_field: PROBE_TOKENS}
        kept = {name: value for name, value in body.items() if name not in self.settings.omit}
        whole = {"model": self.settings.model} | limit | kept | dict(self.settings.extra_body)

        async def attempt() -> dict[str, object] | Failed:
            return await self.post(whole)

        return await attempts(attempt, settings=self.settings, sleep=self._sleep)

    async def close(self) -> None:
        """Close the connections to the endpoint."""
        client, self._client = self._client, None
        if client is not None and self._http_client is None:
            await client.close()

    def _enter_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            self._client = None
            self._pace = Pace(self.settings)

    def _open_client(self) -> "AsyncOpenAI":
        if self._client is None:
            import httpx2
            import openai

            address = urlsplit(self.endpoint)
            self._client = openai.AsyncOpenAI(
                api_key=self._key or NO_KEY,
                base_url=urlunsplit(address._replace(query="")),
                default_query=dict(parse_qsl(address.query, keep_blank_values=True)),
                max_retries=0,  # there is one retry policy, and it is ours
                timeout=httpx2.Timeout(
                    self.settings.timeout_seconds,
                    connect=min(CONNECT_SECONDS, self.settings.timeout_seconds),
                ),
                http_client=self._http_client or new_client(most_bytes=self._most_bytes),
            )
            if self.settings.base_url is not None:
                # The library takes these from the environment; they are no stranger's business.
                self._client.organization = self._client.project = None
                self._client._custom_headers = {}  # noqa: SLF001  (there is no other way; tested)
        return self._client

    def _arguments(self, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Arguments of every call: the type that comes back, and headers, one with the key."""
        import httpx2
        import openai

        sent: dict[str, object] = dict(headers or {})
        if self._key is not None and self.settings.key_header.lower() != "authorization":
            sent |= {"Authorization": openai.Omit(), self.settings.key_header: self._key}
        return {"cast_to": httpx2.Response, "options": {"headers": sent}}

    def _pause(self, seconds: float) -> None:
        """Delay all requests, not only the one that was rejected."""
        if seconds <= self.settings.max_wait_seconds:
            self._pace.pause(seconds)

    def _unreachable(self, why: str, *, hint: str) -> Failed:
        return Failed(
            error=TeacherUnreachableError(f"{self.endpoint}: {self._redactor.text(why)}", hint=hint)
        )

    def _too_large(self, what: str) -> Failed:
        error = UnusableReplyError(
            f"{self.endpoint}: {what}, which is not read to its end",
            hint="lower max_tokens; a reply of this size is not an answer of the chat API",
        )
        return Failed(error=error, status=200)


def _headers_of(response: "httpx2.Response") -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def key_of(settings: TeacherSettings) -> str | None:
    """API key from the environment, or None where none is to be sent.

    Raises:
        SettingsError: The variable is not set, or holds what cannot be a key. Its value is not
            shown.
    """
    name = settings.api_key_env
    if name is None:
        if settings.base_url is not None:
            return None
        name = OPENAI_KEY
    key = os.environ.get(name, "").strip()
    if not key:
        raise SettingsError(
            f"the environment variable {name} is not set",
            hint=f"export {name}=..., or set api_key_env to the name of another variable",
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise SettingsError(
            f"the environment variable {name} does not hold a key",
            hint="a key is one word of plain letters, digits and signs",
        )
    return key


def endpoint_of(settings: TeacherSettings) -> str:
    """Address of the endpoint, which never contains a secret."""
    return settings.base_url or OPENAI_URL


def _root_of(error: BaseException) -> str:
    """Root cause of an exception, such as a refused connection."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
