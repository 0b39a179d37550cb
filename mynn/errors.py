"""The errors that mynn raises, all of them subclasses of `MynnError`.

Each is also a subclass of the built-in error that a user would expect (`ValueError`,
`TypeError`...), so that code written against NumPy or PyTorch habits catches them without knowing
this module.
"""

from __future__ import annotations


class MynnError(Exception):
    """Base of every error raised on purpose by mynn.

    `layer` is the path of the layer in which it arose, where that is known.

    Example:
        >>> from mynn import nn
        >>> try:
        ...     nn.Sequential(nn.Linear(2, 3), nn.Linear(4, 1))([1.0, 2.0])
        ... except MynnError as error:
        ...     print(error.layer)
        1
    """

    layer: str | None = None


class ShapeError(MynnError, ValueError):
    """Shapes do not fit; the message names the operation or layer, the shapes and the remedy."""


class DTypeError(MynnError, TypeError):
    """A dtype is not supported, or dtypes do not fit together."""


class DataError(MynnError, ValueError):
    """Data cannot be used: empty, not finite, labels out of range."""


class LengthError(MynnError, TypeError):
    """The length of a tensor without axes."""


class IndexRangeError(MynnError, IndexError):
    """An index points outside an axis; the message names the index, its place and the extent."""


class KeyNameError(MynnError, KeyError):
    """A name that is not there; the message lists those that are."""

    def __str__(self) -> str:
        return str(self.args[0])


class ArgumentError(MynnError, ValueError):
    """An argument is out of its range: a negative learning rate, zero epochs."""


class ArgumentTypeError(ArgumentError, TypeError):
    """An argument of the wrong type, or arguments that a call does not take: too many, missing,
    unknown.
    """


class FileMissingError(ArgumentError, FileNotFoundError):
    """A file that is to be read is not there."""


class UsageError(MynnError, RuntimeError):
    """Calls in an order that has no meaning.

    Backward without a gradient, training without a criterion.
    """


class NotWrittenError(UsageError, NotImplementedError):
    """A method that a subclass has to have, and has not."""


class NotFiniteError(MynnError, FloatingPointError):
    """NaN or infinity arose; the message names the step and the first layer or operation."""


class GradientError(MynnError, AssertionError):
    """A derivative is not what differences of the function say; see `mynn.check_grads`."""


class GradcheckError(GradientError, RuntimeError):
    """The same, of `mynn.autograd.gradcheck`."""


class VerifyError(MynnError, AssertionError):
    """An intermediate representation breaks one of its rules.

    A bug in mynn, not in the user's code.
    """


class TraceWarning(UserWarning):
    """A compiled function does something that its program will not do again, or not as it reads.

    Python in it runs once, while it is traced. The warning stands at the line and says what to
    write instead; `MYNN_CHECK=1` raises `UsageError` in its place.
    """


class CompileError(MynnError, RuntimeError):
    """The native program could not be built."""
