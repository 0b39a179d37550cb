"""Measures of predictions: of arrays as functions, over many batches as sums."""

from __future__ import annotations

from typing import Any

from mynn.base import lazy_imports

__all__ = [
    "AUC",
    "F1",
    "MAE",
    "MSE",
    "R2",
    "Accuracy",
    "ConfusionMatrix",
    "Metric",
    "Perplexity",
    "Precision",
    "Recall",
    "TopKAccuracy",
    "accuracy",
    "confusion_matrix",
    "f1_score",
    "mean_absolute_error",
    "mean_squared_error",
    "perplexity",
    "precision",
    "r2_score",
    "recall",
    "roc_auc",
    "top_k_accuracy",
]

_MODULES = {
    "classification": "accuracy",
    "metric": "Metric",
    "counts": "AUC F1 ConfusionMatrix Precision Recall",
    "numbers": "MAE MSE R2 Accuracy Perplexity TopKAccuracy",
    "functions": "confusion_matrix f1_score mean_absolute_error mean_squared_error perplexity "
    "precision r2_score recall roc_auc top_k_accuracy",
}


def __getattr__(name: str) -> Any:
    return lazy_imports.find(__name__, _MODULES, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
