"""The sandbox as one Starlette application: the platform, its token hosts, its controls."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette

from service.sandbox.answers import EXCEPTION_HANDLERS
from service.sandbox.api import PublicApi
from service.sandbox.control import Control
from service.sandbox.edits import Edits
from service.sandbox.notifier import Notifier
from service.sandbox.oauth import TokenHosts
from service.sandbox.platform import Platform


def create_app(platform: Platform) -> Starlette:
    """Serve a platform over HTTP."""
    notifier = Notifier(platform)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with notifier:
            yield

    return Starlette(
        routes=[
            *PublicApi(platform).routes(),
            *TokenHosts(platform).routes(),
            *Control(platform).routes(),
            *Edits(platform, notifier).routes(),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=lifespan,
    )
