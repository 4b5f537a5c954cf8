"""The engine of a Ray cluster: workers compute whole batches and store them, this process joins what they stored.

A batch is the unit of work everywhere, so the bytes are those of one machine of the same kind. A worker decodes a batch
and returns the images' keys; it is sent back those that the store knows, and computes the other images, each in its
place. It keeps the results in its own part of the store where it sees the store's folder, else they travel as Ray
objects: no file system needs to be shared except where the images are. A worker that dies, or whose answer is lost with
the machine that held it, is replaced, and its batches go to whoever is free.
"""

import logging
import platform
import uuid
from collections import Counter, deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from zslcore.compute.cluster import as_zsl_error, connect, last_line, node_resources, worker_capacity
from zslcore.errors import ZSLError
from zslcore.features import backbones
from zslcore.features.backbones import Backbone
from zslcore.features.batches import Batch, Computed, Decoded, Engine, decode_image
from zslcore.features.image_sources import ImageRef
from zslcore.features.network import ExtractionPlan, Network
from zslcore.features.store import Outcome, Store, open_store

logger = logging.getLogger(__name__)

Actor = Any
"""A handle of a `Worker` on the cluster."""
BATCHES_A_WORKER = 2
"""One is decoded while the other is computed."""
DEATHS = 10
"""Workers that may die over one batch, or in a row before they are ready: the next one would die of it too."""


class Numbered(NamedTuple):
    """A batch, and its position among the others."""

    number: int
    images: list[ImageRef]


class Task(NamedTuple):
    """What an actor was asked to do: the method of `Worker`, and the batch, which `begin` has none of."""

    step: str
    actor: Actor
    batch: Numbered | None


