"""scikit-learn's MLP, one pass over the data a `partial_fit`.

It is not quite the same work. `MLPRegressor` has a linear output where W1 and W2 have a tanh, and
its loss is half the mean; both estimators add an L2 term (here 0) and start from their own random
weights. Its figures are shown, and left out of the comparison of results.
"""

from __future__ import annotations

import warnings
from itertools import cycle

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from benchmarks.loops import Program, folds
from benchmarks.peers import Predictor, Unavailable
from benchmarks.works import Layers, Work, data

warnings.simplefilter("ignore", ConvergenceWarning)


class Trainer:
    """The work in scikit-learn, nearly."""

    def __init__(self, work: Work, threads: int = 1) -> None:
        if work.front:
            raise Unavailable("scikit-learn has no convolutions")
        self.work = work
        self.x, self.t = data(work)
        self.reset()

    def reset(self) -> None:
        """A new estimator."""
        work = self.work
        kind = MLPRegressor if work.loss == "squares" else MLPClassifier
        self.model = kind(
            hidden_layer_sizes=work.sizes[1:-1],
            activation=work.activation,
            solver="sgd",
            alpha=0.0,
            batch_size=work.batch,
            learning_rate="constant",
            learning_rate_init=work.lr / 10,
            momentum=work.momentum,
            nesterovs_momentum=False,
            shuffle=False,
            random_state=0,
        )
        self._more = {} if work.loss == "squares" else {"classes": np.arange(work.sizes[-1])}

    def train(self, epochs: int) -> float:
        """Train; scikit-learn's loss in the last pass."""
        for _ in range(epochs):
            self.model.partial_fit(self.x, self.t, **self._more)
        return float(self.model.loss_)

    def weights(self) -> Layers:
        """The trained parameters."""
        return list(zip(self.model.coefs_, self.model.intercepts_, strict=True))


def predictor(work: Work, batch: int = 1, threads: int = 1) -> Predictor:
    """`batch` samples through `predict`."""
    trainer = Trainer(work, threads)
    trainer.train(1)
    return trainer.model.predict, trainer.x[:batch]


def program(name: str, threads: int = 1, compared: bool = False) -> Program:
    """The next of 50 trainings; one output for two classes, and its own random weights."""
    turns = cycle(folds.trainings())

    def step() -> float:
        (x, t), seed = next(turns)
        model = MLPClassifier(
            (folds.HIDDEN,),
            alpha=0.0,
            batch_size=folds.BATCH,
            learning_rate_init=folds.LR,
            max_iter=folds.EPOCHS,
            n_iter_no_change=folds.EPOCHS,
            shuffle=False,
            random_state=seed,
        )
        return float(model.fit(x, t).loss_)

    return Program(step)
