"""Every peer does the same work: an epoch from the same weights gives the same loss and weights."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import reference
from benchmarks.layers import LAYERS
from benchmarks.limits import operations
from benchmarks.peers import DIFFERENTIATORS, TRAINERS
from benchmarks.process import Lost, Peer, Task
from benchmarks.rows import UNVERIFIED, check_outputs
from benchmarks.works import WORKS, data, initial, work_named
from tests.subset import is_whole

# These take seconds a step in float64; `--verify` looks at them before they are timed.
LARGE = ("W5", "W6", "W7", "W9")
# A process of PyTorch's takes seconds to start, and half a minute to compile: a work with
# convolutions and dense layers stands for all, with `--whole` one layer too. `--verify` looks at
# every one.
STANDING = {"torch": ("W8",), "torch-compile": ()}
STANDING_LAYERS = {"torch": ("layer-maxpool-overlap",) if is_whole() else ()}
PAIRS = [
    (work.name, peer)
    for work in WORKS
    for peer in TRAINERS
    if work.name not in LARGE
    and peer != UNVERIFIED
    and work.name in STANDING.get(peer, (work.name,))
]
LAYER_PAIRS = [
    (layer, peer)
    for layer in LAYERS
    for peer in DIFFERENTIATORS
    if peer != "ours" and layer in STANDING_LAYERS.get(peer, (layer,))
]


@pytest.mark.one_in(15)
@pytest.mark.parametrize(("work", "name"), PAIRS)
def test_peer_agrees_with_the_reference(work: str, name: str) -> None:
    try:
        peer = Peer(Task("train", work), name)
    except Lost as reason:
        if name == "ours":
            raise
        pytest.skip(f"{name} cannot be had here: {reason}")
    try:
        loss, net = peer.results()
    finally:
        peer.close()
    expected = reference.trained(work_named(work))
    assert reference.deviation(loss, net, expected) < reference.tolerance(work_named(work))


@pytest.mark.one_in(5, each="peer")
@pytest.mark.parametrize(("layer", "peer"), LAYER_PAIRS)
def test_layers_agree(layer: str, peer: str) -> None:
    peers: list[Peer] = []
    try:
        peers.append(Peer(Task("layer", layer), peer))
        peers.append(Peer(Task("layer", layer), "ours"))
        check_outputs(layer, peers, lambda text: None)
    except Lost as reason:
        pytest.skip(f"{peer} cannot be had here: {reason}")
    finally:
        for one in peers:
            one.close()


def test_deviation_sees_a_wrong_weight_and_nan() -> None:
    loss, net = reference.trained(work_named("W2"))
    assert reference.deviation(loss, net, (loss, net)) == 0
    wrong = [(w.copy(), b.copy()) for w, b in net]
    wrong[1][0][3, 4] += 0.01
    assert reference.deviation(loss, wrong, (loss, net)) == pytest.approx(0.01)
    wrong[1][0][3, 4] = np.nan
    assert reference.deviation(loss, wrong, (loss, net)) == np.inf


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
def test_works_are_whole_batches_of_float32(work) -> None:
    x, t = data(work)
    assert work.steps * work.batch == work.samples == len(x) == len(t)
    assert x.dtype == np.float32
    convs = len(work.convs)
    assert [w.shape for w, _ in initial(work)[convs:]] == work.layers
    assert x[0].shape == work.sample_shape
    assert operations(work) > 6 * work.batch * sum(n * m for n, m in work.layers[1:])
