"""A model that tells colours apart, made in a moment: no weights, no training to wait for."""

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from zslcore.features.backbones import Backbone, from_module
from zslcore.features.network import ExtractionPlan, Network
from zslcore.methods.base import TrainData
from zslcore.methods.eszsl import ESZSL
from zslcore.model.header import BackboneHeader, Confidence, Header, Temperature, of_method
from zslcore.model.images import Extractor
from zslcore.model.model import Model

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 190, 40),
    "blue": (30, 50, 220),
    "cyan": (30, 200, 210),
    "black": (20, 20, 20),
    "white": (240, 240, 240),
}
ATTRIBUTES = ("light: red", "light: green", "light: blue", "grey")
SIGNATURES = {
    "red": (1, 0, 0, 0.2),
    "green": (0, 1, 0, 0.2),
    "blue": (0, 0, 1, 0.2),
    "cyan": (0, 1, 1, 0.3),
    "black": (0, 0, 0, 0.9),
    "white": (1, 1, 1, 0.2),
}


class MeanColour(nn.Module):
    """(n, 3, height, width) -> (n, 12), mean colours of the quarters."""

    def forward(self, x: Tensor) -> Tensor:
        """As said."""
        return functional.adaptive_avg_pool2d(x, 2).flatten(1)


def painted(colour: tuple[int, int, int], seed: int = 0, size: int = 48) -> bytes:
    """A PNG of one colour with some noise."""
    noise = np.random.default_rng(seed).normal(0, 12, (size, size, 3))
    out = io.BytesIO()
    Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    """Mean colours."""
    return from_module("colours", MeanColour(), {"input_size": (3, 32, 32), "crop_pct": 1.0})


@pytest.fixture(scope="session")
def network(backbone: Backbone) -> Network:
    """Mean colours of batches."""
    plan = ExtractionPlan("colours", "random", None, "cpu", "fp32", 4, False, 1, False, backbone.fingerprint)
    return Network(plan, backbone)


@pytest.fixture(scope="session")
def model(network: Network) -> Model:
    """Knows six colours; of white it has seen no picture."""
    seen = [name for name in COLOURS if name != "white"]
    pixels = [
        np.asarray(Image.open(io.BytesIO(painted(COLOURS[name], seed, 32)))) for name in seen for seed in range(8)
    ]
    features = network.unpadded(pixels)
    signatures = np.array([SIGNATURES[name] for name in (*seen, "white")], np.float32)
    method = ESZSL(ESZSL.Settings(scaling="none")).fit(TrainData(features, np.repeat(np.arange(5), 8), signatures[:5]))
    header = Header(
        name="colours",
        method="eszsl",
        settings=of_method(method.settings),
        seeds=(0,),
        classes=(*seen, "white"),
        attributes=ATTRIBUTES,
        confidence=Confidence(temperature=Temperature(joint=0.1, unseen=0.1)),
    )
    return Model(header, signatures, np.arange(6) < 5, (method,))


class ColourMap(nn.Module):
    """(n, 3, height, width) -> (n, 3), the mean of a map of colours (n, 3, 4, 4)."""

    def forward_features(self, x: Tensor) -> Tensor:
        """The map."""
        return functional.adaptive_avg_pool2d(x, 4)

    def forward_head(self, features: Tensor) -> Tensor:
        """Its mean."""
        return features.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """As said."""
        return self.forward_head(self.forward_features(x))


@pytest.fixture(scope="session")
def locating(model: Model) -> Model:
    """Knows the same colours, by a network with maps."""
    backbone = from_module("colour map", ColourMap(), {"input_size": (3, 32, 32), "crop_pct": 1.0})
    plan = ExtractionPlan("colour map", "random", None, "cpu", "fp32", 4, False, 1, False, backbone.fingerprint)
    extractor = Extractor(BackboneHeader(plan=plan.as_dict(), preprocessing=backbone.preprocessing))
    vars(extractor)["backbone"] = backbone  # which has no name to be loaded by
    seen = [name for name in COLOURS if name != "white"]
    pixels = [np.asarray(Image.open(io.BytesIO(painted(COLOURS[one], seed, 32)))) for one in seen for seed in range(8)]
    train = TrainData(extractor.network.unpadded(pixels), np.repeat(np.arange(5), 8), model.signatures[:5])
    method = ESZSL(ESZSL.Settings(scaling="none")).fit(train)
    return replace(model, methods=(method,), extractor=extractor)


@pytest.fixture(scope="session")
def served() -> Callable[..., object]:
    """Serve an application on a free port of the loopback: `with served(app) as address`."""
    import uvicorn

    from zslcore.serving.server import Connection, listen

    @contextmanager
    def serving(app: object) -> Iterator[str]:
        listening = listen("127.0.0.1", 0)
        server = uvicorn.Server(uvicorn.Config(app, http=Connection, log_level="error", timeout_graceful_shutdown=5))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
            torch.set_num_threads(1)

    return serving
