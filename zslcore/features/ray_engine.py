"""The engine of a Ray cluster: actors compute whole batches, this process keeps the results.

A batch is the unit of work everywhere, so the bytes are those of one machine of the same kind. A worker's results
travel as Ray objects, so no file system needs to be shared except where the images are. A worker that dies is replaced,
and its batches are given to whoever is free.
"""

import logging
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from zslcore.cluster import connect
from zslcore.errors import ZSLError
from zslcore.features import backbones
from zslcore.features.backbones import Backbone
from zslcore.features.batches import Batch, Computed, Engine, Knows, decode_image
from zslcore.features.images import transform
from zslcore.features.network import Network, Run
from zslcore.features.sources import ImageRef
from zslcore.features.store import Outcome

logger = logging.getLogger(__name__)

BATCHES_A_WORKER = 2
"""One is decoded while the other is computed."""
DEATHS = 20
"""Workers that may die in one run: more point to a fault that would kill the next one too."""


class Worker:
    """A process of the cluster that holds the network, and uses so many processors."""

    def __init__(self, run: Run, processors: int) -> None:
        backbone = backbones.load(run.backbone, run.weights, run.image_size)
        if backbone.fingerprint != run.fingerprint:
            raise ZSLError(f"the weights of {run.backbone} on a worker are not those of this machine")
        self.network = Network(run, backbone, processors)
        self.prepare = transform(backbone.preprocessing, run.scaled)
        self.decoders = ThreadPoolExecutor(processors)

    def compute(self, images: list[ImageRef]) -> list[Outcome]:
        """What became of a batch; nothing for an empty one, which only asks whether the worker is ready."""
        decoded = list(self.decoders.map(lambda image: decode_image(image, self.prepare), images))
        return Batch(self.network, decoded).start().outcomes()


def ray_engine(address: str | None = None, workers: int | None = None, cpus: float | None = None) -> Engine:
    """An engine on the cluster at `address` (None: the one RAY_ADDRESS names, else one started here).

    workers: actors; None: as many as the cluster has room for. cpus: processors an actor asks for; None: one, or with
    GPUs, which need many to decode for them, as many as there are for each.
    Raises ZSLError when Ray is not installed or the cluster cannot be reached.
    """

    def compute(run: Run, backbone: Backbone, batches: Iterable[list[ImageRef]], knows: Knows) -> Computed:
        ray = connect(address)
        gpus = 1 if run.device.startswith("cuda") else 0
        resources: dict[str, float] = ray.cluster_resources()
        devices, processors = resources.get("GPU", 1), resources.get("CPU", 1)
        each = cpus or (max(1, processors // devices) if gpus else 1)
        room = int(min(processors // each, devices) if gpus else processors // each)
        kind = ray.remote(Worker).options(num_cpus=each, num_gpus=gpus, max_concurrency=BATCHES_A_WORKER)
        remaining, again = iter(batches), deque[list[ImageRef]]()
        work: dict[Any, tuple[Any, list[ImageRef]]] = {}  # what was asked, of whom, for which batch
        actors: list[Any] = []
        ready: list[Any] = []
        deaths = 0

        def ask(actor: Any, images: list[ImageRef]) -> None:
            work[actor.compute.remote(images)] = actor, images

        def start() -> None:
            actors.append(kind.remote(run, max(1, int(each))))
            ask(actors[-1], [])

        def fill(actor: Any) -> None:
            for _ in range(BATCHES_A_WORKER - sum(busy is actor for busy, _ in work.values())):
                images = again.popleft() if again else next(remaining, None)
                if images:
                    ask(actor, images)

        try:
            for _ in range(workers or max(1, room)):
                start()
            while True:
                for actor in ready:
                    fill(actor)
                if ready and not any(images for _, images in work.values()):
                    return
                (done, *_), _ = ray.wait(list(work), num_returns=1)
                actor, images = work.pop(done)
                try:
                    outcomes = ray.get(done)
                except ray.exceptions.RayActorError:
                    if images:
                        again.append(images)
                    if actor in actors:  # the first of its batches to fail
                        deaths += 1
                        logger.warning("a Ray worker died; another takes its images")
                        if deaths > DEATHS:
                            raise
                        actors.remove(actor)
                        ready = [other for other in ready if other is not actor]
                        start()
                    continue
                if images:
                    yield images, outcomes
                else:
                    ready.append(actor)
        except ray.exceptions.RayError as error:
            raise ZSLError(f"engine ray: {error}; what was computed is kept, run again to go on") from error
        finally:
            for actor in actors:
                ray.kill(actor)

    return compute
