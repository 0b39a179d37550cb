"""Updates of the rows of a table that a gradient touched, and of no others."""

from __future__ import annotations

from collections.abc import Iterator

from mynn.errors import ArgumentError, UsageError
from mynn.optim.options import ParamGroup
from mynn.tensor import Parameter, Tensor
from mynn.tensor.gradients import touched
from mynn.tensor.gradients.history import array_of, changed
from mynn.trace import tracing

# Of a table's rows at most one in so many is updated by itself; otherwise the whole table is.
_FEW = 2


class TouchedRows:
    """Some rows of a table: read, and written where each has one value.

    A row may be there more than once; it has the same values at all its places then.
    """

    def __init__(self, index: Tensor) -> None:
        self.index = index

    def of(self, table: Tensor) -> Tensor:
        """The rows [N, ...]."""
        rows: Tensor = table.detach().gather_rows(self.index, 0, clip=True)
        return rows

    def put(self, table: Tensor, rows: Tensor) -> None:
        """Write the rows; in a compiled step where the table lies."""
        if tracing.active() is None:
            array_of(table)[array_of(self.index)] = array_of(rows)
            changed(table)
            return
        column = self.index.reshape((-1, *(1,) * (table.ndim - 1)))
        places = column.broadcast_to(rows.shape)
        table.assign(table.detach().scatter_along(places, rows, 0, "set"))


def sparse_rows(parameter: Parameter) -> TouchedRows | None:
    """The rows that are noted with a gradient: a layer with `sparse=True` made it."""
    gradient = parameter.grad
    index = None if gradient is None else touched.touched_rows(gradient)
    return None if index is None else TouchedRows(index)


def few_rows(parameter: Parameter) -> TouchedRows | None:
    """The rows that an update needs to look at which leaves a row without gradient as it is: those
    of a sparse gradient, and in a trace those of any other where it shows that they are few.
    """
    found = sparse_rows(parameter)
    if found is not None or tracing.active() is None or parameter.grad is None:
        return found
    index = touched.scattered_rows(parameter.grad)
    few = index is not None and index.numel() * _FEW <= parameter.shape[0]
    return TouchedRows(index) if few else None


def called(parameter: Parameter) -> str:
    """A parameter, in an error."""
    return parameter.name or f"a parameter of shape {parameter.shape}"


def _with_sparse(params: list[Parameter]) -> Iterator[Parameter]:
    """The parameters whose gradients are sparse."""
    for parameter in params:
        if parameter.grad is not None and touched.indices_of(parameter.grad) is not None:
            yield parameter


def refuse_sparse(name: str, params: list[Parameter], remedy: str) -> None:
    """Raise where the gradient of a parameter is sparse."""
    for parameter in _with_sparse(params):
        raise UsageError(
            f"{name} does not support sparse gradients, and that of {called(parameter)} comes from "
            f"a layer with sparse=True; {remedy}"
        )


def refuse_decay(name: str, group: ParamGroup, params: list[Parameter]) -> None:
    """Raise where weight decay would change rows that a sparse gradient leaves out."""
    if group["weight_decay"] == 0:
        return
    for parameter in _with_sparse(params):
        raise ArgumentError(
            f"{name}: weight_decay is {group['weight_decay']}, and does not go with the sparse "
            f"gradient of {called(parameter)}: it changes all rows. Set it to 0, or sparse=False"
        )
