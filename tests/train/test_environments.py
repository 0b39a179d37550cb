"""Where threads come from in practice: web servers, event loops, joblib, notebooks."""

from __future__ import annotations

import asyncio
import copy
import json
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from tests.train.test_races import together


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 2))


def rows(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)


class Server(ThreadingHTTPServer):
    """Predicts with one network for all requests, each in a thread of its own."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, functions: dict[str, Any]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.functions = functions


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        data = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        x = np.asarray(data, np.float32)
        answer = json.dumps(self.server.functions[self.path](x).tolist()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing on standard error."""


def test_a_server_of_sixteen_threads() -> None:
    """Every answer is that of the request; batches of many sizes; the network is in no mode."""
    net = network()
    compiled = mynn.compile(net)
    alone = copy.deepcopy(net).eval()
    functions = {
        "/predict": lambda x: mynn.predict(net, x, batch_size=8),
        "/compiled": lambda x: mynn.predict(compiled, x, batch_size=8),
    }
    server = Server(functions)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def ask(number: int) -> None:
        for k in range(6):
            x = rows(100 * number + k, 1 + (number + k) % 20)
            for path in functions:
                request = urllib.request.Request(
                    f"http://127.0.0.1:{server.server_port}{path}",
                    json.dumps(x.tolist()).encode(),
                )
                with urllib.request.urlopen(request, timeout=60) as answer:
                    got = np.asarray(json.load(answer))
                np.testing.assert_allclose(got, alone(x).numpy(), rtol=1e-4, atol=1e-5)

    try:
        together(16, ask)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert all(module.training for module in net.modules())


def test_an_event_loop_with_an_executor() -> None:
    """Fits and predictions of many networks, in the threads of one executor."""

    def train(number: int) -> tuple[list[float], np.ndarray]:
        rng = np.random.default_rng(number)
        net = nn.Linear(3, 1)
        net.load_state_dict({"weight": rng.normal(size=(1, 3)), "bias": [0.0]})
        optimizer = optim.SGD(net.parameters(), lr=0.1)

        def step(x: Any) -> Any:
            loss = ((net(x) - 1.0) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        x = rows(number, 20)
        history = mynn.fit(step, x, epochs=5, batch_size=8, seed=number, verbose=False)
        return history["loss"].tolist(), mynn.predict(net, x)

    expected = [train(k) for k in range(8)]

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(4) as pool:
            return await asyncio.gather(
                *(loop.run_in_executor(pool, train, k % 8) for k in range(24))
            )

    for k, (losses, y) in enumerate(asyncio.run(main())):
        assert losses == expected[k % 8][0]
        np.testing.assert_array_equal(y, expected[k % 8][1])


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_joblib(backend: str) -> None:
    joblib = pytest.importorskip("joblib")
    net = network()
    data = [rows(k, 10 + k) for k in range(6)]
    expected = [mynn.predict(net, x) for x in data]
    got = joblib.Parallel(n_jobs=2, backend=backend)(
        joblib.delayed(mynn.predict)(net, x) for x in data
    )
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


CELLS = [
    "import numpy as np, mynn, asyncio\nfrom mynn import nn, optim",
    "net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))\n"
    "optimizer = optim.SGD(net.parameters(), lr=0.05)\n"
    "x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)",
    "@mynn.compile\ndef step(x):\n    loss = ((net(x) - 1) ** 2).mean()\n    loss.backward()\n"
    "    optimizer.step()\n    return loss",
    "history = mynn.fit(step, x, epochs=20, seed=0)\nassert history['loss'][-1] < 0.7, history",
    "tasks = [asyncio.to_thread(mynn.predict, net, x[: k + 1]) for k in range(16)]\n"
    "for k, y in enumerate(await asyncio.gather(*tasks)):\n"
    "    np.testing.assert_allclose(y, mynn.predict(net, x)[: k + 1], rtol=1e-4, atol=1e-5)\n"
    "print('predicted')",
]


@pytest.mark.wide
def test_a_notebook() -> None:
    """Cells in a Jupyter kernel, whose event loop runs meanwhile."""
    pytest.importorskip("ipykernel")
    manager = pytest.importorskip("jupyter_client.manager")
    kernel, client = manager.start_new_kernel(kernel_name="python3", startup_timeout=120)
    try:
        printed: list[str] = []

        def note(message: Any) -> None:
            printed.append(str(message["content"].get("text", "")))

        for cell in CELLS:
            reply = client.execute_interactive(cell, timeout=120, output_hook=note)
            assert reply["content"]["status"] == "ok", reply["content"]
        assert "predicted" in "".join(printed)
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
