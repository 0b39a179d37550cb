"""Everything that the report trains, and what it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mynn.core.types import Array
from mynn.errors import ArgumentError
from mynn.module import relu
from mynn.report.experiments import published
from mynn.report.experiments.data import Sample, accuracy, draw
from mynn.report.experiments.networks import Epochs, Network, OurDefaults, Toolbox

PUBLISHED = "as_published"
DESCRIBED = "as_described"
DEFAULTS = "our_defaults"

# Our defaults are given more epochs: with their mini-batches they take far fewer steps in each.
DEFAULTS_EPOCHS_FACTOR = 4

# Figure 4: whether the initialisation is sound and whether the output layer is frozen, by the key
# of the results.
FIGURE4_VERSIONS: dict[str, tuple[bool, bool]] = {
    "published_initialisation": (False, True),
    "sound_initialisation": (True, True),
    "published_initialisation_all_updated": (False, False),
    "sound_initialisation_all_updated": (True, False),
}

# A run of figure 4 that ends above this has learnt the disc: its rectifiers have not died.
LEARNT = 90.0


@dataclass(frozen=True)
class Settings:
    """How much to train; the defaults are the report's.

    Raises:
        ArgumentError: samples or epochs below 1, a negative seed.
    """

    samples: int = published.SAMPLES
    epochs: int = published.EPOCHS
    seed: int = published.SEED

    def __post_init__(self) -> None:
        for name, least in (("samples", 1), ("epochs", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ArgumentError(f"{name} must be at least {least}, it is {getattr(self, name)}")

    @property
    def figure4_epochs(self) -> int:
        """Figure 4 trains twice as long as Table 1."""
        return self.epochs * published.FIGURE4_EPOCHS // published.EPOCHS

    @property
    def defaults_epochs(self) -> int:
        """Epochs of a run with our defaults."""
        return self.epochs * DEFAULTS_EPOCHS_FACTOR

    @property
    def as_in_the_report(self) -> bool:
        """Whether means can be compared with the published ones."""
        return self.samples == published.SAMPLES and self.epochs == published.EPOCHS


@dataclass(frozen=True)
class Run:
    """One training run and what came out: log10 of the last epoch's loss, accuracies in %."""

    version: str
    rate: float
    sample: int
    loss: float
    train_accuracy: float
    test_accuracy: float
    seconds: float


@dataclass(frozen=True)
class Predictions:
    """Figure 2: a data set, and which classes a trained network gives to its test samples."""

    sample: Sample
    train_output: Array
    test_output: Array


@dataclass(frozen=True)
class Results:
    """All that was trained.

    - `runs`: of Table 1 in all versions, in the order they ran.
    - `curves`: of figure 3, by version and learning rate.
    - `figure2`: the predictions after the first curve as published.
    - `figure4_runs`, `figure4_curves`: by the keys of `FIGURE4_VERSIONS`; the curve is sample 0's.
    """

    settings: Settings
    runs: tuple[Run, ...]
    curves: dict[tuple[str, float], Epochs]
    figure2: Predictions
    figure4_runs: dict[str, tuple[Run, ...]]
    figure4_curves: dict[str, Epochs]


# Called before each run with what it is, and once more at the end with "".
Report = Callable[[str], None]


def count_runs(settings: Settings) -> int:
    """How often `run_all` calls its `report`, the last call left out."""
    table = settings.samples * (2 * len(published.LEARNING_RATES) + 1)
    figure4 = settings.samples * len(FIGURE4_VERSIONS)
    return table + 2 * len(published.CURVE_RATES) + figure4


def run_all(settings: Settings, report: Report) -> Results:
    """Train everything."""
    samples = [draw(settings.seed, index) for index in range(settings.samples)]
    runs: list[Run] = []
    curves: dict[tuple[str, float], Epochs] = {}
    figure2 = None
    for version, freeze in ((PUBLISHED, "output"), (DESCRIBED, ())):
        network = Toolbox(published.SIZES, freeze=freeze)
        for rate in published.LEARNING_RATES:
            runs += _runs(network, version, rate, samples, settings.epochs, report)
        for rate in published.CURVE_RATES:
            report(f"figure 3, {version.replace('_', ' ')}, learning rate {rate:g}")
            curves[version, rate] = network.train(samples[0], rate, settings.epochs, watch=True)
            figure2 = figure2 or _predictions(network, samples[0])
    defaults = OurDefaults(published.SIZES)
    runs += _runs(defaults, DEFAULTS, defaults.RATE, samples, settings.defaults_epochs, report)
    figure4_runs, figure4_curves = _figure4(samples, settings.figure4_epochs, report)
    report("")
    assert figure2 is not None
    return Results(settings, tuple(runs), curves, figure2, figure4_runs, figure4_curves)


def _runs(
    network: Network,
    version: str,
    rate: float,
    samples: list[Sample],
    epochs: int,
    report: Report,
) -> Iterator[Run]:
    for sample in samples:
        report(f"{version.replace('_', ' ')}, learning rate {rate:g}, sample {sample.index + 1}")
        yield _finished(network, version, rate, sample, network.train(sample, rate, epochs))


def _finished(network: Network, version: str, rate: float, sample: Sample, epochs: Epochs) -> Run:
    return Run(
        version,
        rate,
        sample.index,
        float(epochs.loss[-1]),
        accuracy(network.predict(sample.train_input), sample.train_target),
        accuracy(network.predict(sample.test_input), sample.test_target),
        epochs.seconds,
    )


def _predictions(network: Network, sample: Sample) -> Predictions:
    return Predictions(
        sample, network.predict(sample.train_input), network.predict(sample.test_input)
    )


def _figure4(
    samples: list[Sample], epochs: int, report: Report
) -> tuple[dict[str, tuple[Run, ...]], dict[str, Epochs]]:
    runs: dict[str, tuple[Run, ...]] = {}
    curves: dict[str, Epochs] = {}
    rate = published.FIGURE4_RATE
    for version, (sound, frozen) in FIGURE4_VERSIONS.items():
        network = Toolbox(published.FIGURE4_SIZES, relu, "output" if frozen else (), sound)
        found = []
        for sample in samples:
            report(f"figure 4, {version.replace('_', ' ')}, sample {sample.index + 1}")
            first = sample.index == 0
            measured = network.train(sample, rate, epochs, watch=first)
            found.append(_finished(network, version, rate, sample, measured))
            if first:
                curves[version] = measured
        runs[version] = tuple(found)
    return runs, curves
