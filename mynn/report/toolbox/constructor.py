"""`model`, the constructor: it holds what the tools record, and runs sequences of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from mynn.core.types import Array
from mynn.errors import ArgumentError, DTypeError, ShapeError, UsageError
from mynn.report.toolbox.checks import samples
from mynn.report.toolbox.fitting import History, Plan, run
from mynn.report.toolbox.passes import forward_pass, is_known, store, whole_pass
from mynn.report.toolbox.programs import Programs
from mynn.report.toolbox.record import Record, memory_of
from mynn.report.toolbox.sequence import Arguments
from mynn.report.toolbox.tools import linear
from mynn.tensor import Tensor, no_grad


class model(Record):
    """Constructor: combines tool modules into a network, and records what they compute.

    Attributes (lists: index 0 for the input, 1..lt for the layers; `mynn.report.toolbox.record`):
        x: inputs and outputs of the layers; x[0] is the input, x[lt] the output.
        s: outputs of the layers before their activation.
        w, b: weights and biases. They are live: changing or assigning them changes the layer.
        dl_dw, dl_db, dl_ds, dl_dx: gradients of the loss. dl_dx[0] is the input's.
        lt: number of layers (`linear` modules).
        ln: the layer that the pass has reached.
        ini: whether the modules have been initialised.
        target: what the criterion compares the output with.

    Args:
        dtype: of parameters and values, float32 or float64.
        seed: of the generator that draws the parameters; anything `numpy.random.default_rng` takes.

    Example:
        >>> from mynn.module import *
        >>> net = model(seed=0)
        >>> sequence = [linear(2, 25, net), sigmoid(net)]
        >>> output = net.train(sequence, [0.25, 0.5])
        >>> [None if value is None else value.shape for value in net.x]
        [(2,), (25,)]

    Source: the report, section 1.2.
    """

    def __init__(self, dtype: Any = np.float32, seed: Any = None) -> None:
        if np.dtype(dtype) not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise DTypeError(f"model: dtype must be float32 or float64, it is {np.dtype(dtype)}")
        super().__init__(dtype, seed)
        self._plans: dict[Any, Plan] = {}
        self._programs = Programs()

    def __repr__(self) -> str:
        return f"model({', '.join(map(repr, self.layers))})"

    def redraw(self, seed: Any = None) -> None:
        """Draw all parameters anew, in place, as `ini` drew them, from a generator with `seed`."""
        self.generator = np.random.default_rng(seed)
        for layer in self.layers:
            layer.redraw()

    def train(
        self,
        first: Any = None,
        second: Any = None,
        third: Any = None,
        forward_only: bool = False,
        *,
        sequence: Any = None,
        input: Any = None,
        target: Any = None,
    ) -> Array:
        """Forward pass through a sequence of tools, then backward; everything is recorded.

        Takes the report's order, `train(sequence, input, target)`, and the reference program's,
        `train(input, target, sequence, forward_only)`; which one it is shows by where the list of
        tools stands. The tools are initialised first where they have not been. A sequence of other
        layers than last time replaces the network; layers keep their parameters all along.

        Args:
            sequence: list of tools, beginning with a `linear`.
            input: one sample of shape (m,), or a batch of shape (B, m).
            target: of the shape of the output. Without a target and without a criterion, as in the
                report's example `train(seq, input)`, there is nothing to go back from: the forward
                pass is run and recorded, as with `forward_only`.
            forward_only: leave out the backward pass, ln stays lt; otherwise ln ends as 0.

        Returns:
            The output x[lt].

        Raises:
            UsageError: a target without a criterion or a criterion without a target (unless
                `forward_only`); a tool of another constructor; a layer that stands twice.
            ShapeError: shapes that do not fit, with the layer's name.
            DataError, DTypeError: empty data, NaN or infinity, values that are no real numbers.
            Nothing has been computed or changed then.
        """
        tools, x, t = _in_order((first, second, third), sequence, input, target)
        checked = self._check(tools, x, t)
        backward = not forward_only and self._can_go_back(checked)
        self.enter(checked.tools, checked.layers, checked.target)
        if not self._run_program(checked, backward):
            for tool in checked.tools:
                tool.forward(checked.input)
            for tool in reversed(checked.tools if backward else ()):
                tool.backward(None)
        output: Array = self.x[self.lt]
        return output

    def _run_program(self, checked: Arguments, backward: bool) -> bool:
        """Run the pass as one program, if it has been asked for often enough to have one."""
        if not is_known(checked):
            return False
        kept = (checked.tools, checked.criterion)
        key = (backward, checked.input.shape, id(checked.criterion), *map(id, checked.tools))
        make = whole_pass if backward else forward_pass
        program = self._programs.get(key, kept, lambda: make(checked))
        if program is None:
            return False
        data = (checked.input, checked.target) if backward else (checked.input,)
        values = program(*data)
        self.start(checked.input, checked.given)
        store(self, values)
        self.ln = 0 if backward else self.lt
        self._replay = () if backward else checked.tools
        return True

    def predict(self, first: Any = None, second: Any = None, **named: Any) -> Array:
        """Output of a sequence for a sample or a batch; nothing is recorded.

        Arguments and errors are those of `train(sequence, input)`, in either order.
        """
        tools, x, _ = _in_order((first, second, None), named.pop("sequence", None), **named)
        checked = self._check(tools, x, None)
        for layer in checked.layers:
            layer.create()
            if layer.index:
                layer.adopt()
        value = Tensor.from_value(checked.input)
        with no_grad():
            for tool in checked.tools:
                value = tool.operation(value)
        return memory_of(value)

    def fit(
        self,
        first: Any = None,
        second: Any = None,
        third: Any = None,
        *,
        epochs: int,
        optimizer: Any = None,
        batch_size: int = 1,
        shuffle: bool = False,
        sequence: Any = None,
        input: Any = None,
        target: Any = None,
    ) -> History:
        """Train whole epochs in native code: `train` and `optimizer.update` for each batch in turn.

        What is recorded in the end is what `train` and `update` leave after the last batch (a batch
        of one counts as a sample, without batch axis).

        Args:
            first, second, third, or sequence, input, target: in either order of `train`; input has
                shape (N, m), target (N, n).
            epochs: passes over all samples.
            optimizer: an `optimizer_sgd` of this constructor.
            batch_size: samples for one update; the last batch of an epoch may be smaller.
            shuffle: whether each epoch takes the samples in a new random order (from the
                constructor's generator).

        Returns:
            History: for each epoch the sum of the losses and the accuracy, both as found while it
            trained, and the seconds it all took.

        Raises:
            ArgumentError: epochs or batch_size below 1.
            UsageError, ShapeError, DataError, DTypeError: as `train`, or no optimizer.
            NotFiniteError: the loss became NaN or infinite.
        """
        tools, x, t = _in_order((first, second, third), sequence, input, target)
        checked = self._check(tools, x, t)
        if not self._can_go_back(checked):
            raise UsageError("fit: training without a target or a criterion; give both")
        if checked.input.ndim != 2:
            raise ShapeError(f"fit: input must have shape (N, m), it has {checked.input.shape}")
        return run(self, checked, epochs, batch_size, shuffle, optimizer, self._plans, self.train)

    # -- checks ------------------------------------------------------------------------------------

    def _check(self, tools: tuple[Any, ...], x: Any, t: Any) -> Arguments:
        layers = self._check_sequence(tools)
        array = samples(x, "the input", layers[0].m, _numbered(layers[0], 1), self.dtype)
        target = None
        if t is not None:
            last = _numbered(layers[-1], len(layers))
            target = samples(t, "the target", layers[-1].n, f"the output of {last}", self.dtype)
            if target.shape[:-1] != array.shape[:-1]:
                raise ShapeError(
                    f"the target has shape {target.shape} and the input {array.shape}: each sample "
                    "needs one of both"
                )
        criterion = layers[-1].criterion or self.criterion
        return Arguments(tools, layers, x, array, target, criterion)

    def _check_sequence(self, tools: tuple[Any, ...]) -> tuple[linear, ...]:
        for tool in tools:
            if getattr(tool, "model", self) is not self:
                raise UsageError(f"{tool} belongs to another constructor; make one for this one")
        if not tools or not isinstance(tools[0], linear):
            raise UsageError("a sequence must begin with a linear module")
        layers = tuple(tool for tool in tools if isinstance(tool, linear))
        for k, (before, after) in enumerate(pairwise(layers), 1):
            if before.n != after.m:
                raise ShapeError(
                    f"{_numbered(after, k + 1)} takes {after.m} features, "
                    f"{_numbered(before, k)} gives {before.n}"
                )
        if len(set(layers)) != len(layers):
            raise UsageError("a linear module stands twice in the sequence; make a second one")
        return layers

    def _can_go_back(self, checked: Arguments) -> bool:
        if checked.target is None and checked.criterion is None:
            return False
        if checked.target is None:
            raise UsageError(
                "training without a target: give one, or forward_only=True for a forward pass"
            )
        if checked.criterion is None:
            raise UsageError(
                "training without a criterion: make one with criterion_mse(model) and give it to "
                "the last layer, linear(m, n, model, criterion)"
            )
        return True


def _is_tool(value: Any) -> bool:
    return all(callable(getattr(value, name, None)) for name in ("ini", "forward", "backward"))


def _in_order(
    given: tuple[Any, ...], sequence: Any = None, input: Any = None, target: Any = None
) -> tuple[tuple[Any, ...], Any, Any]:
    """Sequence, input and target from arguments in either order, or by name."""
    others = []
    for place, value in enumerate(given):
        if isinstance(value, list | tuple) and any(map(_is_tool, value)):
            if sequence is not None:
                raise UsageError("two sequences of tools were given")
            sequence = value
        elif value is not None or place > 0:
            others.append(value)
    if sequence is None:
        raise UsageError("a list of tools is needed, such as [linear(2, 25, mynn), sigmoid(mynn)]")
    if not isinstance(sequence, Sequence) or not all(map(_is_tool, sequence)):
        raise UsageError(f"the sequence must be a list of tool modules, it is {sequence!r}")
    for value in others:
        if input is None:
            input = value
        elif target is None:
            target = value
        elif value is not None:
            raise UsageError("more arrays were given than an input and a target")
    if input is None:
        raise ArgumentError("an input is needed: train(sequence, input, target)")
    return tuple(sequence), input, target


def _numbered(layer: linear, k: int) -> str:
    return f"linear({layer.m}, {layer.n}) [layer {k}]"
