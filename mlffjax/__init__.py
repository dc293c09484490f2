"""Machine-learned force fields in JAX: train, probe, compare, decide.

Importing this package costs nothing: it imports no array library, sets no flag and prints
nothing. Two names are here because everybody needs them, and both import what they need when
they are first used::

    import mlffjax

    potential, card = mlffjax.load("bundled:generalist")
    mlffjax.save("my-potential", potential, card)

Everything else is imported from where it lives. Data flows one way, and the tree is the data
flow: structures, graphs, potential, then training, dynamics, pathways, analysis and
representation, then probes and active, then study, report and cli. A module imports only what
lies below it.

Internally lengths are in Å, energies in eV and masses in u; a quantity that crosses the border
carries its unit in its name (``timestep_fs``).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlffjax.potential.store import load as load
    from mlffjax.potential.store import save as save

    __version__: str

__all__ = ["__version__", "load", "save"]


def __getattr__(name: str) -> Any:
    """Import ``load`` and ``save`` and look up the version when they are first asked for."""
    if name in ("load", "save"):
        return getattr(importlib.import_module("mlffjax.potential.store"), name)
    if name == "__version__":
        metadata = importlib.import_module("importlib.metadata")
        try:
            return metadata.version("mlffjax")
        except metadata.PackageNotFoundError:  # imported from a source tree, never installed
            return "0+uninstalled"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
