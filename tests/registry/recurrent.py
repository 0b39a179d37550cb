"""Recurrent layers and their cells."""

from __future__ import annotations

from tests.registry.entries import ONLY_MADE, Case, Entry

STEPS = (4, 2, 3)
BATCH = (2, 3)
_LAYER = {
    "input_size": 2,
    "hidden_size": ONLY_MADE,
    "num_layers": ONLY_MADE,
    "bias": ONLY_MADE,
    "batch_first": True,
    "dropout": 0.5,
    "bidirectional": ONLY_MADE,
    "device": ONLY_MADE,
    "dtype": ONLY_MADE,
}
_CELL = {
    "input_size": 2,
    "hidden_size": ONLY_MADE,
    "bias": ONLY_MADE,
    "device": ONLY_MADE,
    "dtype": ONLY_MADE,
}

RECURRENT: tuple[Entry, ...] = (
    Entry(
        "RNN",
        {
            "plain": Case(lambda nn: nn.RNN(3, 5), (STEPS,)),
            "relu": Case(lambda nn: nn.RNN(3, 5, nonlinearity="relu"), (STEPS,), smooth=False),
            "both ways": Case(lambda nn: nn.RNN(3, 5, 2, bidirectional=True), (STEPS,)),
        },
        {**_LAYER, "nonlinearity": ONLY_MADE},
        guarded=Case(lambda nn: nn.RNN(3, 5, 2), ((4, 2, 3),)),
    ),
    Entry(
        "LSTM",
        {
            "plain": Case(lambda nn: nn.LSTM(3, 5), (STEPS,)),
            "projected": Case(lambda nn: nn.LSTM(3, 5, 2, proj_size=2, batch_first=True), (STEPS,)),
            "one sequence": Case(lambda nn: nn.LSTM(3, 5, bias=False), ((4, 3),)),
        },
        {**_LAYER, "proj_size": ONLY_MADE},
        guarded=Case(lambda nn: nn.LSTM(3, 5, 2), ((4, 2, 3),)),
    ),
    Entry(
        "GRU",
        {
            "plain": Case(lambda nn: nn.GRU(3, 5), (STEPS,)),
            "state": Case(lambda nn: nn.GRU(3, 5, batch_first=True), (STEPS, (1, 4, 5))),
            "both ways": Case(lambda nn: nn.GRU(3, 5, 2, bidirectional=True), (STEPS,)),
        },
        _LAYER,
        guarded=Case(lambda nn: nn.GRU(3, 5, 2), ((4, 2, 3),)),
    ),
    Entry(
        "RNNCell",
        {
            "plain": Case(lambda nn: nn.RNNCell(3, 5), (BATCH,)),
            "relu": Case(
                lambda nn: nn.RNNCell(3, 5, nonlinearity="relu"), (BATCH, (2, 5)), smooth=False
            ),
        },
        {**_CELL, "nonlinearity": "relu"},
        guarded=Case(lambda nn: nn.RNNCell(3, 5), (BATCH,)),
    ),
    Entry(
        "LSTMCell",
        {
            "plain": Case(lambda nn: nn.LSTMCell(3, 5), (BATCH,)),
            "one": Case(lambda nn: nn.LSTMCell(3, 5, bias=False), ((3,),)),
        },
        _CELL,
    ),
    Entry(
        "GRUCell",
        {
            "plain": Case(lambda nn: nn.GRUCell(3, 5), (BATCH,)),
            "state": Case(lambda nn: nn.GRUCell(3, 5), (BATCH, (2, 5))),
        },
        _CELL,
    ),
)
