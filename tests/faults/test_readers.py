"""A trajectory that is read while another process writes it is never seen half-changed."""

import subprocess
import sys
import time

import numpy as np

from mlffjax.dynamics.channels import Channel
from mlffjax.dynamics.trajectory import Writer, read
from mlffjax.structures.system import System

CHANNELS = [Channel("temperature", (), "K", 1), Channel("positions", (4, 3), "Å", 1)]
SYSTEM = System(np.zeros((4, 3)), np.full(4, 18), 9 * np.eye(3), np.array([True] * 3))
READER = """
import sys
import numpy as np
from mlffjax.dynamics.trajectory import read
seen, print_at = set(), 0
print("ready", flush=True)
while not seen or max(seen) < int(sys.argv[2]):
    found = read(sys.argv[1])
    steps = found["temperature"].steps
    for name in ("temperature", "positions"):
        values = found[name][: len(steps)]
        values = values.reshape(len(values), values[0].size if len(values) else 1)
        assert (values == found[name].steps[: len(steps), None]).all(), name
    seen.add(len(steps))
print(len(seen), flush=True)
"""


def test_a_reader_never_sees_half_a_flush(tmp_path):
    file, flushes, rows = tmp_path / "run.h5md", 150, 7
    writer = Writer.open(file, SYSTEM, CHANNELS, {}, after_step=None)
    command = [sys.executable, "-c", READER, str(file), str(flushes * rows)]
    reader = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "ready\n"
    for number in range(flushes):
        steps = np.arange(number * rows, (number + 1) * rows)
        writer.append("temperature", steps, steps * 1.0, steps * 1.0)
        values = np.broadcast_to(steps[:, None, None], (rows, 4, 3)) * 1.0
        writer.append("positions", steps, steps * 1.0, values)
        writer.flush()
        time.sleep(0.002)
    said, complained = reader.communicate(timeout=60)
    assert reader.returncode == 0, complained[-2000:]
    assert int(said) > 3  # it looked while the file grew
    assert len(read(file)["temperature"]) == flushes * rows
