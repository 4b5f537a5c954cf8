"""`zsl serve` under load, all on the loopback: failures, latency, throughput against the network alone, memory.

python bench/serve.py --seconds 60              a model with EfficientNet-Lite0
python bench/serve.py --backbone resnet101 --weights random
python bench/serve.py --backbone test_efficientnet --weights random --requests 10000    memory, quickly

Rounds of the network alone and of the server take turns, so that a busy machine slows both. On a machine that others
use, too, the figures by processor time are the ones to read: what the server takes of it, all threads together.
"""

import argparse
import http.client
import io
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from zslcore.compute.cores import one_heap
from zslcore.datasets.birds.source import draw_birds
from zslcore.features import backbones
from zslcore.features.images import transform
from zslcore.features.network import ExtractionPlan, Network
from zslcore.methods.base import TrainData
from zslcore.methods.eszsl import ESZSL
from zslcore.model.header import BackboneHeader, Header, of_method
from zslcore.model.images import Extractor
from zslcore.model.model import Model
from zslcore.serving.namer import LARGEST_BATCH

EDGE = "-------bench"
CORES = torch.get_num_threads()


def bench_model(backbone: str, weights: str) -> Model:
    """ESZSL on random features: 40 seen and 10 unseen classes."""
    made = backbones.load(backbone, weights)
    plan = ExtractionPlan(backbone, weights, None, "cpu", "fp32", 8, False, 1, False, made.fingerprint)
    random = np.random.default_rng(0)
    signatures = random.uniform(0, 1, (50, 60)).astype(np.float32)
    features = random.normal(size=(400, made.dimensions)).astype(np.float32)
    method = ESZSL().fit(TrainData(features, np.repeat(np.arange(40), 10), signatures[:40]))
    extractor = Extractor(BackboneHeader(plan=plan.as_dict(), preprocessing=made.preprocessing))
    header = Header(
        name="bench",
        backbone=extractor.header,
        method="eszsl",
        settings=of_method(method.settings),
        seeds=(0,),
        classes=tuple(f"class {k}" for k in range(50)),
        attributes=tuple(f"attribute {k}" for k in range(60)),
    )
    return Model(header, signatures, np.arange(50) < 40, (method,), extractor)


def request(picture: bytes) -> bytes:
    """The body of a form with a picture."""
    head = f'--{EDGE}\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    return head.encode() + picture + f"\r\n--{EDGE}--\r\n".encode()


class Client:
    """One connection. times: seconds of each request; failures: what was not answered with 200."""

    def __init__(self, port: int, body: bytes) -> None:
        self.port, self.body = port, body
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.times: list[float] = []
        self.failures: list[str] = []

    def ask(self) -> None:
        """One request."""
        started = time.perf_counter()
        try:
            self.connection.request(
                "POST", "/predict", self.body, {"Content-Type": f"multipart/form-data; boundary={EDGE}"}
            )
            answer = self.connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                self.failures.append(f"{answer.status} {content[:100]!r}")
        except OSError as error:
            self.failures.append(repr(error))
            self.connection.close()
        self.times.append(time.perf_counter() - started)


