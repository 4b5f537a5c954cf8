"""`zsl serve`: a model file behind HTTP, with a page to try it on."""

from pathlib import Path
from typing import Annotated

import typer

from zslcore.errors import ZSLError
from zslcore.model.model import Model

from .common import TrustedBackbone, Weights, say
from .predict import CACHE


def command(
    model: Annotated[Path, typer.Argument(help="A model file, as `zsl package` writes it.")],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0: on every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: a free one.", min=0, max=65535)] = 8000,
    weights: Weights = None,
    backbone: TrustedBackbone = None,
    token: Annotated[
        str | None, typer.Option(envvar="ZSL_TOKEN", help="What clients have to show, as a bearer token.")
    ] = None,
) -> None:
    """Name pictures over HTTP, and on a page for people; stops on Ctrl-C and SIGTERM."""
    try:
        from zslcore.serving.app import create
        from zslcore.serving.server import listen, serve
    except ImportError as error:
        raise ZSLError(f"`zsl serve` needs more packages ({error}); pip install 'zslcore[serve]'") from error
    listening = listen(host, port)
    app = create(Model.load(model, weights, backbone, CACHE), token or None)
    say(f"{model} on http://{host}:{listening.getsockname()[1]} (stop with Ctrl-C)")
    serve(app, listening)
