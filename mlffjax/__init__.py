"""Machine-learned force fields in JAX: train, probe, compare, decide.

Importing this package costs nothing: it imports no array library, sets no flag and prints
nothing. Three names are here because everybody needs them, and they import what they need when
they are first used::

    import mlffjax

    potential, card = mlffjax.load("bundled:generalist")
    mlffjax.save("my-potential", potential, card)
    atoms.calc = mlffjax.calculator("my-potential")  # for ASE; or a potential, or a committee

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
    from mlffjax.potential.ase_calculator import calculator as calculator
    from mlffjax.potential.store import load as load
    from mlffjax.potential.store import save as save

    __version__: str

__all__ = ["__version__", "calculator", "load", "save"]

_HOMES = {
    "calculator": "mlffjax.potential.ase_calculator",
    "load": "mlffjax.potential.store",
    "save": "mlffjax.potential.store",
}


def __getattr__(name: str) -> Any:
    """Import what has its home elsewhere and look up the version when first asked for."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name == "__version__":
        metadata = importlib.import_module("importlib.metadata")
        try:
            return metadata.version("mlffjax")
        except metadata.PackageNotFoundError:  # imported from a source tree, never installed
            return "0+uninstalled"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
