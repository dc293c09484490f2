"""What a program sets before it computes, and a library must not: precision, cache, allocator.

XLA compiles every function once per shape, which takes seconds. Compiled programs are kept from one
process to the next in the cache directory of the user, so the second study starts at once. They
hold instructions of the processor that they were compiled for; each kind of processor and each
version of jax has a folder of its own, so that a home directory may be shared.

Every call of a compiled function asks for one large buffer and frees it. glibc gives such memory
back to the system at once and gets it again page by page; told to keep it, energy and forces of 136
atoms take two thirds of the time (53 and 34 ms on one core, medium MACE).

Commands and workers call ``set_up``; importing the package changes nothing.
"""

import contextlib
import ctypes
import hashlib
import importlib.metadata
import os
import platform
import tempfile
from pathlib import Path

SHORTEST = 0.02
"""s of compilation below which a program is not worth a file."""

LARGEST = 4e9
"""Bytes; the programs that were not used for longest give way at the next start."""

_KEPT = {-3: 1 << 30, -1: (1 << 31) - 1}
"""Parameters of glibc's mallopt: buffers up to 1 GB come from the heap (M_MMAP_THRESHOLD), whose
free end stays (M_TRIM_THRESHOLD)."""

_FEATURES = ("model name", "cpu family", "model", "flags", "Features", "CPU part")


def set_up() -> None:
    """Let this process compute in float64, keep and reuse compiled programs, and keep its memory.

    Probes resolve energies of 1e-6 eV in thousands of eV, and positions of long runs need double
    precision. The cache is left as it is if the user set it up (JAX_COMPILATION_CACHE_DIR),
    switched it off (JAX_ENABLE_COMPILATION_CACHE=false), or if its folder cannot be written; so is
    the allocator if there are settings of it in the environment (MALLOC_*).
    """
    # Loading a program on the very machine that compiled it, XLA complains twice of preferences
    # that it takes for instructions: https://github.com/openxla/xla/issues/44565. Errors of a
    # computation are raised besides being logged. To be set before jax is imported.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import jax

    if not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        _keep_memory()
    jax.config.update("jax_enable_x64", True)
    if _is_on() and _own_folder() is None:
        _keep_programs(programs_folder())


def user_cache() -> Path:
    """``$MLFFJAX_CACHE``, or ``mlffjax`` in the user's cache directory; it need not exist."""
    if own := os.environ.get("MLFFJAX_CACHE"):
        return Path(own).expanduser()
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(caches).expanduser() / "mlffjax"


def programs_folder() -> Path:
    """Where compiled programs of this kind of processor and these versions of jax are kept."""
    versions = "-".join(importlib.metadata.version(name) for name in ("jax", "jaxlib"))
    return user_cache() / "programs" / f"{versions}-{_processor()}"


def told() -> str:
    """Whether and where compiled programs are kept, for people to read."""
    if not _is_on():
        return "compiled programs are not kept (switched off)"
    if own := _own_folder():
        return f"compiled programs in {own}"
    folder = programs_folder()
    if not _is_writable(folder):
        return f"compiled programs are not kept ({folder} cannot be written)"
    return f"compiled programs in {folder}"


def _is_on() -> bool:
    import jax

    return bool(getattr(jax.config, "jax_enable_compilation_cache"))  # noqa: B009 - made at run time


def _own_folder() -> str | None:
    """A folder that was set already, by the user or by an earlier call."""
    import jax

    return getattr(jax.config, "jax_compilation_cache_dir")  # noqa: B009


def _keep_programs(folder: Path) -> None:
    import jax

    if not _is_writable(folder):
        return
    _make_room(folder.parent, LARGEST)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", SHORTEST)


def _keep_memory() -> None:
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        library = ctypes.CDLL(None)
        if library.gnu_get_libc_version:
            for parameter, value in _KEPT.items():
                library.mallopt(parameter, value)


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:  # as well as a file where a folder should be
        return False


def _make_room(folder: Path, largest: float) -> None:
    """Remove what was used least recently until ``largest`` bytes are left."""
    files = []
    for path in folder.glob("*/*"):
        try:
            state = path.stat()
        except OSError:  # another process removed it
            continue
        files.append((max(state.st_atime, state.st_mtime), state.st_size, path))
    excess = sum(size for _, size, _ in files) - largest
    for _, size, path in sorted(files):
        if excess <= 0:
            return
        path.unlink(missing_ok=True)
        excess -= size


def _processor() -> str:
    """Short name of the processor and everything that it can do."""
    parts = {platform.machine(), platform.processor()}
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux; elsewhere a home is hardly shared
        lines = []
    parts |= {line for line in lines if line.split(":")[0].strip() in _FEATURES}
    digest = hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()
    return f"{platform.machine()}-{digest[:12]}"
