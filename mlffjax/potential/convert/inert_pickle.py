"""Read a pickle as data: an interpreter of its opcodes that imports nothing and calls nothing.

Python's own unpickler imports whatever a pickle names and calls it. Here a global stays a name
(``Global``), and an object is a record of how it would have been made (``Inert``). The few
functions that data need, such as the one that makes a tensor, are given by the caller and are the
only ones that run. Names outside an explicit pattern are refused before anything is made of them.
"""

import pickletools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from mlffjax.errors import InputError, MlffjaxError

LITERALS = {
    "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4",
    "FLOAT", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES",
    "SHORT_BINBYTES", "BINBYTES8",
}  # fmt: skip
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
CONTAINERS = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set, "EMPTY_TUPLE": tuple}
KEYS = (str, bytes, int, float, type(None))
"""What dictionaries and sets may be keyed by, beside inert objects and flat tuples: hashing nested
tuples recurses in C, and a deep one would crash Python."""


@dataclass(frozen=True)
class Global:
    """A function or class that the pickle names; never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Inert:
    """An object of a class that was not imported: what it would have been made from."""

    kind: Global
    arguments: tuple
    state: Any = None
    items: list = field(default_factory=list)
    entries: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Rules:
    """What a pickle may say.

    ``allowed`` matches whole dotted names; ``rebuild`` holds our functions for some of them;
    ``persistent`` turns a persistent identifier into what it stands for.
    """

    allowed: re.Pattern[str]
    rebuild: Mapping[str, Callable[..., Any]]
    persistent: Callable[[Any], Any]


def read_pickle(data: bytes, rules: Rules) -> Any:
    """The object that a pickle describes, of containers, literals, ``Global`` and ``Inert``.

    Nested containers are as deep as the file wants and may contain themselves: do not recurse
    into them without a limit.

    Args:
        data: the pickle.
        rules: what it may say.

    Raises:
        InputError: the pickle is damaged, uses opcodes that torch does not write, or names
            something outside the pattern.
    """
    machine, reached = _Machine(rules), 0
    try:
        for opcode, argument, position in pickletools.genops(data):
            reached = position or 0
            machine.step(opcode.name, argument)
        (result,) = machine.finished
        return result
    except MlffjaxError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(
            f"the pickle is damaged near byte {reached} of {len(data)}: {str(error)[:200]}; copy "
            "the file again"
        ) from error


class _Machine:
    """Stack, marks and memo of a pickle."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # what lay on the stack at each mark
        self.memo: dict[int, Any] = {}
        self.finished: list[Any] = []

    def step(self, name: str, argument: Any) -> None:
        """Obey one opcode."""
        if name in LITERALS:
            self.stack.append(CONSTANTS.get(name, argument))
        elif name in CONTAINERS:
            self.stack.append(CONTAINERS[name]())
        elif name in self.HANDLERS:
            self.HANDLERS[name](self, argument)
        else:
            raise InputError(f"the pickle uses the opcode {name}, which torch does not write")

    def mark(self, _: Any) -> None:
        self.below.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def long_tuple(self, _: Any) -> None:
        items = self.since_mark()  # which gives back the stack that the tuple goes to
        self.stack.append(tuple(items))

    def short_tuple(self, length: int) -> None:
        if len(self.stack) < length:
            raise IndexError("a tuple of more than is on the stack")
        items = self.stack[-length:]
        self.stack[-length:] = [tuple(items)]

    def named(self, module: str, name: str) -> None:
        found = Global(module, name)
        if not self.rules.allowed.fullmatch(str(found)):
            raise InputError(
                f"the file names {str(found)[:120]!r}, which has no place in a model; nothing of "
                "it was run. If you trust its origin, save the plain model again"
            )
        self.stack.append(found)

    def named_on_stack(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise TypeError("a global without a name")
        self.named(module, name)

    def make(self, _: Any) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        if not isinstance(kind, Global) or not isinstance(arguments, tuple):
            raise TypeError("a call of something that is no global")
        rebuild = self.rules.rebuild.get(str(kind))
        self.stack.append(rebuild(*arguments) if rebuild else Inert(kind, arguments))

    def make_with_keywords(self, _: Any) -> None:
        keywords = self.stack.pop()
        if keywords:
            raise TypeError("an object made with keyword arguments")
        self.make(None)

    def build(self, _: Any) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        if isinstance(made, Inert):
            made.state = state
        elif not isinstance(made, dict):  # the attributes of an OrderedDict say nothing we need
            raise TypeError(f"a state for a {type(made).__name__}")

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, set):
            for item in items:
                _check_key(item)
            target.update(items)
        elif isinstance(target, list | Inert):
            (target.items if isinstance(target, Inert) else target).extend(items)
        else:
            raise TypeError(f"items for a {type(target).__name__}")

    def assign(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict | Inert) or len(items) % 2:
            raise TypeError(f"entries for a {type(target).__name__}")
        entries = target.entries if isinstance(target, Inert) else target
        for key, value in zip(items[::2], items[1::2], strict=True):
            _check_key(key)
            entries[key] = value

    def pop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.since_mark()

    def assign_one(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.assign([key, value])

    HANDLERS: ClassVar[dict[str, Callable[["_Machine", Any], Any]]] = {
        "PROTO": lambda self, _: None,
        "FRAME": lambda self, _: None,
        "STOP": lambda self, _: self.finished.append(self.stack.pop()),
        "MARK": mark,
        "POP": pop,
        "POP_MARK": lambda self, _: self.since_mark(),
        "DUP": lambda self, _: self.stack.append(self.stack[-1]),
        "PUT": put,
        "BINPUT": put,
        "LONG_BINPUT": put,
        "MEMOIZE": lambda self, _: self.put(len(self.memo)),
        "GET": lambda self, index: self.stack.append(self.memo[index]),
        "BINGET": lambda self, index: self.stack.append(self.memo[index]),
        "LONG_BINGET": lambda self, index: self.stack.append(self.memo[index]),
        "TUPLE": long_tuple,
        "TUPLE1": lambda self, _: self.short_tuple(1),
        "TUPLE2": lambda self, _: self.short_tuple(2),
        "TUPLE3": lambda self, _: self.short_tuple(3),
        "APPEND": lambda self, _: self.extend([self.stack.pop()]),
        "APPENDS": lambda self, _: self.extend(self.since_mark()),
        "ADDITEMS": lambda self, _: self.extend(self.since_mark()),
        "SETITEM": assign_one,
        "SETITEMS": lambda self, _: self.assign(self.since_mark()),
        "GLOBAL": lambda self, names: self.named(*names.split(" ", 1)),
        "STACK_GLOBAL": named_on_stack,
        "BINPERSID": lambda self, _: self.stack.append(self.rules.persistent(self.stack.pop())),
        "REDUCE": make,
        "NEWOBJ": make,
        "NEWOBJ_EX": make_with_keywords,
        "BUILD": build,
    }


def _check_key(key: Any) -> None:
    parts = key if isinstance(key, tuple) else (key,)
    if not all(isinstance(part, (*KEYS, Inert, Global)) for part in parts):
        raise TypeError("a key that is neither a literal, an object nor a flat tuple of them")
