import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlffjax import startup

PROGRAM = """
import os, sys
from mlffjax import startup
assert "jax" not in sys.modules
startup.set_up()
import jax
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name.endswith("cache_hits")))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
value = jax.jit(lambda x: (x * 3.0).sum())(jax.numpy.arange(5.0))
print(value.dtype, float(value), sum(hits) > 0, startup.told())
"""


SET = ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE", "TF_CPP_MIN_LOG_LEVEL")


def run(cache: Path, **environment: str) -> str:
    """What a process says that computes something after ``set_up``."""
    clean = {name: text for name, text in os.environ.items() if name not in SET}
    clean |= {"MLFFJAX_CACHE": str(cache), "PYTHONPATH": os.pathsep.join(sys.path)} | environment
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


def test_a_second_process_finds_what_the_first_compiled(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFFJAX_CACHE", str(tmp_path))
    folder = startup.programs_folder()
    assert run(tmp_path) == f"float64 30.0 False compiled programs in {folder}"
    assert any(folder.iterdir())
    assert run(tmp_path) == f"float64 30.0 True compiled programs in {folder}"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("JAX_ENABLE_COMPILATION_CACHE", "false", "not kept (switched off)"),
        ("JAX_COMPILATION_CACHE_DIR", "{0}/own", "in {0}/own"),
        ("MLFFJAX_CACHE", "{0}/file", "cannot be written)"),
    ],
)
def test_the_user_decides_and_a_folder_that_cannot_be_written_is_no_error(
    tmp_path, name, text, said
):
    (tmp_path / "file").write_text("")
    result = run(tmp_path / "cache", **{name: text.format(tmp_path)})
    assert result.startswith("float64 30.0 False ")
    assert result.endswith(said.format(tmp_path))
    assert not (tmp_path / "cache").exists()


def test_kinds_of_processor_and_versions_have_folders_of_their_own(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFFJAX_CACHE", str(tmp_path))
    here = startup.programs_folder()
    assert here == startup.programs_folder()
    assert here.parent == tmp_path / "programs"
    monkeypatch.setattr(startup.platform, "processor", lambda: "another")
    other = startup.programs_folder()
    monkeypatch.setattr(startup.importlib.metadata, "version", lambda _: "0.0")
    assert len({here, other, startup.programs_folder()}) == 3


def test_without_settings_it_is_the_cache_directory_of_the_user(monkeypatch):
    monkeypatch.delenv("MLFFJAX_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert startup.user_cache() == Path.home() / ".cache" / "mlffjax"
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert startup.user_cache() == Path("/caches/mlffjax")


def test_programs_not_used_for_longest_give_way(tmp_path):
    for number, name in enumerate(["a/old", "b/new", "a/newest"]):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 10)
        os.utime(path, (number, number))
    startup._make_room(tmp_path, 25)
    assert sorted(path.name for path in tmp_path.glob("*/*")) == ["new", "newest"]
    startup._make_room(tmp_path, 20)
    assert len(list(tmp_path.glob("*/*"))) == 2


ALLOCATED = """
import resource
from mlffjax import startup
startup.set_up()
import numpy
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(2):
    numpy.ones(10_000_000)
before = faults()
for _ in range(5):
    numpy.ones(10_000_000)
print(faults() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
@pytest.mark.parametrize(("setting", "kept"), [({}, True), ({"MALLOC_TOP_PAD_": "0"}, False)])
def test_freed_memory_is_used_again_unless_the_user_set_the_allocator(tmp_path, setting, kept):
    """A fresh buffer of 80 MB takes 20000 page faults of 4 kB, or 40 of 2 MB."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("MALLOC_")}
    clean |= {"MLFFJAX_CACHE": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)} | setting
    done = subprocess.run(
        [sys.executable, "-c", ALLOCATED], env=clean, capture_output=True, text=True, check=True
    )
    assert (int(done.stdout) < 100) == kept
