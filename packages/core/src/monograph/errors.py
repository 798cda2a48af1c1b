"""Every error Monograph raises on purpose.

Each derives from `MonographError` *and* from the built-in a Python user would expect, so
`except TypeError` keeps working. A message found while a graph is built starts with the user's own
file and line.
"""

from collections.abc import Sequence


class MonographError(Exception):
    """The root of Monograph's errors."""


class ShapeError(MonographError, ValueError):
    """Shapes or axes that do not fit an operation."""


class AxisError(ShapeError, IndexError):
    """An axis that an array does not have."""


class OutOfBounds(ShapeError, IndexError):
    """An index outside its axis, too many indices, or a mask of another shape."""


class DTypeError(MonographError, TypeError):
    """A dtype an operation cannot take, or that no installed package provides."""


class IndexTypeError(DTypeError, IndexError):
    """An index that is no integer, slice, None, ``...``, integer array or mask."""


class ArgumentError(MonographError, ValueError):
    """An argument whose value is out of range, or whose structure is not the expected one."""


class TraceError(MonographError, RuntimeError):
    """A traced value used where only a number can be: Python `if`, `int()`, another trace."""


class DataDependentShape(TraceError):
    """A function whose result shape depends on data, which no static graph can hold."""


class NotDifferentiable(MonographError, TypeError):
    """A gradient was asked through an operation that has none."""


class GraphError(MonographError, ValueError):
    """A graph that breaks a rule of the representation; found by the verifier."""


class FileFormatError(MonographError, ValueError):
    """A file that is not what it says: truncated, altered, or of another version."""


class StorageError(MonographError, OSError):
    """A file that cannot be written or read: disk full, no permission, no such file."""

    def __str__(self) -> str:  # OSError would show errno and filename instead
        return str(self.args[0]) if self.args else ""


class EngineError(MonographError, RuntimeError):
    """An engine that is unknown, not installed, unhealthy, or failed while it ran."""


class NativeError(MonographError, RuntimeError):
    """C or C++ code that does not compile or cannot be loaded, or a cache for it that is not safe."""


class NonFinite(MonographError, FloatingPointError):
    """A NaN or an infinity that an operation made of finite numbers, found by `mg.nan_guard`.

    Attributes:
        report: what was found (`monograph.examine.Report`): operation, line, scope, statistics.
    """

    report: object = None


class PluginError(MonographError, RuntimeError):
    """A plug-in that could not be found, loaded or told apart from another."""


class VariableError(MonographError, KeyError):
    """A variable created twice, missing, or of another shape than asked."""

    def __str__(self) -> str:  # KeyError would show the message's repr
        return str(self.args[0]) if self.args else ""


class UnsupportedModel(MonographError, NotImplementedError):
    """A model from elsewhere needs what its importer lacks; lists *all* of it at once."""

    def __init__(self, name: str, missing: Sequence[object]):
        self.missing = tuple(missing)
        lines = "\n".join(f"  {m}" for m in self.missing)
        super().__init__(f"{name} needs {len(self.missing)} thing(s) that are missing:\n{lines}")


class UnsupportedOp(MonographError, NotImplementedError):
    """An engine cannot run some operations of a graph; names *all* of them at once."""

    def __init__(self, engine: str, missing: dict[str, str]):
        self.engine, self.missing = engine, missing
        lines = "\n".join(f"  {name}: first used at {where}" for name, where in missing.items())
        super().__init__(
            f"engine {engine!r} has no lowering for {len(missing)} operation(s) of this graph:\n"
            f"{lines}\nUse another engine (see mg.engines()), or add one line per operation to "
            f"the engine's table (docs/writing-an-engine.md)."
        )