class Worker:
    """A process of the cluster that holds the network, and batches between their two steps."""

    def begin(
        self, plan: ExtractionPlan, backbone: Backbone | None, processors: int, parts: Path | None = None
    ) -> None:
        """Make the network, to use so many processors. Not done by `__init__`: Ray would take its errors for a death.

        backbone: None: loaded here. parts: folder for parts of the store, used if this machine sees that folder and may
        write there. Raises ZSLError when the backbone cannot be loaded here, or is another than the plan's.
        """
        backbone = backbone or backbones.load(plan.backbone, plan.weights, plan.image_size)
        if backbone.fingerprint != plan.fingerprint:
            raise ZSLError(
                f"{plan.backbone} on {platform.node()} is not that of the machine that began the run; install the same "
                "package and copy the same weights to every machine"
            )
        self.network = Network(plan, backbone, processors)
        self.prepare = plan.transform(backbone)
        self.decoders = ThreadPoolExecutor(processors)
        self.decoded: dict[int, list[Decoded]] = {}
        self.part: Path | None = None
        if parts is not None and parts.exists():
            part = parts / f"{uuid.uuid4().hex}.sqlite"
            with suppress(ZSLError), open_store(part):  # where it may not be written, features travel
                self.part = part

    def decode(self, number: int, images: list[ImageRef]) -> list[bytes | None]:
        """The keys of a batch's images, whose pixels are held for `compute`."""
        self.decoded[number] = list(self.decoders.map(lambda image: decode_image(image, self.prepare), images))
        return [image.key for image in self.decoded[number]]

    def compute(self, number: int, known: set[bytes]) -> list[Outcome]:
        """The outcomes of a decoded batch, without the features of images whose keys are known, or that a part holds.

        Raises ZSLError when the part cannot be written.
        """
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
    cannot be started (it lacks the code or has other weights).
    """

    def compute(plan: ExtractionPlan, backbone: Backbone, batches: Iterable[list[ImageRef]], store: Store) -> Computed:
        ray = connect(address)
        device = plan.device.partition(":")[0]  # an actor sees the one GPU it has, as the first
        gpus = 1 if device == "cuda" else 0
        shares = [node.get("CPU", 0) // node["GPU"] for node in node_resources(ray) if gpus and node.get("GPU")]
        each = cpus or max(1, min(shares, default=1))
        capacity = worker_capacity(ray, each, gpus, "--cpus")
        kind = ray.remote(Worker).options(num_cpus=each, num_gpus=gpus, max_concurrency=BATCHES_A_WORKER)
        sent = None if ":" in plan.backbone else ray.put(backbone)  # a function's network is code that is there or not
        with store.parts() as parts:
            setup = replace(plan, device=device), sent, max(1, int(each)), parts
            yield from Dispatcher(ray, kind, setup, batches, store).run(workers or capacity)

    return compute


class Dispatcher:
    """Hands the batches of one run to workers, and replaces those that die.

    kind: Ray's class of the workers; setup: the arguments of their `begin`.
    """

    def __init__(
        self, ray: ModuleType, kind: Any, setup: tuple[Any, ...], batches: Iterable[list[ImageRef]], store: Store
    ) -> None:
        self.ray, self.kind, self.setup, self.store = ray, kind, setup, store
        self.waiting = map(Numbered, count(), batches)
        self.returned = deque[Numbered]()  # by workers that died
        self.tasks: dict[Any, Task] = {}  # by Ray's reference of the answer
        self.actors: list[Actor] = []
        self.ready: list[Actor] = []
        self.deaths: Counter[int] = Counter()  # by the number of the batch
        self.early_deaths = 0  # in a row, before a worker was ready

    def run(self, workers: int) -> Computed:
        """Yield each batch with its outcomes, in the order in which the workers end; then end the workers.

        Raises ZSLError when a worker cannot be started, fails, or when too many die.
        """
        try:
            for _ in range(workers):
                self._start_worker()
            while not self._is_done():
                (reference, *_), _ = self.ray.wait(list(self.tasks), num_returns=1)
                task = self.tasks.pop(reference)
                try:
                    answer = self.ray.get(reference)
                except (self.ray.exceptions.RayActorError, self.ray.exceptions.ObjectLostError) as error:
                    self._replace(task, error)
                    continue
                if task.step == "compute" and task.batch:
                    yield task.batch.images, answer
                else:
                    self._on_done(task, answer)
        except self.ray.exceptions.RayError as error:
            raise as_zsl_error(error) from error
        finally:
            for actor in self.actors:
                self.ray.kill(actor)

    def _is_done(self) -> bool:
        """Whether all batches are computed; first gives every ready worker the batches it can hold."""
        for actor in self.ready:
            held = sum(task.actor is actor for task in self.tasks.values())
            for _ in range(BATCHES_A_WORKER - held):
                if batch := self.returned.popleft() if self.returned else next(self.waiting, None):
                    self._submit("decode", actor, batch, *batch)
        return bool(self.ready) and not any(task.batch for task in self.tasks.values())

    def _start_worker(self) -> None:
        self.actors.append(self.kind.remote())
        self._submit("begin", self.actors[-1], None, *self.setup)

    def _submit(self, step: str, actor: Actor, batch: Numbered | None, *arguments: Any) -> None:
        self.tasks[getattr(actor, step).remote(*arguments)] = Task(step, actor, batch)

    def _on_done(self, task: Task, answer: Any) -> None:
        """Go on after `begin`, which makes a worker ready, or `decode`, which is followed by `compute`."""
        if task.batch is None:
            self.ready.append(task.actor)
            self.early_deaths = 0
        else:
            known = {key for key in answer if key and self.store.knows(key)}
            self._submit("compute", task.actor, task.batch, task.batch.number, known)

    def _replace(self, task: Task, error: Exception) -> None:
        """Take back the batch of a worker that died, or whose answer was lost, and start another worker.

        Raises ZSLError when the worker could not be started, or too many died over this batch.
        """
        batch = task.batch
        if getattr(error, "actor_init_failed", False):  # `Worker` has nothing to fail at but its import
            why = f"no worker can be begun ({last_line(error)})"
            raise ZSLError(f"engine ray: {why}; install the same zslcore on every machine") from error
        if batch:
            self.returned.append(batch)
            self.deaths[batch.number] += 1
            deaths = self.deaths[batch.number]
            where = f"over the images {batch.images[0].name} to {batch.images[-1].name}"
        else:
            self.early_deaths += 1
            deaths, where = self.early_deaths, "at once"
        if deaths > DEATHS:
            why = f"{deaths} workers died {where} ({last_line(error)})"
            raise ZSLError(f"engine ray: {why}; what was computed is kept, run again to go on") from error
        if task.actor in self.actors:  # the first of its batches to fail
            logger.warning("a Ray worker died, or its answer was lost; another takes its images")
            self.ray.kill(task.actor)  # it may be out of reach only, and would keep its place
            self.actors.remove(task.actor)
            self.ready = [other for other in self.ready if other is not task.actor]
            self._start_worker()
