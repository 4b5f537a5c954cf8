"""The page in a real browser: drop a picture, describe a class, see it win."""

import base64
import io
import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.serving.conftest import COLOURS, painted
from zslcore.evaluation.explain import Contribution
from zslcore.features.network import Network
from zslcore.model.model import Model
from zslcore.serving.app import create

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install Debian's package `chromium`")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(model: Model, network: Network, served: Any) -> Iterator[str]:
    with served(create(model, network=network)) as address:
        yield address


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page, in the dark of a phone. No other host is asked for anything, and no script fails."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark", has_touch=True)
    page, faults = context.new_page(), []
    page.on("request", lambda request: faults.append(request.url) if not _ours(request.url, address) else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(f"{address}/")
    page.wait_for_selector("#attributes fieldset")
    yield page
    context.close()
    assert not faults


def _ours(url: str, address: str) -> bool:
    return url.startswith((address, "blob:", "data:"))


def drop(page: Any, picture: bytes) -> None:
    """Drop a picture on the page, as a hand would."""
    page.evaluate(
        """(encoded) => {
            const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([bytes], "a.png", {type: "image/png"}));
            document.querySelector("#drop").dispatchEvent(new DragEvent("drop", {dataTransfer, bubbles: true}));
        }""",
        base64.b64encode(picture).decode(),
    )


def first(page: Any, name: str) -> None:
    """Wait until a name stands first."""
    page.locator("#names li:first-child .name", has_text=name).wait_for(timeout=60_000)


def test_a_dropped_picture_a_described_class_and_it_wins(page: Any) -> None:
    drop(page, painted((200, 30, 200)))
    page.wait_for_selector("#names li")
    assert "purple" not in page.text_content("#names")
    page.click("text=Add and compare")
    assert page.evaluate("document.activeElement.id") == "name"
    page.keyboard.type("purple")
    page.get_by_role("checkbox", name="red").check()
    page.get_by_role("checkbox", name="blue").check()
    page.get_by_role("slider", name="grey").fill("0.2")
    page.click("text=Add and compare")
    first(page, "purple")
    assert "purple" in page.text_content("#status")  # which screen readers read out
    page.get_by_role("button", name="Remove purple").click()
    page.locator("#names .name", has_text="purple").wait_for(state="detached")


def test_the_keyboard_does_all_of_it(page: Any) -> None:
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": painted((200, 30, 200))})
    page.wait_for_selector("#names li")
    reached = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement.id || document.activeElement.parentElement.dataset.name || ''")
        if focused == "name" and "name" not in reached:
            page.keyboard.type("purple")
        if focused in ("light: red", "light: blue") and focused not in reached:
            page.keyboard.press("Space")
        reached.add(focused)
    assert {"file", "name", "like", "find", "light: red", "light: blue", "grey", "add"} <= reached
    page.focus("#name")
    page.keyboard.press("Enter")
    first(page, "purple")


def test_every_control_has_a_name_for_screen_readers(page: Any) -> None:
    unnamed = page.evaluate(
        """[...document.querySelectorAll("input, select, button")].filter((one) => one.checkVisibility()
             && !(one.labels && one.labels.length) && !one.textContent.trim() && !one.getAttribute("aria-label"))
             .map((one) => one.outerHTML)"""
    )
    assert unnamed == []
    assert page.locator("[aria-live=polite]").count() >= 1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_none_of_these_why_and_a_bad_file(page: Any, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Model.predict_features

    def strange(self: Model, *arguments: Any) -> Any:
        spoke = (Contribution("light: red", 1.25), Contribution("grey", -0.5, more=False))
        return [replace(one, none=True, fit=0.01, attributes=spoke) for one in found(self, *arguments)]

    monkeypatch.setattr(Model, "predict_features", strange)
    drop(page, painted(COLOURS["red"]))
    page.locator("#none", has_text="None of these").wait_for()
    assert "99 % of the pictures of known classes fit better" in page.text_content("#none")
    assert "+1.3" in page.text_content("#why")
    assert page.locator("#why .against").text_content() == "no grey−0.5"
    drop(page, b"no picture")
    page.locator("#status.bad", has_text="not an image").wait_for()
    assert page.locator("#names li").count() == 0


def test_where_the_attributes_are_seen(browser: Any, locating: Model, served: Any) -> None:
    """Half of a grey picture is red: the overlay of red is bright there, and as the picture in the other half."""
    pixels = np.full((64, 64, 3), 120, np.uint8)
    pixels[:, :32] = COLOURS["red"]
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    with served(create(locating)) as address:
        page = browser.new_page()
        page.goto(f"{address}/")
        page.wait_for_selector("#attributes fieldset")
        drop(page, content.getvalue())
        image = page.locator("#where img").first
        image.wait_for(timeout=60_000)
        assert page.locator("#where figcaption").all_text_contents()[0] in page.text_content("#why ul")
        shown = {one.get_attribute("alt"): one.get_attribute("src") for one in page.locator("#where img").all()}
        assert page.evaluate("[...document.querySelectorAll('#where img')].every((one) => one.naturalWidth === 32)")
        source = shown["Where light: red is seen in the picture"]
        values = np.asarray(Image.open(io.BytesIO(base64.b64decode(str(source).partition(",")[2]))), np.float32)
        assert values[:, :10, 1].mean() > 150  # of the yellow at the top of the range
        np.testing.assert_allclose(values[:, 22:], 120, atol=2)
        drop(page, painted(COLOURS["black"]))
        page.locator("#names li:first-child .name", has_text="black").wait_for(timeout=60_000)
        assert "red" not in str(page.locator("#where figcaption").all_text_contents())
        page.close()


def test_a_forgotten_label_space_is_described_again(page: Any, address: str) -> None:
    page.fill("#name", "purple")
    page.get_by_role("checkbox", name="red").check()
    page.get_by_role("checkbox", name="blue").check()
    page.click("text=Add and compare")
    page.locator("#added", has_text="purple").wait_for()
    page.evaluate("space = 'forgotten'")
    drop(page, painted((200, 30, 200)))
    first(page, "purple")


def test_a_token_is_asked_for(browser: Any, model: Model, network: Network, served: Any) -> None:
    with served(create(model, token="secret", network=network)) as address:
        page = browser.new_page()
        page.goto(f"{address}/")
        page.fill("#token input", "secret")
        page.click("text=Go on")
        page.wait_for_selector("#attributes fieldset")
        drop(page, painted(COLOURS["green"]))
        first(page, "green")
        page.close()


def test_the_openapi_page_needs_no_other_host(browser: Any, address: str) -> None:
    page, asked = browser.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}/docs")
    page.locator(".opblock", has_text="/predict").wait_for()
    assert all(_ours(url, address) for url in asked)
    page.close()
