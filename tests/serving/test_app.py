"""What clients may send, what they get, and what they may not."""

import base64
import io
import json
import re
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.serving.conftest import ATTRIBUTES, COLOURS, painted
from zslcore.features.network import Network
from zslcore.model.model import Model
from zslcore.serving.app import create
from zslcore.serving.limits import Limits

LIMITS = Limits(bytes=200_000, pixels=1_000_000, seconds=1.0, classes=3, label_spaces=2)
PURPLE = dict(zip(ATTRIBUTES, (1, 0, 1, 0.2), strict=True))


@pytest.fixture(scope="module")
def client(model: Model, network: Network, served: Any) -> Iterator[httpx.Client]:
    with served(create(model, limits=LIMITS, network=network)) as address, httpx.Client(base_url=address) as client:
        yield client


def form(content: bytes, **options: Any) -> dict[str, Any]:
    return {"files": {"image": ("a.png", content)}, "data": options}


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.mark.parametrize("name", COLOURS)
def test_a_form_and_json_give_what_the_model_says(
    name: str, client: httpx.Client, model: Model, network: Network
) -> None:
    content = painted(COLOURS[name], seed=99, size=32)
    by_form = client.post("/predict", **form(content, top=3)).json()
    by_json = client.post("/predict", json={"image": encoded(content), "top": 3}).json()
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    (expected,) = model.predict_features(network.unpadded([pixels]), top=3)
    assert by_form["classes"] == by_json["classes"] == list(expected.classes)
    assert by_form["classes"][0] == name
    np.testing.assert_allclose(by_form["probabilities"], expected.probabilities, rtol=1e-5)
    assert by_form["model"] == "colours"


def test_where_attributes_are_seen_is_shown_if_asked_for(locating: Model, client: httpx.Client, served: Any) -> None:
    content = painted(COLOURS["red"])
    with served(create(locating)) as address, httpx.Client(base_url=address) as able:
        assert able.get("/classes").json()["locates"]
        assert able.post("/predict", **form(content, explain=True)).json()["maps"] == []
        answer = able.post("/predict", **form(content, maps=True)).json()
    spoke = [one["attribute"] for one in answer["attributes"] if one["value"] > 0 and one["more"]]
    assert [one["attribute"] for one in answer["maps"]] == spoke[:3] != []
    assert base64.b64decode(answer["maps"][0]["picture"].partition(",")[2]).startswith(b"\x89PNG")
    assert not client.get("/classes").json()["locates"]
    refused = client.post("/predict", **form(content, maps=True))
    assert refused.status_code == 422
    assert "no picture to look at" in refused.json()["detail"]


def test_the_hugging_face_client_is_understood(client: httpx.Client) -> None:
    hub = pytest.importorskip("huggingface_hub")
    found = hub.InferenceClient(base_url=f"{client.base_url}/predict").zero_shot_image_classification(
        painted(COLOURS["blue"]), candidate_labels=["red", "blue"]
    )
    assert [one.label for one in found] == ["blue", "red"]
    assert sum(one.score for one in found) == pytest.approx(1)


def test_a_described_class_competes_for_those_who_name_its_label_space(client: httpx.Client) -> None:
    purple = painted((200, 30, 200))
    before = client.post("/predict", **form(purple)).json()
    space = client.post("/classes", json={"classes": {"purple": PURPLE}}).json()
    assert space["classes"][-1] == "purple"
    found = client.post("/predict", **form(purple, label_space=space["label_space"])).json()
    assert found["classes"][0] == "purple"
    assert client.post("/predict", **form(purple)).json() == before
    again = client.post("/classes", json={"classes": {"purple": list(PURPLE.values())}}).json()
    assert client.post("/predict", **form(purple, label_space=again["label_space"])).json() == found


def test_the_label_space_used_least_recently_is_forgotten(client: httpx.Client) -> None:
    def space(red: float) -> str:
        answer = client.post("/classes", json={"classes": {"new": [red, 0.5, 0.5, 0.5]}, "replace": False})
        return str(answer.json()["label_space"])

    def status(name: str) -> int:
        return client.post("/predict", **form(painted(COLOURS["red"]), label_space=name)).status_code

    first, second = space(0.1), space(0.2)
    assert status(first) == 200
    third = space(0.3)
    assert [status(name) for name in (first, second, third)] == [200, 404, 200]


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size: a bomb of a few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


GOOD = painted(COLOURS["red"])


