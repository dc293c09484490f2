"""Published MACE models by name: where they are, on what terms, and fetching them once.

Names and addresses are those of mace-torch 0.3.16 (``mace.calculators.foundations_models``), the
labels those of https://github.com/ACEsuit/mace-foundations and https://github.com/ACEsuit/mace-off.
A fetched file stays in ``cache_folder()``. Nobody publishes checksums, so the one of the first use
is written beside the file, and the file must have it ever after.
"""

import difflib
import fcntl
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

from mlffjax import startup
from mlffjax.durable import write_bytes
from mlffjax.errors import InputError

Progress = Callable[[int, int | None], None]
"""Told the bytes that are there and, if the server says it, how many there will be."""

BLOCK = 1 << 18
TIMEOUT = 60.0  # s without a byte
ASL = "ASL"
TERMS = {
    "MIT": "MIT licence",
    ASL: "Academic Software License: no commercial use, see https://github.com/gabor1/ASL",
}


class Labels(NamedTuple):
    """What a model was trained to reproduce."""

    reference: str
    functional: str
    dispersion: str | None = None


class Release(NamedTuple):
    """A published model."""

    address: str
    licence: str  # a key of TERMS
    labels: Labels | None  # None if they depend on the head


_MP = "https://github.com/ACEsuit/mace-mp/releases/download/"
_FOUNDATIONS = "https://github.com/ACEsuit/mace-foundations/releases/download/"
_OFF = "https://raw.githubusercontent.com/ACEsuit/mace-off/main/"
_MPTRJ = Labels("VASP, PBE with Materials Project's +U, MPtrj", "PBE+U")
_MPA = Labels("VASP, PBE with Materials Project's +U, MPtrj and sAlex", "PBE+U")
_OMAT = Labels("VASP, PBE with +U, PAW 54, OMat24", "PBE+U")
_SPICE = Labels("Psi4, wB97M-D3(BJ)/def2-TZVPPD, SPICE", "wB97M-D3(BJ)", "D3(BJ)")

RELEASES = {
    "small": Release(
        f"{_MP}mace_mp_0/2023-12-10-mace-128-L0_energy_epoch-249.model", "MIT", _MPTRJ
    ),
    "medium": Release(f"{_MP}mace_mp_0/2023-12-03-mace-128-L1_epoch-199.model", "MIT", _MPTRJ),
    "large": Release(f"{_MP}mace_mp_0/MACE_MPtrj_2022.9.model", "MIT", _MPTRJ),
    "small-0b": Release(f"{_MP}mace_mp_0b/mace_agnesi_small.model", "MIT", _MPTRJ),
    "medium-0b": Release(f"{_MP}mace_mp_0b/mace_agnesi_medium.model", "MIT", _MPTRJ),
    "small-0b2": Release(f"{_MP}mace_mp_0b2/mace-small-density-agnesi-stress.model", "MIT", _MPTRJ),
    "medium-0b2": Release(
        f"{_MP}mace_mp_0b2/mace-medium-density-agnesi-stress.model", "MIT", _MPTRJ
    ),
    "large-0b2": Release(f"{_MP}mace_mp_0b2/mace-large-density-agnesi-stress.model", "MIT", _MPTRJ),
    "medium-0b3": Release(f"{_MP}mace_mp_0b3/mace-mp-0b3-medium.model", "MIT", _MPTRJ),
    "medium-mpa-0": Release(f"{_MP}mace_mpa_0/mace-mpa-0-medium.model", "MIT", _MPA),
    "small-omat-0": Release(f"{_MP}mace_omat_0/mace-omat-0-small.model", ASL, _OMAT),
    "medium-omat-0": Release(f"{_MP}mace_omat_0/mace-omat-0-medium.model", ASL, _OMAT),
    "matpes-pbe-0": Release(
        f"{_FOUNDATIONS}mace_matpes_0/MACE-matpes-pbe-omat-ft.model",
        ASL,
        Labels("VASP, PBE without +U, MatPES", "PBE"),
    ),
    "matpes-r2scan-0": Release(
        f"{_FOUNDATIONS}mace_matpes_0/MACE-matpes-r2scan-omat-ft.model",
        ASL,
        Labels("VASP, r2SCAN without +U, MatPES", "r2SCAN"),
    ),
    "mh-0": Release(f"{_FOUNDATIONS}mace_mh_1/mace-mh-0.model", ASL, None),
    "mh-1": Release(f"{_FOUNDATIONS}mace_mh_1/mace-mh-1.model", ASL, None),
    "off23-small": Release(f"{_OFF}mace_off23/MACE-OFF23_small.model", ASL, _SPICE),
    "off23-medium": Release(f"{_OFF}mace_off23/MACE-OFF23_medium.model", ASL, _SPICE),
    "off23-large": Release(f"{_OFF}mace_off23/MACE-OFF23_large.model", ASL, _SPICE),
    "off24-medium": Release(f"{_OFF}mace_off24/MACE-OFF24_medium.model", ASL, _SPICE),
}
"""Published models by name."""


