"""A command that dies by SIGKILL before one of its changes to a directory; run as a program.

``mortal.py PLACE FATAL COUNT ARGUMENTS...``: before the change of number FATAL (from 1; 0: never)
to a file below PLACE the process kills itself. The number of changes is written to COUNT at the
end.
"""

import atexit
import os
import signal
import sys
from pathlib import Path

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Counter:
    """Counts changes that are about to happen."""

    def __init__(self, place, fatal):
        self.place, self.fatal, self.count = place, fatal, 0

    def __call__(self, event, arguments):
        if event not in CHANGES and not (event == "open" and arguments[2] & WRITING):
            return
        if isinstance(arguments[0], str | os.PathLike) and str(arguments[0]).startswith(self.place):
            self.count += 1
            if self.count == self.fatal:
                os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    counter = Counter(sys.argv[1], int(sys.argv[2]))
    atexit.register(lambda: Path(sys.argv[3]).write_text(str(counter.count)))
    sys.addaudithook(counter)
    from mlffjax.cli.main import main

    main(sys.argv[4:])