def together(clients: list[Client], goes_on: Callable[[], bool]) -> None:
    """Each client asks in a thread of its own as long as it goes on."""

    def work(client: Client) -> None:
        while goes_on():
            client.ask()

    threads = [threading.Thread(target=work, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def network_alone(network: Network, pixels: np.ndarray, seconds: float) -> tuple[float, float]:
    """Pictures a second, and a second of processor time, of the network: decoded, in batches, a thread a core."""
    batch = [pixels] * LARGEST_BATCH["cpu"]
    end, counts = time.perf_counter() + seconds, [0] * CORES

    def work(place: int) -> None:
        torch.set_num_threads(1)
        while time.perf_counter() < end:
            network.unpadded(batch)
            counts[place] += len(batch)

    started, taken = time.perf_counter(), time.process_time()
    threads = [threading.Thread(target=work, args=(place,)) for place in range(CORES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = sum(counts)
    return total / (time.perf_counter() - started), total / (time.process_time() - taken)


def memory(pid: int) -> float:
    """MiB of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def processor(pid: int) -> float:
    """Seconds of processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def bomb() -> bytes:
    """A PNG of a few KiB with 49 million pixels: as many as are decoded."""
    out = io.BytesIO()
    Image.new("1", (7000, 7000)).save(out, "PNG")
    return out.getvalue()


def summary(times: list[float]) -> str:
    """p50 and p95 in milliseconds."""
    p50, p95 = np.percentile(times, (50, 95)) * 1000
    return f"p50 {p50:.0f} ms, p95 {p95:.0f} ms"


def main() -> None:
    """Start the server on a model, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--weights", default="pretrained")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60, help="under load, all rounds together")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--requests", type=int, default=0, help="for the memory: ask so many times more")
    args = parser.parse_args()
    one_heap()  # as the server does
    model = bench_model(args.backbone, args.weights)
    assert model.extractor is not None
    network = Network(model.extractor.plan, model.extractor.backbone)
    out = io.BytesIO()
    Image.fromarray(draw_birds(0, 3, 1, 1, side=320).images[0]).save(out, "JPEG")
    picture = out.getvalue()
    pixels = transform(network.backbone.preprocessing)(picture)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.zsl"
        model.save(path)
        command = [sys.executable, "-m", "stages.cli", "serve", str(path), "--port", "0"]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert server.stderr is not None
        line = server.stderr.readline()
        try:
            port = int(line.split("127.0.0.1:")[1].split()[0])
            measure(args, port, server.pid, network, pixels, request(picture))
        finally:
            server.terminate()
            started = time.perf_counter()
            print(f"stopped: exit code {server.wait(60)} after {time.perf_counter() - started:.1f} s")


def measure(args: argparse.Namespace, port: int, pid: int, network: Network, pixels: np.ndarray, body: bytes) -> None:
    """Print all figures."""
    one = Client(port, body)
    for _ in range(20):
        one.ask()
    one.times.clear()
    bare: list[float] = []
    torch.set_num_threads(1)
    taken, here = 0.0, 0.0
    for _ in range(100):
        started, before = time.perf_counter(), time.thread_time()
        network.unpadded([pixels])
        bare.append(time.perf_counter() - started)
        here += time.thread_time() - before
        before = processor(pid)
        one.ask()
        taken += processor(pid) - before
    ratio = np.median(one.times) / np.median(bare)
    print(f"{args.backbone}, {CORES} cores, body of {len(body):,} bytes")
    print(f"one client: {summary(one.times)}; a bare forward pass: {summary(bare)}; ratio of medians {ratio:.2f}")
    print(
        f"  processor time: {10 * taken:.1f} ms a request, {10 * here:.1f} ms a forward pass; ratio {taken / here:.2f}"
    )

    clients = [Client(port, body) for _ in range(args.clients)]
    rates = []
    for _ in range(args.rounds):
        alone, alone_processor = network_alone(network, pixels, args.seconds / args.rounds)
        before, started, taken = sum(len(client.times) for client in clients), time.perf_counter(), processor(pid)
        end = started + args.seconds / args.rounds
        together(clients, lambda end=end: time.perf_counter() < end)
        asked = sum(len(client.times) for client in clients) - before
        rate, by_processor = asked / (time.perf_counter() - started), asked / (processor(pid) - taken)
        rates.append((rate, alone, by_processor, alone_processor))
    served, alone, by_processor, alone_processor = np.median(rates, axis=0)
    ratios = [rate[0] / rate[1] for rate in rates]
    times = [seconds for client in clients for seconds in client.times]
    failures = [failure for client in clients for failure in client.failures]
    print(
        f"{args.clients} clients, {len(times)} requests in {args.seconds:.0f} s: {len(failures)} failed {failures[:3]}"
    )
    print(f"  {summary(times)}; {served:.1f} a second, the network alone {alone:.1f}; ratio {np.median(ratios):.2f} "
          f"({min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip
    print(f"  a second of processor time: {by_processor:.1f}, the network alone {alone_processor:.1f}; "
          f"ratio {by_processor / alone_processor:.2f}")  # fmt: skip

    hostile(clients[:8], port, min(args.seconds, 10))
    if args.requests:
        soak(clients, pid, args.requests)


def hostile(clients: list[Client], port: int, seconds: float) -> None:
    """What clients notice of others that hang, send half a request, or bombs."""

    def round_() -> str:
        for client in clients:
            client.times.clear()
        end = time.perf_counter() + seconds
        together(clients, lambda: time.perf_counter() < end)
        failures = [failure for client in clients for failure in client.failures]
        return f"{summary([s for client in clients for s in client.times])}, {len(failures)} failed {failures[:3]}"

    print(f"{len(clients)} clients alone: {round_()}")
    head = f"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary={EDGE}\r\n"
    half = f"{head}Content-Length: 100000\r\n\r\n".encode() + request(b"half")[:60]
    hanging = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
    for place, one in enumerate(hanging):
        one.sendall((b"", b"POST /pred", half)[place % 3])
    bombs, done = Client(port, request(bomb())), threading.Event()
    thread = threading.Thread(target=together, args=([bombs], lambda: not done.is_set()))
    thread.start()
    print(f"next to 100 that hang and one that sends bombs: {round_()}")
    done.set()
    thread.join()
    print(f"  bombs of 49 million pixels: {len(bombs.times)} in this time, {len(bombs.failures)} refused")
    for one in hanging:
        with suppress(OSError):
            one.close()


def soak(clients: list[Client], pid: int, requests: int) -> None:
    """Memory over many requests."""
    left, lock = requests, threading.Lock()

    def goes_on() -> bool:
        nonlocal left
        with lock:
            left -= 1
            if left % (requests // 5) == 0:
                print(f"  {requests - left} requests: {memory(pid):.0f} MiB", flush=True)
        return left >= 0

    print(f"memory: {memory(pid):.0f} MiB")
    together(clients, goes_on)
    print(f"  after {requests} requests: {memory(pid):.0f} MiB; {sum(len(c.failures) for c in clients)} failed")


if __name__ == "__main__":
    main()