def find(name: str) -> Release:
    """The release of a name.

    Raises:
        InputError: there is none; the message lists all.
    """
    if name not in RELEASES:
        near = difflib.get_close_matches(name, RELEASES, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(
            f"{name!r} is neither a file nor the name of a published model; {hint}"
            f"names: {', '.join(RELEASES)}"
        )
    return RELEASES[name]


def cache_folder() -> Path:
    """``models`` in the cache directory of the user, see ``startup.user_cache``."""
    return startup.user_cache() / "models"


def fetch(
    name: str,
    *,
    accept_licence: bool = False,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """The file of a published model, downloaded unless it is there already.

    Args:
        name: one of ``RELEASES``.
        accept_licence: that the user accepts terms that restrict the use.
        folder: where files are kept; ``cache_folder()`` by default.
        progress: called now and then while the file comes in.

    Raises:
        InputError: unknown name, terms not accepted, no connection, or a file that is not what it
            was at its first use.
    """
    release = find(name)
    if release.licence == ASL and not accept_licence:
        raise InputError(
            f"{name!r} is published under the {TERMS[ASL]}; accept these terms with "
            "--accept-licence (accept_licence=True)"
        )
    path = (folder or cache_folder()) / release.address.rpartition("/")[2]
    if not path.exists():
        download(release.address, path, progress)
    _check(path)
    return path


def download(address: str, path: Path, progress: Progress | None = None) -> None:
    """Fetch a model file; what an interrupted attempt left beside ``path`` is continued.

    Raises:
        InputError: the address cannot be read, or what came is incomplete or no model file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with open(part, "a+b") as file:
        _hold(file, part)
        try:
            total = _receive(address, file, _mark(part), progress)
        except urllib.error.HTTPError as error:
            raise InputError(
                f"{address} answers {error.code} {error.reason}; {_by_hand(path)}"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise InputError(
                f"cannot download {address} ({error}); run again to go on where it stopped, or "
                f"{_by_hand(path)}"
            ) from error
        finally:
            if not file.seek(0, os.SEEK_END):
                part.unlink()
        if total is not None and file.tell() != total:
            raise InputError(
                f"only {file.tell()} of {total} bytes of {address} came; run again to go on where "
                "it stopped"
            )
        file.seek(0)
        if file.read(2) != b"PK":
            part.unlink(missing_ok=True)
            raise InputError(f"{address} does not give a model file; {_by_hand(path)}")
        os.fsync(file.fileno())
        os.replace(part, path)
        _mark(part).unlink(missing_ok=True)


def _hold(file: IO[bytes], part: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"another process is downloading {part}; wait for it") from None


def _receive(address: str, file: IO[bytes], mark: Path, progress: Progress | None) -> int | None:
    """Append what the file lacks; returns the size of the whole if the server says it."""
    # Without something to tell versions apart, halves of two might be joined.
    known = mark.read_text() if mark.exists() else ""
    have = file.seek(0, os.SEEK_END) if known else 0
    request = urllib.request.Request(address, headers={"User-Agent": "mlffjax"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", known)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if not have or error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        file.truncate(0)  # as long as the file at the address, or longer: begin again
        return _receive(address, file, mark, progress)
    with response:
        continued = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if response.status != http.client.PARTIAL_CONTENT or not continued:
            have = 0
            file.truncate(0)
        _remember(mark, response.headers)
        length = response.headers.get("Content-Length")
        total = have + int(length) if length is not None else None
        while block := response.read(BLOCK):
            file.write(block)
            have += len(block)
            if progress is not None:
                progress(have, total)
    file.flush()
    return total


def _remember(mark: Path, headers: http.client.HTTPMessage) -> None:
    """Keep what identifies this version of the file; weak tags do not."""
    tag = headers.get("ETag", "")
    tag = headers.get("Last-Modified", "") if tag.startswith("W/") or not tag else tag
    if tag:
        mark.write_text(tag)
    else:
        mark.unlink(missing_ok=True)


def _mark(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _check(path: Path) -> None:
    """Compare with the checksum of the first use, or write it down."""
    record = path.with_name(f"{path.name}.sha256")
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not record.exists():
        write_bytes(record, f"{found}  {path.name}\n".encode())
        return
    if record.read_text(errors="replace").split()[:1] != [found]:
        raise InputError(
            f"{path} is not the file it was when first used ({record.name} differs): it is damaged "
            "or was replaced; remove both to download it again"
        )


def _by_hand(path: Path) -> str:
    return f"or download it elsewhere and put it at {path}"
