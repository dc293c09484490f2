"""Data sets that come with the package, by name."""

from importlib import resources
from pathlib import Path
from typing import NamedTuple

from mlffjax.errors import InputError

DATASET = "cr_sb2te3_pbe"


class BundledPath(NamedTuple):
    """File and kind of a bundled path."""

    file: str
    closed: bool


PATHS = {
    "in_gap": BundledPath("neb_in_gap.xyz", closed=False),
    "deep": BundledPath("neb_deep.xyz", closed=False),
    "slide_pristine": BundledPath("slide_bilayer_pristine.xyz", closed=True),
    "slide_doped": BundledPath("slide_bilayer_doped.xyz", closed=False),
}
ISOLATED = "isolated_atoms.xyz"


def root() -> Path:
    """Directory of the PBE data of Cr-intercalated Sb2Te3; its README says what they are."""
    return Path(str(resources.files("mlffjax"))) / "assets" / DATASET


def names() -> tuple[str, ...]:
    """What ``files`` knows: ``frames``, ``isolated`` and the paths that are present."""
    return (
        "frames",
        "isolated",
        *(name for name, path in PATHS.items() if (root() / path.file).is_file()),
    )


def files(name: str) -> tuple[Path, ...]:
    """Files of a named part of the bundled data.

    ``frames`` are all labelled structures to train and test on (snapshots of molecular dynamics and
    strained cells), ``isolated`` the free atoms; other names are paths (``PATHS``).

    Raises:
        InputError: there is no part of that name; the message lists the names.
    """
    if name not in names():
        raise InputError(
            f"expected one of the bundled parts {', '.join(names())}, got {name!r}; see "
            f"{root() / 'README.md'}"
        )
    if name == "isolated":
        return (root() / ISOLATED,)
    if name in PATHS:
        return (root() / PATHS[name].file,)
    others = {ISOLATED, *(path.file for path in PATHS.values())}
    return tuple(sorted(path for path in root().glob("*.xyz") if path.name not in others))
