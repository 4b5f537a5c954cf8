"""One fit on several machines or GPUs: data-parallel training by Ray Train, with checkpoints in our own format."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import ray.train
import torch
from ray.train.torch import TorchTrainer, get_device

from zslcore.compute.cluster import connect, last_line, worker_capacity
from zslcore.compute.cores import one_thread
from zslcore.compute.jobs import RETRIES
from zslcore.errors import ZSLError
from zslcore.training.checkpoint import Checkpoint
from zslcore.training.replica import Replica

FILE = "checkpoint.safetensors"


def fit_on_ray(
    fit: Callable[[Replica], Any],
    rows: int,
    workers: int | None = None,
    address: str | None = None,
    gpus: int = 0,
    folder: Path = Path(".zsl/train"),
) -> Any:
    """What fit(replica) returns, called by `workers` processes of a cluster, each with its replica of one model.

    fit must train with its replica, as `clusterable.train.train` and a generative method do, and return what can be
    pickled; the first process's is taken. rows: of a batch. workers: None for as many as the cluster has room for.
    address: as in `cluster.connect`. gpus: of a worker, 0 or 1. folder: for checkpoints while it trains; all machines
    must see it. A worker that dies is replaced, and all go on from the last checkpoint.
    Raises ZSLError for a number of workers that is not possible, and for what ends the training.
    """
    if workers is not None and not 1 <= workers <= rows:
        raise ZSLError(f"--workers {workers}: each takes its rows of a batch, which has {rows}; give 1 to {rows}")
    cluster = connect(address)
    room = worker_capacity(cluster, 1, gpus, "a worker's processors")
    if workers is not None and workers > room:
        where = cluster.get_runtime_context().gcs_address
        raise ZSLError(
            f"--workers {workers}: the cluster at {where} has room for {room}; give no more, or add machines to it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as storage:
        trainer = TorchTrainer(
            _work,
            train_loop_config={"fit": ray.put(fit)},
            scaling_config=ray.train.ScalingConfig(
                num_workers=workers or min(room, rows),
                use_gpu=bool(gpus),
                resources_per_worker={"CPU": 1, "GPU": gpus},
            ),
            run_config=ray.train.RunConfig(
                storage_path=str(Path(storage).absolute()),
                failure_config=ray.train.FailureConfig(max_failures=RETRIES),
                checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
            ),
        )
        try:
            result = cast(Any, trainer.fit()).return_value
        except ray.train.TrainingFailedError as error:
            why = next(iter(getattr(error, "worker_failures", {}).values()), error)
            raise ZSLError(f"engine ray: failed {RETRIES + 1} times, at last with: {last_line(why)}") from error
    if isinstance(result, ZSLError):
        raise ZSLError(f"engine ray: {result}")
    return result


class _Reported(Checkpoint):
    """A checkpoint that Ray Train looks after: the first worker writes it, and all wait for that."""

    def store(self, optimisers: Any, curve: list[dict[str, float]], last: bool) -> None:
        """As `Checkpoint.store`."""
        if not self.due(curve, last):
            return
        with TemporaryDirectory() as folder:
            written = None
            if ray.train.get_context().get_world_rank() == 0:
                Checkpoint(Path(folder) / FILE, self.every).store(optimisers, curve, last)
                written = ray.train.Checkpoint.from_directory(folder)
            ray.train.report({"epochs": len(curve)}, checkpoint=written)


def _work(config: dict[str, Any]) -> Any:
    """In a worker: what `fit` returns, or the error meant for people, which another try would meet, too."""
    context, last, device = ray.train.get_context(), ray.train.get_checkpoint(), get_device()
    if device.type == "cuda":  # what `cuda` means here
        torch.cuda.set_device(device)
    with one_thread(), last.as_directory() if last else TemporaryDirectory() as folder:
        checkpoint = _Reported(Path(folder) / FILE)
        try:
            return ray.get(config["fit"])(Replica(checkpoint, context.get_world_rank(), context.get_world_size()))
        except ZSLError as error:
            return error
