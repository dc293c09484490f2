"""Files that exist whole or not at all, whatever happens while they are written."""

import os
from pathlib import Path


def write_bytes(path: Path, content: bytes) -> None:
    """Write aside, flush to the disk, rename; makes the directory if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(aside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
