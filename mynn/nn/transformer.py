"""Layers of attention and fully connected layers, one above the other."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from mynn import functional
from mynn.base.arguments import shown
from mynn.errors import ArgumentError, ShapeError
from mynn.nn import init
from mynn.nn.attention import MultiheadAttention
from mynn.nn.container import ModuleList
from mynn.nn.dropout import Dropout
from mynn.nn.linear import Linear
from mynn.nn.module import Module
from mynn.nn.normalization import LayerNorm
from mynn.nn.placement import parameter_dtype
from mynn.random import host_generator
from mynn.tensor import Tensor, as_tensor

Activation = str | Callable[[Tensor], Tensor]


class _Layer(Module):
    """What the layers of encoders and decoders share: attention of a sequence to itself, two fully
    connected layers, and sums with what came in, each normalised.
    """

    # The attentions of the layer, by name.
    attentions: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = functional.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        dtype = parameter_dtype(type(self).__name__, device, dtype)
        for name in self.attentions:
            attention = MultiheadAttention(
                d_model, nhead, dropout=dropout, bias=bias, batch_first=batch_first, dtype=dtype
            )
            self.add_module(name, attention)
        self.linear1 = Linear(d_model, dim_feedforward, bias=bias, dtype=dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias=bias, dtype=dtype)
        self.norm_first = norm_first
        parts = range(1, len(self.attentions) + 2)
        for number in parts:
            norm = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, dtype=dtype)
            self.add_module(f"norm{number}", norm)
        for number in parts:
            self.add_module(f"dropout{number}", Dropout(dropout))
        self.activation = _activation(type(self).__name__, activation)

    def _with(self, number: int, x: Tensor, part: Callable[[Tensor], Tensor]) -> Tensor:
        """x + dropout(part(x)), normalised before the part or after the sum."""
        norm, dropout = getattr(self, f"norm{number}"), getattr(self, f"dropout{number}")
        if self.norm_first:
            result: Tensor = x + dropout(part(norm(x)))
            return result
        result = norm(x + dropout(part(x)))
        return result

    def _connected(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear2(self.dropout(self.activation(self.linear1(x))))
        return y


def _attended(
    layer: Any, x: Tensor, memory: Any, padding: Any, mask: Any, is_causal: bool
) -> Tensor:
    """What an attention of x to `memory` gives, without the shares."""
    masks = {"key_padding_mask": padding, "attn_mask": mask, "is_causal": is_causal}
    y: Tensor = layer(x, memory, memory, need_weights=False, **masks)[0]
    return y


class TransformerEncoderLayer(_Layer):
    """y = norm1(x + attention(x)), z = norm2(y + W_2 a(W_1 y + b_1) + b_2).

    Where `norm_first`: y = x + attention(norm1(x)), z = y + W_2 a(W_1 norm2(y) + b_1) + b_2.

    Args:
        d_model: features E of a position; nhead: heads of the attention.
        dim_feedforward: features between W_1 and W_2.
        dropout: of the shares of attention, behind a, and behind both parts.
        activation: a; "relu", "gelu", a function of tensors or a layer.
        layer_norm_eps: see `LayerNorm`.
        batch_first: whether axes are [N, L, E] instead of [L, N, E].
        norm_first: whether parts are normalised before, not after the sum.
        bias: whether all of them have biases.
        device, dtype: as in `Linear`.

    Attributes: self_attn, linear1, linear2, norm1, norm2, dropout, dropout1, dropout2.

    Example:
        >>> import numpy as np
        >>> from mynn import nn
        >>> layer = nn.TransformerEncoderLayer(4, nhead=2, dim_feedforward=8, batch_first=True)
        >>> layer(np.zeros((3, 5, 4), np.float32)).shape
        (3, 5, 4)

    Source: Vaswani et al., "Attention is all you need", 2017; `norm_first`: Xiong et al., "On layer
    normalization in the transformer architecture", 2020.
    """

    attentions = ("self_attn",)

    def forward(
        self,
        src: Any,
        src_mask: Any = None,
        src_key_padding_mask: Any = None,
        is_causal: bool = False,
    ) -> Tensor:
        """[L, N, E] or [L, E] -> the same; masks as `MultiheadAttention` takes them."""

        masks = src_key_padding_mask, src_mask, is_causal
        x = self._with(1, as_tensor(src), lambda x: _attended(self.self_attn, x, x, *masks))
        return self._with(2, x, self._connected)


class TransformerDecoderLayer(_Layer):
    """A layer as of the encoder, with an attention to the encoder's result between its two parts.

    Args: those of `TransformerEncoderLayer`.

    Attributes: self_attn, multihead_attn, linear1, linear2, norm1 to norm3, dropout, dropout1 to
    dropout3.

    Source: Vaswani et al., "Attention is all you need", 2017.
    """

    attentions = ("self_attn", "multihead_attn")

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """tgt [L, N, E], memory [S, N, E], or both without N -> as tgt."""

        masks = tgt_key_padding_mask, tgt_mask, tgt_is_causal
        others = memory_key_padding_mask, memory_mask, memory_is_causal
        x = self._with(1, as_tensor(tgt), lambda x: _attended(self.self_attn, x, x, *masks))
        x = self._with(2, x, lambda x: _attended(self.multihead_attn, x, memory, *others))
        return self._with(3, x, self._connected)


class TransformerEncoder(Module):
    """Layers one after the other, and `norm` at the end if it is given.

    Args:
        encoder_layer: the layers are copies of it.
        num_layers: how many.
        norm: a layer; None for none.
        enable_nested_tensor, mask_check: for PyTorch's sake, without effect.
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        self.layers = _copies("TransformerEncoder", "encoder_layer", encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm
        self.enable_nested_tensor = enable_nested_tensor
        self.mask_check = mask_check

    def forward(
        self,
        src: Any,
        mask: Any = None,
        src_key_padding_mask: Any = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """As `TransformerEncoderLayer`, of every layer."""
        x = as_tensor(src)
        for layer in self.layers:
            x = layer(x, mask, src_key_padding_mask, is_causal=bool(is_causal))
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(Module):
    """Layers one after the other, and `norm` at the end if it is given.

    Args:
        decoder_layer: the layers are copies of it.
        num_layers: how many.
        norm: a layer; None for none.
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = _copies("TransformerDecoder", "decoder_layer", decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """As `TransformerDecoderLayer`, of every layer."""
        x = as_tensor(tgt)
        for layer in self.layers:
            x = layer(
                *(x, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask),
                tgt_is_causal=bool(tgt_is_causal),
                memory_is_causal=memory_is_causal,
            )
        return x if self.norm is None else self.norm(x)


class Transformer(Module):
    """An encoder of `src`, and a decoder of `tgt` that looks at what comes out of it.

    Args:
        d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
        norm_first, bias, device, dtype: those of `TransformerEncoderLayer`.
        num_encoder_layers, num_decoder_layers: how many layers each has.
        custom_encoder, custom_decoder: modules in their place.

    Attributes: encoder, decoder. Parameters with more than one axis start from U(-b, b) with
    b = sqrt(6 / (rows + columns)).

    Example:
        >>> import numpy as np
        >>> from mynn import nn
        >>> net = nn.Transformer(4, 2, 1, 1, dim_feedforward=8)
        >>> net(np.zeros((7, 3, 4), np.float32), np.zeros((5, 3, 4), np.float32)).shape
        (5, 3, 4)

    Source: Vaswani et al., "Attention is all you need", 2017.
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = functional.relu,
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        options = (
            *(d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps),
            *(batch_first, norm_first, bias, device, dtype),
        )

        def norm() -> LayerNorm:
            return LayerNorm(d_model, eps=layer_norm_eps, bias=bias, device=device, dtype=dtype)

        self.encoder = custom_encoder or TransformerEncoder(
            TransformerEncoderLayer(*options), num_encoder_layers, norm()
        )
        self.decoder = custom_decoder or TransformerDecoder(
            TransformerDecoderLayer(*options), num_decoder_layers, norm()
        )
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first
        self.reset_parameters()

    def reset_parameters(self, generator: np.random.Generator | int | None = None) -> None:
        """Draw the initial values of all that has more than one axis anew."""
        draws = host_generator(generator)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter, generator=draws)

    def forward(
        self,
        src: Any,
        tgt: Any,
        src_mask: Any = None,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        src_key_padding_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """src [S, N, E], tgt [L, N, E], or both without N -> as tgt.

        Masks: `MultiheadAttention`'s, of the encoder, of the decoder to itself, and of the decoder
        to the encoder's result.
        """
        x, y = as_tensor(src), as_tensor(tgt)
        batch = 0 if self.batch_first else 1
        if x.ndim != y.ndim or (x.ndim == 3 and x.shape[batch] != y.shape[batch]):
            raise ShapeError(
                "src and tgt must hold the same number of sequences, they are "
                f"{list(x.shape)} and {list(y.shape)}; batch_first={self.batch_first}"
            )
        if not x.ndim or x.shape[-1] != self.d_model or y.shape[-1] != self.d_model:
            raise ShapeError(
                f"src and tgt must have d_model={self.d_model} features, they are "
                f"{list(x.shape)} and {list(y.shape)}"
            )
        memory = self.encoder(x, src_mask, src_key_padding_mask, is_causal=src_is_causal)
        result: Tensor = self.decoder(
            *(y, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask),
            tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )
        return result

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
        """The mask with which a position sees itself and earlier ones: [sz, sz], 0 on and below the
        diagonal, -infinity above.

        Example:
            >>> from mynn import nn
            >>> nn.Transformer.generate_square_subsequent_mask(2).tolist()
            [[0.0, -inf], [0.0, 0.0]]
        """
        dtype = parameter_dtype("generate_square_subsequent_mask", device, dtype)
        return Tensor(np.triu(np.full((sz, sz), -np.inf, dtype), 1))


def _activation(layer: str, given: Any) -> Any:
    """A function of tensors, by its name too."""
    if isinstance(given, str):
        named = {"relu": functional.relu, "gelu": functional.gelu}
        if given not in named:
            raise ArgumentError(
                f"{layer}: activation must be 'relu', 'gelu' or a function, it is {given!r}"
            )
        return named[given]
    if not callable(given):
        raise ArgumentError(f"{layer}: activation must be a function, it is {shown(given)}")
    return given


def _copies(owner: str, name: str, layer: Any, count: int) -> ModuleList:
    if not isinstance(layer, Module):
        raise ArgumentError(f"{owner}: {name} must be a layer, it is {shown(layer)}")
    if count < 0:
        raise ArgumentError(f"{owner}: num_layers must not be negative, it is {count}")
    return ModuleList([copy.deepcopy(layer) for _ in range(count)])
