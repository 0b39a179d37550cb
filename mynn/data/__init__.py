"""Data: read, scaled, encoded, cut into folds and windows, augmented."""

from __future__ import annotations

from typing import Any

from mynn.base import lazy_imports

__all__ = [
    "GaussianNoise",
    "GroupKFold",
    "KFold",
    "MinMaxScaler",
    "MixUp",
    "OneHotEncoder",
    "OrdinalEncoder",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomShift",
    "RandomVerticalFlip",
    "StandardScaler",
    "StratifiedKFold",
    "Table",
    "read_csv",
    "read_idx",
    "windows",
]

_MODULES = {
    "encoders": "OneHotEncoder OrdinalEncoder",
    "folds": "GroupKFold KFold StratifiedKFold",
    "idx": "read_idx",
    "scalers": "MinMaxScaler StandardScaler",
    "series": "windows",
    "tables": "Table read_csv",
    "transforms": "GaussianNoise MixUp RandomCrop RandomHorizontalFlip RandomShift "
    "RandomVerticalFlip",
}


def __getattr__(name: str) -> Any:
    return lazy_imports.find(__name__, _MODULES, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
