"""Everything this package raises on purpose.

A message says what was expected, what came, and what to do about it. Catch ``MlffjaxError`` to
catch all of them; where Python has a fitting built-in error, the class is one of those too.
"""


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


class TrainingError(MlffjaxError):
    """A training run cannot start or cannot go on."""


class MissingExtra(MlffjaxError, ImportError):
    """An optional dependency is needed; the message holds the command that installs it."""
