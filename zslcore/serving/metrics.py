"""What Prometheus reads: requests, their time, sizes of batches, what waits; and the process's memory and time."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATHS = {"/", "/predict", "/classes", "/health", "/metrics"}
"""Others are counted as one: anyone may ask for any."""


class Metrics:
    """The figures of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter("zsl_requests", "Requests.", ["path", "status"], registry=self.registry)
        self.seconds = Histogram("zsl_request_seconds", "Time of a request.", ["path"], registry=self.registry)
        self.batch = Histogram(
            "zsl_batch_pictures", "Pictures in a batch.", buckets=(1, 2, 4, 8, 16, 32, 64), registry=self.registry
        )
        self.waiting = Gauge("zsl_waiting_pictures", "Pictures without an answer yet.", registry=self.registry)


class Measured:
    """Middleware that counts requests and their time."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and count what is answered; 499 where the client went away first."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started, status = time.perf_counter(), 499
        path = scope["path"] if scope["path"] in PATHS else "other"

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            self.metrics.requests.labels(path, status).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - started)
