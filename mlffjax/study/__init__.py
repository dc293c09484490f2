"""Studies: strategies x seeds on one material, probed, recorded and judged.

``config`` says what is wanted, ``plan`` turns it into runs with fingerprints, ``execute`` has them
trained (``runs``) and probed (``evaluate``), here, by workers (``executors``) or by several
processes that share every batch and the probes (``distributed``); ``records`` is what they leave.
``tables`` and ``verdict`` are pure functions of records. ``sweep`` makes a study of variants of one
run and ranks them.

Contract
    * A run is a directory named by the fingerprint of everything that determines it: strategy,
      protocol, start (architecture or foundation), seed, frames. Finished fingerprints are
      skipped, so a study resumes after being killed at any moment, and a second execution does
      nothing.
    * A killed training goes on from its kept state to the same bits. Should the array shapes have
      changed, which hang on the frames of all runs, it begins again, with a warning and a note. A
      changed configuration that would abandon it is refused; ``restart`` drops it.
    * A failing run or probe is recorded and the others go on; ``StudyRecords.failures`` lists
      them, and the next execution tries them again.
      Only what concerns all runs (unreadable data, a bad configuration) is raised. Several
      processes that share batches end together where only some of them fail (``distributed``).
    * What cannot be written whole is not written; one process at a time works on a directory.

Example
    >>> config = read("configs/quickstart.yaml", StudyConfig)                  # doctest: +SKIP
    >>> records = execute(config, Path("configs"), Path("out"))                # doctest: +SKIP
    >>> records.summary["verdict"]["headline"]                                 # doctest: +SKIP
"""
