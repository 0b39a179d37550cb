"""Our modules on PyTorch's own samples (`tests/torch_db/modules.py`)."""

from __future__ import annotations

import pytest

from mynn import nn
from tests.torch_db import modules

pytest.importorskip("torch")
TORCH, INFOS = modules.database()

_OPEN = (
    "AdaptiveAvgPool3d AdaptiveMaxPool3d AvgPool3d BatchNorm3d Conv3d ConvTranspose3d "
    "CosineEmbeddingLoss FractionalMaxPool2d FractionalMaxPool3d L1Loss SmoothL1Loss LazyConv1d "
    "LazyConv2d LazyConv3d LazyConvTranspose1d LazyConvTranspose2d LazyConvTranspose3d Bilinear "
    "LPPool1d LPPool2d LPPool3d MaxPool3d KLDivLoss MarginRankingLoss MultiLabelMarginLoss "
    "MultiMarginLoss SoftMarginLoss MultiLabelSoftMarginLoss GaussianNLLLoss PoissonNLLLoss "
    "HingeEmbeddingLoss HuberLoss BCELoss LinearCrossEntropyLoss CTCLoss InstanceNorm1d "
    "InstanceNorm2d InstanceNorm3d LocalResponseNorm Embedding ReflectionPad1d ReflectionPad2d "
    "ReflectionPad3d ReplicationPad1d ReplicationPad2d ReplicationPad3d ZeroPad1d ZeroPad2d "
    "ZeroPad3d CircularPad1d CircularPad2d CircularPad3d ConstantPad1d ConstantPad2d "
    "ConstantPad3d"
)
NOT_YET = set(_OPEN.split())
pytestmark = pytest.mark.filterwarnings("ignore")


def test_every_module_is_there_or_has_a_reason() -> None:
    absent = {name for name in INFOS if not hasattr(nn, name)}
    assert absent - NOT_YET == set(modules.LEFT_OUT)


@pytest.mark.parametrize("name", [name for name in INFOS if hasattr(nn, name)])
def test_samples(name: str) -> None:
    assert modules.check(TORCH, INFOS[name]) == []


@pytest.mark.parametrize("name", [name for name in INFOS if hasattr(nn, name)])
def test_compiled(name: str) -> None:
    assert modules.compiled(TORCH, INFOS[name]) == []
