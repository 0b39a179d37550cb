"""Training: whole epochs inside native code, with metrics, records, progress and checks."""

from __future__ import annotations

from mynn.train.callbacks.base import Callback
from mynn.train.fit import fit
from mynn.train.history import History
from mynn.train.inference import evaluate, predict
from mynn.train.record import Record, Recorded

__all__ = ["Callback", "History", "Record", "Recorded", "evaluate", "fit", "predict"]
