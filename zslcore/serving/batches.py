"""Requests gathered into batches: whoever computes takes all that has come in the meantime, and waits for nothing."""

import asyncio
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Thread
from typing import Generic, TypeVar

import torch

Task = TypeVar("Task")
Result = TypeVar("Result")


class Batches(Generic[Task, Result]):
    """Threads that compute batches, each on one core, so that none waits for another; on CUDA there is one.

    compute: the results of 1 to `most` tasks, in their order, or the errors to raise instead; where it raises one
    itself, all of them fail. observe: may be set to a function that is called with the size of each batch.
    """

    def __init__(
        self, compute: Callable[[Sequence[Task]], Sequence[Result | Exception]], threads: int, most: int
    ) -> None:
        self.compute, self.most = compute, most
        self.observe: Callable[[int], None] = lambda count: None
        self.queue: queue.SimpleQueue[tuple[Task, Future[Result]] | None] = queue.SimpleQueue()
        self.threads = [Thread(target=self._work, args=(threads > 1,), daemon=True) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    async def __call__(self, task: Task) -> Result:
        """The result of one task. Where the caller stops waiting before it is begun, it is never computed."""
        future: Future[Result] = Future()
        self.queue.put((task, future))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Finish what is in the queue, then end the threads."""
        for _ in self.threads:
            self.queue.put(None)
        for thread in self.threads:
            thread.join()

    def _work(self, single: bool) -> None:
        if single:
            torch.set_num_threads(1)
        while (batch := self._take()) is not None:
            wanted = [(task, future) for task, future in batch if future.set_running_or_notify_cancel()]
            if not wanted:
                continue
            self.observe(len(wanted))
            results: Sequence[Result | Exception]
            try:
                results = self.compute([task for task, _ in wanted])
            except Exception as error:  # of whatever kind: the thread goes on
                results = [error] * len(wanted)
            for (_, future), result in zip(wanted, results, strict=True):
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)

    def _take(self) -> list[tuple[Task, "Future[Result]"]] | None:
        """The next batch; None: there are no more."""
        taken = self.queue.get()
        batch = []
        while taken is not None:
            batch.append(taken)
            if len(batch) == self.most:
                return batch
            try:
                taken = self.queue.get_nowait()
            except queue.Empty:
                return batch
        if batch:
            self.queue.put(None)  # for this thread, once the batch is done
        return batch or None
