"""Feed mutated model files to the reader of torch archives; anything but our own errors is a find.

    python scripts/fuzz/torch_archives.py FOLDER --seconds 600

FOLDER keeps the corpus, and under ``found/`` the inputs that broke a promise: another exception
than ``InputError`` and ``CompatibilityError``, more than 5 s, or more memory than the limit. With
atheris installed (``pip install atheris``) coverage guides the mutations; without it bytes of the
corpus are changed at random. Replay one input with ``--replay FILE``.

An input is either a whole archive, or, after the byte ``P``, the pickle of one whose other entries
are sound: checksums of the archive would stop most changes of a pickle before it is read.
"""

import argparse
import contextlib
import io
import os
import random
import resource
import sys
import tempfile
import time
import traceback
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

try:
    import atheris  # pyright: ignore

    watched = atheris.instrument_imports(  # pyright: ignore
        include=["mlffjax.potential.convert", "pickletools"], enable_loader_override=False
    )
except ImportError:  # the reader is the same, only the mutations are blind
    atheris, watched = None, contextlib.nullcontext()

with watched:
    from references import torch_archives as forge
    from references import torch_checkpoint

    from mlffjax.errors import CompatibilityError, InputError
    from mlffjax.potential.convert import read_torch

LIMIT = 64 * 1024**2  # bytes of storages and tensors, as the reader is told
MEMORY = 3 * 1024**3  # bytes of address space beyond what the process has at the start
SLOWEST = 5.0  # s
LONGEST = 2000  # characters of a message
PICKLE = b"P"
OPCODES = b"\x00\xff\x7f\x80.QRh(tue}])]\x85\x86\x8a"
ENTRIES = {f"data/{key}": bytes(8 * 16) for key in range(4)} | {"byteorder": b"little"}


def main() -> None:
    """Fuzz for a while, or replay one input."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--blind", action="store_true", help="do without atheris")
    parser.add_argument("--replay", type=Path)
    options = parser.parse_args()
    if options.replay is not None:
        try_one(options.replay.read_bytes())
        return
    corpus = options.folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    (options.folder / "found").mkdir(exist_ok=True)
    for name, content in seeds().items():
        (corpus / name).write_bytes(content)
    bound_memory()
    if atheris is None or options.blind:
        blind(options.folder, options.seconds, options.seed)
    else:
        guided(options.folder, options.seconds, options.seed)


def seeds() -> dict[str, bytes]:
    """Sound inputs to begin with: small forged pickles and archives, and the head of a real one."""
    tensor = forge.tensor(forge.storage("0", 16), (4, 4), (4, 1))
    half = forge.tensor(forge.storage("1", 64, kind="BFloat16"), (64,), (1,))
    scalar = forge.call(
        forge.name("numpy.core.multiarray", "scalar"),
        forge.call(forge.name("numpy", "dtype"), *map(forge.literal, ("f8", False, True))),
        forge.call(forge.name("_codecs", "encode"), forge.literal("abcdefgh"),
                   forge.literal("latin1")),
    )  # fmt: skip
    names = forge.call(forge.name("__builtin__", "set"), forge.literal(["a", "b"]))
    inner = forge.module(kind="Inner", buffers={"w": tensor, "h": half})
    graph = forge.call(
        forge.name("torch.fx.graph_module", "reduce_graph_module"),
        forge.dictionary({"_modules": b"}", "_code": forge.literal("pass")}),
    )
    whole = forge.module(
        children={"a": inner, "b": inner, "graph": graph},
        buffers={"x": tensor},
        attributes={"n": scalar, "s": names, "t": forge.literal((1, 2.5, None, "x"))},
    )
    bodies = {"tensor": forge.module(buffers={"x": tensor}), "inner": inner, "whole": whole}
    found = {name: PICKLE + b"\x80\x02" + body + b"." for name, body in bodies.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = forge.write(Path(folder) / "x.pt", whole, ENTRIES)
        found["archive"] = path.read_bytes()
        forge.write(path, inner, ENTRIES, compression=zipfile.ZIP_DEFLATED)
        found["deflated"] = path.read_bytes()
        real = torch_checkpoint.unpack(Path(folder) / "real.model")
        with zipfile.ZipFile(real) as archive:
            name = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
            found["real"] = PICKLE + archive.read(name)[:30_000]
    return found


def try_one(data: bytes) -> None:
    """Read one input; returns where it is read or refused as promised."""
    started = time.process_time()
    with tempfile.NamedTemporaryFile(dir=memory_folder(), suffix=".pt") as file:
        file.write(archive_of(data))
        file.flush()
        try:
            module = read_torch.read(file.name, limit=LIMIT).root
            sum(tensor.nbytes for tensor in module.named_tensors().values())
        except (InputError, CompatibilityError) as error:
            if len(str(error)) > LONGEST:
                raise RuntimeError(f"a message of {len(str(error))} characters") from error
    if (seconds := time.process_time() - started) > SLOWEST:
        raise RuntimeError(f"{seconds:.1f} s")


def archive_of(data: bytes) -> bytes:
    """The archive an input stands for."""
    if not data.startswith(PICKLE) or data.startswith(b"PK"):
        return data
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{forge.ROOT}/data.pkl", data[1:])
        for name, content in ENTRIES.items():
            archive.writestr(f"{forge.ROOT}/{name}", content)
    return buffer.getvalue()


def memory_folder() -> str | None:
    """Where temporary files cost no disk."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def bound_memory() -> None:
    """Let requests beyond the limit fail; a reader that keeps its promises makes none."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))


def guided(folder: Path, seconds: int, seed: int) -> None:
    """Mutations that reach new code are kept and mutated again."""
    assert atheris is not None
    arguments = [sys.argv[0], str(folder / "corpus"), f"-max_total_time={seconds}",
                 f"-seed={seed + 1}", "-max_len=40000", "-len_control=20", "-timeout=20",
                 "-rss_limit_mb=4096", f"-artifact_prefix={folder}/found/",
                 "-print_final_stats=1"]  # fmt: skip
    atheris.Setup(arguments, try_one, enable_python_coverage=True)
    atheris.Fuzz()


def blind(folder: Path, seconds: int, seed: int) -> None:
    """Change bytes of the seeds at random; finds are kept and counted."""
    chance, known = random.Random(seed), list(seeds().values())
    tried, found, until = 0, set(), time.monotonic() + seconds
    while time.monotonic() < until:
        data = mutated(chance.choice(known), chance)
        tried += 1
        try:
            try_one(data)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            key = (type(error).__name__, place.filename, place.lineno)
            if key not in found:
                found.add(key)
                (folder / "found" / f"blind-{len(found):03d}").write_bytes(data)
                print(*key, str(error)[:200])
    print(f"{tried} inputs, {len(found)} kinds of finds")
    if found:
        raise SystemExit(1)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Bytes replaced, cut out, doubled or moved, one to six times."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(1, max(2, len(out)))
        length = chance.choice((1, 1, 2, 4, 16, 64))
        piece = bytes(out[place : place + length])
        kind = chance.randrange(5)
        if kind == 0:
            out[place : place + length] = chance.randbytes(length)
        elif kind == 1:
            del out[place : place + length]
        elif kind == 2:
            out[place:place] = piece * chance.choice((1, 2, 100))
        elif kind == 3:
            other = chance.randrange(1, max(2, len(out)))
            out[other:other] = piece
        else:
            out[place : place + 1] = bytes([chance.choice(OPCODES)])
    return bytes(out)


if __name__ == "__main__":
    main()
