"""The web application: a picture in, names out; classes in, a label space out; and the page that uses both."""

import base64
import hashlib
import re
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect
from swagger_ui_bundle import swagger_ui_path

from zslcore.errors import ZSLError, unknown
from zslcore.features.images import BadImage
from zslcore.features.network import Network
from zslcore.model.model import Model
from zslcore.serving import bodies
from zslcore.serving.label_spaces import LabelSpaces
from zslcore.serving.limits import LimitedBodies, Limits, too_large
from zslcore.serving.metrics import Measured, Metrics
from zslcore.serving.namer import Namer

PAGE = Path(__file__).with_name("page.html")
FORM = "multipart/form-data"


Body = TypeVar("Body", bound=BaseModel)


class Asked(NamedTuple):
    """A picture's file, what is asked of it, and whether the answer is to be the Hugging Face task's."""

    content: bytes
    options: bodies.Options
    as_task: bool = False


def create(
    model: Model, token: str | None = None, limits: Limits | None = None, network: Network | None = None
) -> FastAPI:
    """The application of a model.

    token: what clients have to show, `Authorization: Bearer TOKEN`, for all but the page and `/health`; None: nothing.
    limits: None: the usual ones. network: that looks at pictures; None: the model's. Raises ZSLError for a model
    without one.
    """
    limits = limits or Limits()
    namer = Namer(model, limits, network)
    namer.warm(model)
    spaces, metrics = LabelSpaces(model, namer, limits), Metrics()
    metrics.waiting.set_function(lambda: namer.pending)
    namer.batches.observe = metrics.batch.observe

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        namer.close()

    app = FastAPI(title=f"zsl: {model.name}", version=version("zslcore"), lifespan=life, docs_url=None, redoc_url=None)
    app.openapi_version = "3.0.3"  # the last that the OpenAPI page's program reads
    app.add_middleware(LimitedBodies, limits=limits)
    app.add_middleware(Measured, metrics=metrics)
    app.mount("/swagger", StaticFiles(directory=swagger_ui_path))
    about = bodies.Known(
        model=model.name,
        classes=list(model.classes),
        seen=model.seen.tolist(),
        attributes=_attributes(model),
        explains=namer.explains(model),
        locates=namer.locates(model),
    )
    guarded = [Depends(_guard(token))] if token else []
    page, policy = _page()

    @app.exception_handler(ZSLError)
    @app.exception_handler(BadImage)
    async def refuse(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 422)

    @app.exception_handler(ClientDisconnect)
    async def left(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=499)  # nobody reads it; without it, each would leave a traceback

    @app.exception_handler(RequestValidationError)
    async def explain(request: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"detail": _problems(error.errors())}, 422)

    @app.get("/", include_in_schema=False)
    async def show() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url="swagger/swagger-ui-bundle.js",
            swagger_css_url="swagger/swagger-ui.css",
            swagger_favicon_url="swagger/favicon-32x32.png",
            swagger_ui_parameters={"validatorUrl": None},
        )

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Whether the server answers, and what it serves."""
        return {"status": "ok", "model": model.name, "classes": len(model.classes)}

    @app.get("/metrics", dependencies=guarded)
    async def figures() -> Response:
        """Figures for Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/classes", dependencies=guarded)
    async def known() -> bodies.Known:
        """The classes, and the attributes that describe them."""
        return about

    @app.get("/classes/{name:path}", dependencies=guarded)
    async def signature(name: str) -> dict[str, float]:
        """The description of a class: each attribute's value."""
        if name not in model.classes:
            raise HTTPException(404, str(unknown("class", name, model.classes, most=10)))
        return dict(zip(model.attributes, model.described[model.classes.index(name)].tolist(), strict=True))

    @app.post("/classes", dependencies=guarded)
    async def describe(new: bodies.NewClasses) -> bodies.LabelSpace:
        """Describe classes of which the model has seen no picture.

        They compete where a request of `/predict` names the label space that is returned. The same classes have the
        same label space; one that was not used for long is forgotten (404): describe it again.
        """
        if len(new.classes) > limits.classes:
            raise too_large(f"{len(new.classes)} classes; at most {limits.classes} in one request")
        name = await spaces.add(new.classes, new.replace)
        return bodies.LabelSpace(label_space=name, classes=list(spaces[name].classes))

    body = {kind: {"schema": schema} for kind, schema in _schemas().items()}

    @app.post(
        "/predict",
        dependencies=guarded,
        response_model=bodies.Answer | list[bodies.Label],
        openapi_extra={"requestBody": {"required": True, "content": body}},
        responses={
            408: {"description": "the picture arrived too slowly"},
            413: {"description": "too many bytes or pixels"},
            422: {"description": "no picture, or a question that the model does not understand"},
            503: {"description": "too busy, try again"},
        },
    )
    async def predict(request: Request) -> JSONResponse:
        """Name a picture: a form with a file, JSON, or the Hugging Face task zero-shot-image-classification."""
        asked = await _asked(request)
        space = asked.options.label_space
        try:
            chosen = spaces[space]
        except KeyError as error:
            raise HTTPException(
                404, f"no label space '{space}': it was forgotten; describe its classes again"
            ) from error
        prediction = await namer(asked.content, chosen, asked.options.question())
        return JSONResponse(bodies.labels(prediction) if asked.as_task else bodies.answer(prediction, model.name))

    return app


