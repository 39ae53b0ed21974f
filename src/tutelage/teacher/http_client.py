"""The HTTP client of a teacher: follows no redirect to a stranger and reads no endless reply."""

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2

MOST_REPLY_BYTES = 16 * 2**20
"""Of one reply, after decompression. 100,000 tokens in the longest spelling of JSON have 2 MB."""

MOST_ERROR_BYTES = 64 * 2**10
"""Of an error's body; the rest is not read."""


class RedirectError(Exception):
    """The server sends the request on to another host, which must not get the key or the data."""


class ReplyTooLargeError(Exception):
    """The reply is larger than `MOST_REPLY_BYTES`."""


MOST_FILE_BYTES = 2 * 2**30
"""Of the file of a batch's replies."""


def new_client(*, most_bytes: int = MOST_REPLY_BYTES) -> "httpx2.AsyncClient":
    """A client with the limits of the `openai` library and our two checks.

    Args:
        most_bytes: Of one reply.
    """
    import openai

    read = partial(read_bounded, most_bytes=most_bytes)
    return openai.DefaultAsyncHttpxClient(
        event_hooks={"request": [], "response": [refuse_strangers, read]}
    )


async def refuse_strangers(response: "httpx2.Response") -> None:
    """Refuse a redirect to another scheme, host or port.

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


async def read_bounded(response: "httpx2.Response", *, most_bytes: int = MOST_REPLY_BYTES) -> None:
    """Read the body, up to a limit.

    Args:
        response: Of which nothing was read.
        most_bytes: Of a success.

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