@pytest.mark.parametrize(
    ("sent", "status", "reason"),
    [
        (form(b"\0" * 9_000_000), 413, "more than 200,000 bytes"),
        (form(png_header(2000, 2000)), 413, "more than 1,000,000 pixels"),
        (form(png_header(100_000, 100_000)), 413, "more than 1,000,000 pixels"),
        (form(GOOD[:200]), 422, "truncated"),
        (form(b""), 422, "empty"),
        (form(b"<html></html>"), 422, "a web page"),
        (form(GOOD, top=0), 422, "top: Input should be greater"),
        (form(GOOD, colour=1), 422, "colour: Extra inputs"),
        (form(GOOD, among=["red", "rad"]), 422, "unknown class 'rad': did you mean 'red'"),
        (form(GOOD, among="red"), 422, "two at least"),
        (form(GOOD, label_space="gone"), 404, "describe its classes again"),
        ({"files": {"picture": GOOD}}, 422, "no file in the field 'image'"),
        ({"data": {"image": "http://127.0.0.1/a.png"}}, 415, "form-urlencoded"),
        ({"json": {"image": "http://127.0.0.1/a.png"}}, 422, "paths and URLs are not opened"),
        ({"json": {"image": "/etc/passwd"}}, 422, "paths and URLs are not opened"),
        ({"json": {"inputs": "http://127.0.0.1/a.png"}}, 422, "paths and URLs are not opened"),
        ({"json": [1]}, 422, "valid dictionary"),
        ({"json": {"inputs": encoded(GOOD), "parameters": {"candidate_labels": []}}}, 422, "two at least"),
        ({"content": b"{" * 100_000, "headers": {"content-type": "application/json"}}, 422, "not JSON"),
        ({"content": b"[" * 100_000, "headers": {"content-type": "application/json"}}, 422, "not JSON"),
        ({"content": GOOD, "headers": {"content-type": "image/png"}}, 415, "image/png"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_refused_says_why(sent: dict[str, Any], status: int, reason: str, client: httpx.Client) -> None:
    answer = client.post("/predict", **sent)
    assert (answer.status_code, reason in answer.json()["detail"]) == (status, True), answer.text
    assert len(answer.text) < 1000
    assert client.post("/predict", **form(GOOD)).json()["classes"][0] == "red"


@pytest.mark.parametrize(
    ("classes", "status", "reason"),
    [
        ({}, 422, "at least 1"),
        ({"a": {"light: red": 1}}, 422, "no value for 3 of 4 attributes"),
        ({"a": {**PURPLE, "shape": 1}}, 422, "unknown attribute 'shape'"),
        ({"red": PURPLE}, 422, "has a class 'red' already"),
        ({"a": [1, 2]}, 422, "2 values, and the model has 4"),
        ({"a": [1, 2, 3, "x"]}, 422, "valid number"),
        ({str(k): [0, 0, 0, k / 10] for k in range(4)}, 413, "at most 3"),
    ],
)
def test_classes_that_are_refused(classes: Any, status: int, reason: str, client: httpx.Client) -> None:
    answer = client.post("/classes", json={"classes": classes})
    assert (answer.status_code, reason in answer.json()["detail"]) == (status, True), answer.text


def test_no_number_is_no_attribute(client: httpx.Client) -> None:
    body = json.dumps({"classes": {"a": [1, 2, 3, float("nan")]}})
    answer = client.post("/classes", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, "finite" in answer.json()["detail"]) == (422, True)


def test_what_the_page_and_prometheus_read(client: httpx.Client) -> None:
    known = client.get("/classes").json()
    assert known["classes"] == [*[name for name in COLOURS if name != "white"], "white"]
    assert known["seen"] == [True] * 5 + [False]
    assert [one["graded"] for one in known["attributes"]] == [False, False, False, True]
    assert client.get("/classes/cyan").json() == pytest.approx(dict(zip(ATTRIBUTES, (0, 1, 1, 0.3), strict=True)))
    assert client.get("/classes/pink").status_code == 404
    assert client.get("/health").json() == {"status": "ok", "model": "colours", "classes": 6}
    assert 'zsl_requests_total{path="/health",status="200"} ' in client.get("/metrics").text
    assert "/predict" in client.get("/openapi.json").json()["paths"]
    page = client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search("https?://", page.text + client.get("/docs").text)


def test_a_token_is_asked_for(model: Model, network: Network, served: Any) -> None:
    with served(create(model, token="secret", network=network)) as address, httpx.Client(base_url=address) as client:
        shown = {"Authorization": "Bearer secret"}
        for path in ("/classes", "/metrics"):
            assert [client.get(path, headers=h).status_code for h in ({}, {"Authorization": "Bearer x"}, shown)] == [
                401, 401, 200,
            ]  # fmt: skip
        assert client.post("/predict", **form(GOOD)).status_code == 401
        assert client.post("/predict", headers=shown, **form(GOOD)).status_code == 200
        assert client.get("/health").status_code == client.get("/").status_code == 200


def connect(client: httpx.Client, sent: bytes) -> socket.socket:
    opened = socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=10)
    opened.sendall(sent)
    return opened


def test_clients_that_hang_harm_no_other(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    """Half a request line, half a body, and one that never reads its answer; the first is closed much later."""
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    hanging = [connect(client, half) for half in (b"", b"POST /pre", head, head + b'{"image": "') for _ in range(20)]
    started = time.monotonic()
    assert client.post("/predict", **form(GOOD)).json()["classes"][0] == "red"
    assert time.monotonic() - started < LIMITS.seconds
    answer = hanging[-1].recv(1000)
    assert answer.startswith(b"HTTP/1.1 408")
    for one in hanging:
        one.close()
    gone = connect(client, head + b'{"image": "')
    gone.close()
    while 'path="/predict",status="499"' not in client.get("/metrics").text:
        time.sleep(0.01)
    assert not caplog.records
    assert client.post("/predict", **form(GOOD)).status_code == 200


def test_all_of_many_clients_are_answered_each_with_its_own_answer(client: httpx.Client) -> None:
    wrong: list[Any] = []

    def ask(name: str, seed: int) -> None:
        answer = httpx.post(f"{client.base_url}/predict", **form(painted(COLOURS[name], seed)), timeout=30)
        if answer.status_code != 200 or answer.json()["classes"][0] != name:
            wrong.append(answer.text)

    threads = [threading.Thread(target=ask, args=(name, seed)) for seed in range(5) for name in COLOURS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_busy_server_says_so(model: Model, network: Network, served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()
    computed: Callable[..., Any] = network.unpadded

    def slowly(pixels: Any) -> Any:
        let_go.wait(10)
        return computed(pixels)

    app = create(model, limits=Limits(waiting=3, seconds=8), network=network)
    monkeypatch.setattr(network, "unpadded", slowly)
    with served(app) as address:
        statuses: list[int] = []

        def ask() -> None:
            statuses.append(httpx.post(f"{address}/predict", **form(GOOD), timeout=30).status_code)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        while len(statuses) < 5:
            time.sleep(0.01)
        let_go.set()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200] * 3 + [503] * 5
