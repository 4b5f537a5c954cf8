"""What a client may ask for, and how long it may take; no other client pays for one that asks for more."""

import asyncio
import io
import time
from dataclasses import dataclass
from math import inf

from fastapi import HTTPException
from PIL import Image
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zslcore.datasets.image_files import KINDS


@dataclass(frozen=True)
class Limits:
    """bytes: of a request's body. pixels: of a picture. seconds: to send a request, and again to wait for its answer.

    waiting: pictures in the queue. classes: that one request may describe. label_spaces: that are remembered.
    """

    bytes: int = 20 * 2**20
    pixels: int = 50_000_000
    seconds: float = 30.0
    waiting: int = 256
    classes: int = 200
    label_spaces: int = 16


CLOSE = {"Connection": "close"}
"""The rest of a body is not read."""


def too_large(what: str) -> HTTPException:
    """413."""
    return HTTPException(413, what, CLOSE)


def busy(why: str) -> HTTPException:
    """503, try again in a second."""
    return HTTPException(503, f"{why}; try again", {"Retry-After": "1"})


def check_pixels(content: bytes, limits: Limits) -> None:
    """Raise 413 for a picture of too many pixels, by its header. One that cannot be opened passes."""
    pixels = 0.0
    try:
        with Image.open(io.BytesIO(content), formats=KINDS) as image:
            pixels = image.width * image.height
    except Image.DecompressionBombError:
        pixels = inf
    except Exception:  # Pillow's readers of broken files raise what they like
        return
    if pixels > limits.pixels:
        raise too_large(f"a picture of more than {limits.pixels:,} pixels; scale it down")


class LimitedBodies:
    """Middleware that ends a request whose body is too large (413) or arrives too slowly (408)."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app, self.limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what arrives, counted."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        deadline, complete = time.monotonic() + self.limits.seconds, False
        declared = dict(scope["headers"]).get(b"content-length", b"")
        arrived, expected = 0, int(declared) if declared.isdigit() else 0

        async def next_part() -> Message:
            nonlocal complete
            message = await asyncio.wait_for(receive(), max(deadline - time.monotonic(), 0))
            complete = not message.get("more_body")
            return message

        async def counted() -> Message:
            nonlocal arrived
            if complete:
                return await receive()
            try:
                message = await next_part()
                arrived += len(message.get("body", b""))
                if max(arrived, expected) > self.limits.bytes:
                    while not complete:  # most clients read no answer before they have sent everything
                        await next_part()
                    raise too_large(f"more than {self.limits.bytes:,} bytes, which are all that is read")
            except TimeoutError as error:
                slow = f"the body did not arrive within {self.limits.seconds:g} seconds"
                raise HTTPException(408, slow, CLOSE) from error
            return message

        return await self.app(scope, counted, send)