async def _asked(request: Request) -> Asked:
    """What a request asks. Raises HTTPException (415, 422)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == FORM:
        async with request.form(max_files=1, max_fields=1000) as form:
            file = form.get("image")
            if not isinstance(file, UploadFile):
                raise HTTPException(422, "no file in the field 'image'")
            fields: dict[str, Any] = {name: form[name] for name in form if name != "image"}
            if "among" in form and (form["among"] not in ("all", "seen", "unseen") or len(form.getlist("among")) > 1):
                fields["among"] = form.getlist("among")
            return Asked(await file.read(), _checked(bodies.Options, fields))
    if kind != "application/json":
        raise HTTPException(415, f"a body of type '{kind}'; send {FORM} with a file 'image', or application/json")
    try:
        given = await request.json()
    except (ValueError, RecursionError) as error:
        raise HTTPException(422, "the body is not JSON") from error
    if isinstance(given, dict) and "inputs" in given:
        task = _checked(bodies.ZeroShotImageClassification, given)
        among = task.parameters.candidate_labels
        everything = bodies.Options.model_construct(top=1000, among="all" if among is None else among)
        return Asked(bodies.picture_bytes(task.inputs), everything, as_task=True)
    picture = _checked(bodies.Picture, given)
    return Asked(bodies.picture_bytes(picture.image), picture)


def _checked(kind: type[Body], given: Any) -> Body:
    """What was sent, as a model. Raises 422 that says what is wrong."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise HTTPException(422, _problems(error.errors())) from error


def _problems(errors: Sequence[Any]) -> str:
    """What is wrong with a body, without what was sent: there may be a picture in it."""
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in errors[:5])


def _guard(token: str) -> Any:
    bearer = HTTPBearer(auto_error=False)

    def check(shown: HTTPAuthorizationCredentials | None = Depends(bearer)) -> None:  # noqa: B008
        if shown is None or not secrets.compare_digest(shown.credentials.encode(), token.encode()):
            raise HTTPException(401, "a token is needed: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})

    return check


def _attributes(model: Model) -> list[bodies.Attribute]:
    low, high = model.described.min(axis=0).tolist(), model.described.max(axis=0).tolist()
    graded = [len(np.unique(column)) > 2 for column in model.described.T]
    rows = zip(model.attributes, low, high, graded, strict=True)
    return [bodies.Attribute(name=name, low=least, high=most, graded=many) for name, least, most, many in rows]


def _schemas() -> dict[str, Any]:
    """The bodies of `/predict` for the OpenAPI page, by content type."""
    form = bodies.Options.model_json_schema()
    form["properties"] = {"image": {"type": "string", "format": "binary"}, **form["properties"]}
    form["required"] = ["image"]
    # self-contained: definitions stand next to the schema that refers to them
    task = bodies.ZeroShotImageClassification.model_json_schema(ref_template="#/components/schemas/{model}")
    task.pop("$defs")
    task["properties"]["parameters"] = bodies.Labels.model_json_schema()
    return {FORM: form, "application/json": {"anyOf": [bodies.Picture.model_json_schema(), task]}}


def _page() -> tuple[str, str]:
    """The page, and the policy under which a browser shows it: nothing but its style and script, from nowhere else."""
    page = PAGE.read_text(encoding="utf-8")
    allowed = {}
    for tag in ("style", "script"):
        contents = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in contents)
        allowed[tag] = " ".join(f"'sha256-{digest}'" for digest in digests)
    return page, (
        f"default-src 'none'; script-src {allowed['script']}; style-src {allowed['style']}; img-src blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
