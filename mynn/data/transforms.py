"""Augmentation: layers that change the images of a batch at random, each image in its own way.

They are layers: in a step that `fit` runs they draw with mynn's random keys in the native loop. In
evaluation mode they leave images as they are. Names and arguments are those of
`torchvision.transforms.v2`, which has one draw for a whole batch.

Images are [N, H, W] or [N, C, H, W].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from mynn import random
from mynn.base.arguments import checked, flag, in_range, number, positive, shown, whole_number
from mynn.errors import ArgumentError, DTypeError, ShapeError
from mynn.functional import one_hot, where
from mynn.nn.module import Module
from mynn.random import Generator
from mynn.tensor import Tensor, as_tensor


class _Augmentation(Module):
    """What draws for each image. `generator` is the default one where it is left out."""

    def __init__(self, generator: Generator | None) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, images: Any) -> Tensor:
        x = as_tensor(images)
        if x.ndim not in (3, 4):
            raise ShapeError(f"images are [N, H, W] or [N, C, H, W], these have shape {x.shape}")
        return self._changed(x) if self.training else self._evaluated(x)

    def _changed(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _evaluated(self, x: Tensor) -> Tensor:
        return x

    def _chosen(self, x: Tensor, p: float) -> Tensor:
        """True for images with probability p, bool [N, 1, ...]."""
        return random.chosen(p, (x.shape[0], *(1,) * (x.ndim - 1)), self.generator)


class _Flip(_Augmentation):
    axis: ClassVar[int]

    @checked
    def __init__(self, p: float = 0.5, *, generator: Generator | None = None) -> None:
        super().__init__(generator)
        name = f"{type(self).__name__}: p"
        self.p = number(name, p)
        if not 0 <= self.p <= 1:
            raise ArgumentError(f"{name} must lie in [0, 1], it is {p}")

    def _changed(self, x: Tensor) -> Tensor:
        changed: Tensor = where(self._chosen(x, self.p), x.flip(self.axis), x)
        return changed


class RandomHorizontalFlip(_Flip):
    """Left and right exchanged, for each image with probability p.

    Example:
        >>> import mynn
        >>> flip = mynn.data.RandomHorizontalFlip(p=1.0)
        >>> flip([[[1.0, 2.0, 3.0]]]).tolist()
        [[[3.0, 2.0, 1.0]]]
    """

    axis = -1


class RandomVerticalFlip(_Flip):
    """Top and bottom exchanged, for each image with probability p."""

    axis = -2


class RandomCrop(_Augmentation):
    """A part of each image, at a random place, after a border was put around it.

    In evaluation mode the part in the middle, without a border where it fits.

    Args:
        size: height and width, or one number for both.
        padding: pixels of the border: one number, (left and right, top and bottom), or (left, top,
            right, bottom).
        fill: the value of the border.
        padding_mode: "constant": the border holds `fill`; "edge": the pixels at the edge;
            "reflect": the image reflected at its edge.

    Raises:
        ShapeError: an image that is smaller than the part, with its border.

    Example:
        >>> import numpy as np, mynn
        >>> crop = mynn.data.RandomCrop(28, padding=2)
        >>> crop(np.zeros((8, 28, 28), np.uint8)).shape
        (8, 28, 28)
    """

    @checked
    def __init__(
        self,
        size: int | Sequence[int],
        padding: int | Sequence[int] | None = None,
        fill: float = 0,
        padding_mode: str = "constant",
        *,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(generator)
        height, width = size if isinstance(size, Sequence) and len(size) == 2 else (size, size)
        self.size = positive("RandomCrop: size", height), positive("RandomCrop: size", width)
        borders = [padding or 0] if not isinstance(padding, Sequence) else list(padding)
        if len(borders) not in (1, 2, 4):
            raise ArgumentError(f"RandomCrop: padding is 1, 2 or 4 numbers, it is {shown(padding)}")
        borders = [whole_number("RandomCrop: padding", one) for one in borders]
        if min(borders) < 0:
            raise ArgumentError(f"RandomCrop: padding must be at least 0, it is {shown(padding)}")
        left, top, right, bottom = (borders * 4)[:4]
        self.borders = (top, bottom), (left, right)
        self.fill = number("RandomCrop: fill", fill)
        if padding_mode not in ("constant", "edge", "reflect"):
            raise ArgumentError(
                "RandomCrop: padding_mode must be 'constant', 'edge' or 'reflect', it is "
                f"{padding_mode!r}"
            )
        self.padding_mode = padding_mode

    def _changed(self, x: Tensor) -> Tensor:
        rows, rows_inside = self._places(x, 0)
        columns, columns_inside = self._places(x, 1)
        n, extent, width = x.shape[0], x.shape[-2] * x.shape[-1], x.shape[-1]
        places = (rows.reshape(n, -1, 1) * width + columns.reshape(n, 1, -1)).reshape(n, 1, -1)
        inside = (rows_inside.reshape(n, -1, 1) & columns_inside.reshape(n, 1, -1)).reshape(
            n, 1, -1
        )
        flat = x.reshape(n, -1, extent)
        found = flat.take_along_dim(places, 2)
        if self.padding_mode == "constant" and any(map(any, self.borders)):
            found = where(inside, found, x.dtype.type(self.fill))
        return found.reshape(*x.shape[:-2], *self._size_of(x))

    def _size_of(self, x: Tensor) -> tuple[int, ...]:
        return self.size

    def _places(self, x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """Which rows (or columns) each part takes, int64 [N, size]; and which are no border."""
        size, extent, (before, after) = (
            self._size_of(x)[axis],
            x.shape[axis - 2],
            self.borders[axis],
        )
        most = extent + before + after - size
        if most < 0:
            raise ShapeError(
                f"a part of {self.size[0]}x{self.size[1]} of images of shape {x.shape} "
                f"with padding {self.borders}; give a smaller size or more padding"
            )
        if self.padding_mode == "reflect" and max(before, after) >= extent:
            raise ShapeError(
                f"padding {max(before, after)} reflects no image of {extent} pixels; it "
                "must be smaller"
            )
        drawn = random.uniform((x.shape[0], 1), generator=self.generator)
        first = (drawn * (most + 1)).floor().clip(0, most).astype(np.int64) - before
        at = first + np.arange(size)
        inside = (at >= 0) & (at < extent)
        if self.padding_mode == "reflect":
            at = (extent - 1) - ((extent - 1) - at.abs()).abs()
        return at.clip(0, extent - 1), inside

    def _evaluated(self, x: Tensor) -> Tensor:
        (height, width), (h, w) = self.size, x.shape[-2:]
        if h < height or w < width:
            raise ShapeError(
                f"a part of {height}x{width} of images of shape {x.shape}; give larger images"
            )
        top, left = (h - height) // 2, (w - width) // 2
        return x[..., top : top + height, left : left + width]


class RandomShift(RandomCrop):
    """Each image moved by up to so many pixels; what comes in from outside holds `fill`.

    Args:
        pixels: the most up, down, left and right; or (up and down, left and right).
        fill: the value of what comes in.
    """

    @checked
    def __init__(
        self,
        pixels: int | Sequence[int],
        fill: float = 0,
        *,
        generator: Generator | None = None,
    ) -> None:
        down, right = pixels if isinstance(pixels, Sequence) else (pixels, pixels)
        super().__init__(1, (right, down), fill, generator=generator)

    def _size_of(self, x: Tensor) -> tuple[int, ...]:
        return tuple(x.shape[-2:])

    def _evaluated(self, x: Tensor) -> Tensor:
        return x


class GaussianNoise(_Augmentation):
    """Normal noise added to each pixel.

    Args:
        mean, sigma: of the noise.
        clip: whether what comes out is held to 0..1.

    Raises:
        DTypeError: whole numbers; scale them first.
    """

    @checked
    def __init__(
        self,
        mean: float = 0.0,
        sigma: float = 0.1,
        clip: bool = True,
        *,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(generator)
        self.mean = number("GaussianNoise: mean", mean)
        self.sigma = in_range("GaussianNoise: sigma", sigma, 0.0)
        self.clip = flag("GaussianNoise: clip", clip)

    def _changed(self, x: Tensor) -> Tensor:
        if x.dtype.kind != "f":
            raise DTypeError(
                f"the images are {x.dtype}, they must be floats; write "
                "images.float() / 255 before it"
            )
        noise = random.normal(x.shape, dtype=x.dtype, generator=self.generator)
        noisy = x + (noise * self.sigma + self.mean)
        return noisy.clip(0.0, 1.0) if self.clip else noisy


class MixUp(Module):
    """Pairs of images, and of their targets, mixed: a share lam of each, 1 - lam of its neighbour.

    lam is one number for a batch, from the distribution Beta(alpha, alpha). The neighbour is the
    image before, which is any one where batches are shuffled.

    Args:
        alpha: above 0; the smaller, the nearer lam is to 0 or 1.
        num_classes: how many classes there are, where the targets are labels.

    Returns:
        Images, and targets [N, num_classes]: probabilities, as `cross_entropy` takes them.

    Example:
        >>> import numpy as np, mynn
        >>> mix = mynn.data.MixUp(alpha=0.4, num_classes=3)
        >>> x, t = mix(np.zeros((2, 1, 4, 4), np.float32), np.array([0, 2]))
        >>> t.sum(1).tolist()
        [1.0, 1.0]

    Source: Zhang et al., "mixup: beyond empirical risk minimization", 2018. Beta(a, a) is drawn as
    Bailey, "Polar generation of random variates with the t-distribution", 1994, gives a variable of
    Student's t with 2a degrees of freedom.
    """

    @checked
    def __init__(
        self,
        *,
        alpha: float = 1.0,
        num_classes: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.alpha = in_range("MixUp: alpha", alpha, 1e-3)
        self.num_classes = None if num_classes is None else positive("num_classes", num_classes)
        self.generator = generator

    def forward(self, images: Any, targets: Any) -> tuple[Tensor, Tensor]:
        """The mixed batch; in evaluation mode the batch, with targets in the same form."""
        x, t = as_tensor(images), as_tensor(targets)
        if x.dtype.kind != "f":
            raise DTypeError(
                f"the images are {x.dtype}, they must be floats; write "
                "images.float() / 255 before it"
            )
        if t.ndim == 1:
            if self.num_classes is None:
                raise ArgumentError("the targets are labels; give num_classes")
            t = one_hot(t, self.num_classes).astype(x.dtype)
        if x.shape[0] != t.shape[0]:
            raise ShapeError(f"{x.shape[0]} images and {t.shape[0]} targets")
        if not self.training:
            return x, t
        lam = self._share().astype(x.dtype)
        return x * lam + x.roll(1, 0) * (1 - lam), t * lam + t.roll(1, 0) * (1 - lam)

    def _share(self) -> Tensor:
        u, angle = (random.uniform((), generator=self.generator) for _ in range(2))
        v = (1 - u) ** (1 / self.alpha)
        cosine = (angle * (2 * math.pi)).cos()
        return 0.5 + 0.5 * cosine * (1 - v).sqrt() / (v + (1 - v) * cosine * cosine).sqrt()
