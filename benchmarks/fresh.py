"""What happens in a process of its own, started anew for each measurement.

python -m benchmarks.fresh report     the report's run: import, compile, train, print the accuracy
python -m benchmarks.fresh compile    seconds to compile a W1 training program, printed
"""

from __future__ import annotations

import sys
from time import perf_counter

import numpy as np

import mynn
from benchmarks.ours import Trainer, network, state_dict
from benchmarks.works import data, work_named
from mynn import optim

REPORT_EPOCHS = 100


def _report() -> None:
    work = work_named("W1")
    x, t = data(work)
    rng = np.random.default_rng(0)
    net = network(work)
    drawn = [(rng.normal(0, 0.1, (n, m)), rng.normal(0, 0.1, m)) for n, m in work.layers]
    net.load_state_dict(state_dict(net, drawn))
    optimizer = optim.SGD(net.parameters(), lr=work.lr)

    @mynn.compile
    def step(x: mynn.Tensor, t: mynn.Tensor) -> mynn.Tensor:
        loss = ((net(x) - t) ** 2).sum()
        loss.backward()
        optimizer.step()
        return loss

    mynn.fit(step, (x, t), epochs=REPORT_EPOCHS, batch_size=1, shuffle=False, verbose=False)
    y = mynn.compile(net)(x)
    print(f"accuracy {(y.argmax(1) == t.argmax(1)).mean():.3f}")


def _compile() -> None:
    trainer = Trainer(work_named("W1"))
    start = perf_counter()
    trainer.train(1)
    print(perf_counter() - start)


if __name__ == "__main__":
    {"report": _report, "compile": _compile}[sys.argv[1]]()
