"""Everything this package raises on purpose.

A message says what was expected, what came, and what to do about it. Catch ``MlffjaxError`` to
catch all of them; where Python has a fitting built-in error, the class is one of those too.
"""

import re


class MlffjaxError(Exception):
    """Root of all errors raised on purpose."""


class InputError(MlffjaxError, ValueError):
    """Data of the user cannot be used; the message names the file and the frame."""


class ConfigError(MlffjaxError, ValueError):
    """A configuration cannot be used; the message names the dotted path of the entry."""


class CapacityError(MlffjaxError):
    """More atoms, neighbours or graphs than the allocated arrays hold."""


class CompatibilityError(MlffjaxError):
    """Two things that do not belong together: mixed references, unknown elements, versions."""


class HealthError(MlffjaxError):
    """The installation computes wrong numbers."""


class StorageError(MlffjaxError, OSError):
    """A file or folder cannot be written: the disk is full, read-only, or gone."""


class TrainingError(MlffjaxError):
    """A training run cannot start or cannot go on."""


class MissingExtra(MlffjaxError, ImportError):
    """An optional dependency is needed; the message holds the command that installs it."""


_WAY = re.compile(r"Traceback \(most recent call last\):\n(?:  .*\n)+")


def said(error: BaseException) -> str:
    """Type and message of an error, in the words of whoever raised it first.

    What the host raises while compiled code waits for it (a calculator of others that fails)
    arrives inside an error of JAX, behind the way it came.
    """
    text = f"{type(error).__name__}: {error}"
    way = _WAY.search(text)
    if way is None or "allback" not in text[: way.start()]:
        return text
    return text[way.end() :].strip()
