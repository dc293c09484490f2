"""Studies: strategies x seeds on one material, probed, recorded and judged.

``config`` says what is wanted, ``plan`` turns it into runs with fingerprints, ``execute`` trains
them and ``evaluate`` probes them; ``records`` is what they leave on disk. ``tables`` and
``verdict`` are pure functions of records.

Contract
    * A run is a directory named by the fingerprint of everything that determines it: strategy,
      protocol, start (architecture or foundation), seed, frames. Finished fingerprints are
      skipped, so a study resumes after being killed at any moment, and a second execution does
      nothing.
    * A failing run or probe is recorded and the others go on; ``StudyRecords.failures`` lists
      them.
      Only what concerns all runs (unreadable data, a bad configuration) is raised.
    * What cannot be written whole is not written; one process at a time works on a directory.

Example
    >>> config = read("configs/quickstart.yaml", StudyConfig)                  # doctest: +SKIP
    >>> records = execute(config, Path("configs"), Path("out"))                # doctest: +SKIP
    >>> records.summary["verdict"]["headline"]                                 # doctest: +SKIP
"""
