"""The engine of a Ray cluster: actors compute whole batches and keep them, this process joins what they kept.

A batch is the unit of work everywhere, so the bytes are those of one machine of the same kind. A worker decodes a batch
and says the images' keys, is told which of them the store knows, and computes the others, each in its place. It keeps
the results in a part of the store that is its own where it sees the store's folder, else they travel as Ray objects: no
file system needs to be shared except where the images are. A worker that dies, or whose answer is lost with the machine
that held it, is replaced, and its batches are given to whoever is free.
"""

import logging
import platform
import uuid
from collections import Counter, deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from zslcore.cluster import connect, explained, last_line, nodes, room
from zslcore.errors import ZSLError
from zslcore.features import backbones
from zslcore.features.backbones import Backbone
from zslcore.features.batches import Batch, Computed, Decoded, Engine, decode_image
from zslcore.features.images import transform
from zslcore.features.network import Network, Run
from zslcore.features.sources import ImageRef
from zslcore.features.store import Outcome, Store, open_store

logger = logging.getLogger(__name__)

Numbered = tuple[int, list[ImageRef]]
"""A batch, and its place among the others."""
BATCHES_A_WORKER = 2
"""One is decoded while the other is computed."""
DEATHS = 10
"""Workers that may die over one batch, or in a row before they are ready: the next one would die of it too."""


class Worker:
    """A process of the cluster that holds the network, and batches between their two steps."""

    def begin(self, run: Run, processors: int, parts: Path | None = None) -> None:
        """Get ready, to use so many processors. Not done by `__init__`: Ray would take its errors for a death.

        parts: where a part of the store may be kept, if this machine sees that folder and may write there.
        """
        backbone = backbones.load(run.backbone, run.weights, run.image_size)
        if backbone.fingerprint != run.fingerprint:
            raise ZSLError(
                f"the weights of {run.backbone} on {platform.node()} are not those of the machine that began the run; "
                "copy the same file to every machine"
            )
        self.network = Network(run, backbone, processors)
        self.prepare = transform(backbone.preprocessing, run.scaled)
        self.decoders = ThreadPoolExecutor(processors)
        self.decoded: dict[int, list[Decoded]] = {}
        self.part: Path | None = None
        if parts is not None and parts.exists():
            part = parts / f"{uuid.uuid4().hex}.sqlite"
            with suppress(ZSLError), open_store(part):  # where it may not be written, features travel
                self.part = part

    def decode(self, number: int, images: list[ImageRef]) -> list[bytes | None]:
        """The keys of a batch's images, whose pixels are kept for `compute`."""
        self.decoded[number] = list(self.decoders.map(lambda image: decode_image(image, self.prepare), images))
        return [image.key for image in self.decoded[number]]

    def compute(self, number: int, known: set[bytes]) -> list[Outcome]:
        """What became of a decoded batch; no features of images whose keys are known, or that a part has got."""
        images = [Decoded(image.key) if image.key in known else image for image in self.decoded.pop(number)]
        outcomes = Batch(self.network, images).start().outcomes()
        if self.part is None:
            return outcomes
        with open_store(self.part) as part:
            part.keep(outcomes)
        return [outcome._replace(features=None) for outcome in outcomes]


def ray_engine(address: str | None = None, workers: int | None = None, cpus: float | None = None) -> Engine:
    """An engine on the cluster at `address` (None: see `connect`).

    workers: actors; None: as many as the cluster has room for. cpus: processors an actor asks for; None: one, or with
    GPUs, which need many to decode for them, as many as there are for each.
    Raises ZSLError when Ray is not installed, the cluster cannot be reached or has no machine that large, or a worker
    cannot be begun (it lacks the code or has other weights).
    """

    def compute(run: Run, backbone: Backbone, batches: Iterable[list[ImageRef]], store: Store) -> Computed:
        ray = connect(address)
        device = run.device.partition(":")[0]  # an actor sees the one GPU it is given, as the first
        gpus = 1 if device == "cuda" else 0
        shares = [node.get("CPU", 0) // node["GPU"] for node in nodes(ray) if gpus and node.get("GPU")]
        each = cpus or max(1, min(shares, default=1))
        most = room(ray, each, gpus, "--cpus")
        kind = ray.remote(Worker).options(num_cpus=each, num_gpus=gpus, max_concurrency=BATCHES_A_WORKER)
        remaining, again = enumerate(batches), deque[Numbered]()
        work: dict[Any, tuple[str, Any, Numbered | None]] = {}  # what was asked, of whom, for which batch
        actors: list[Any] = []
        ready: list[Any] = []
        deaths: Counter[int | None] = Counter()  # by batch; None: before a worker was ready

        def ask(step: str, actor: Any, batch: Numbered | None, *arguments: Any) -> None:
            work[getattr(actor, step).remote(*arguments)] = step, actor, batch

        def start(parts: Path | None) -> None:
            actors.append(kind.remote())
            ask("begin", actors[-1], None, replace(run, device=device), max(1, int(each)), parts)

        def fill(actor: Any) -> None:
            for _ in range(BATCHES_A_WORKER - sum(busy is actor for _, busy, _ in work.values())):
                batch = again.popleft() if again else next(remaining, None)
                if batch:
                    ask("decode", actor, batch, *batch)

        with store.parts() as parts:
            try:
                for _ in range(workers or most):
                    start(parts)
                while True:
                    for actor in ready:
                        fill(actor)
                    if ready and not any(batch for _, _, batch in work.values()):
                        return
                    (done, *_), _ = ray.wait(list(work), num_returns=1)
                    step, actor, batch = work.pop(done)
                    try:
                        answer = ray.get(done)
                    except (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError) as error:
                        if getattr(error, "actor_init_failed", False):  # `Worker` has nothing to fail at but its import
                            why = f"no worker can be begun ({last_line(error)})"
                            raise ZSLError(f"engine ray: {why}; install the same zslcore on every machine") from error
                        place = batch[0] if batch else None
                        deaths[place] += 1
                        if deaths[place] > DEATHS:
                            where = f"over the images {batch[1][0].name} to {batch[1][-1].name}" if batch else "at once"
                            why = f"{deaths[place]} workers died {where} ({last_line(error)})"
                            raise ZSLError(
                                f"engine ray: {why}; what was computed is kept, run again to go on"
                            ) from error
                        if batch:
                            again.append(batch)
                        if actor in actors:  # the first of its batches to fail
                            logger.warning("a Ray worker died, or its answer was lost; another takes its images")
                            ray.kill(actor)  # it may be out of reach only, and would keep its place
                            actors.remove(actor)
                            ready = [other for other in ready if other is not actor]
                            start(parts)
                        continue
                    if batch is None:
                        ready.append(actor)
                        deaths[None] = 0
                    elif step == "decode":
                        ask("compute", actor, batch, batch[0], {key for key in answer if key and store.knows(key)})
                    else:
                        yield batch[1], answer
            except ray.exceptions.RayError as error:
                raise explained(error) from error
            finally:
                for actor in actors:
                    ray.kill(actor)

    return compute
