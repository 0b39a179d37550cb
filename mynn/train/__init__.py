"""Training: whole epochs inside native code, with metrics, records, progress and checks."""

from __future__ import annotations

from mynn.train.callback import Callback
from mynn.train.history import History
from mynn.train.inference import evaluate, predict
from mynn.train.loop import fit
from mynn.train.record import Record, Recorded

__all__ = ["Callback", "History", "Record", "Recorded", "evaluate", "fit", "predict"]
