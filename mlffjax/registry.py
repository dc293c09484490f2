"""A ``kind`` in a configuration is the name of a module.

``resolve("probes", "sliding")`` imports ``mlffjax.probes.sliding`` and no other probe. To add a
kind, add a file; there is no list to keep.
"""

import difflib
import importlib
import pkgutil
from types import ModuleType

from mlffjax.errors import ConfigError


def kinds(package: str) -> tuple[str, ...]:
    """Names that ``resolve`` accepts: the public modules of ``mlffjax.<package>``, sorted."""
    path = importlib.import_module(f"mlffjax.{package}").__path__
    return tuple(sorted(m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_")))


def resolve(package: str, kind: str) -> ModuleType:
    """Import ``mlffjax.<package>.<kind>``.

    Raises:
        ConfigError: there is no such module; the message suggests the nearest name.
    """
    known = kinds(package)
    if kind not in known:
        near = difflib.get_close_matches(str(kind), known, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(
            f"{kind!r} is not a kind of {package}; {hint}known kinds: {', '.join(known) or 'none'}"
        )
    return importlib.import_module(f"mlffjax.{package}.{kind}")
