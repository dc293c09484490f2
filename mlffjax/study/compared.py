"""Where the comparison of representations is kept, and what it depends on; light enough to report.

``representation_evidence`` makes it, and the report draws it.
"""

from mlffjax import config as configuration
from mlffjax.study.records import StudyRecords

KIND, FILE, SCHEMA = "representation", "representation.json", 1
MARK = "comparisons"
"""Entry of the configuration that tells the directory of a comparison from that of a study."""

ERRORS = {"forgetting": "index", "fixed_path": "barrier_error", "accuracy": "test_force_rmse"}
"""What a drift is compared with, by kind of probe; magnitudes but for the index."""


def fingerprint(records: StudyRecords) -> str:
    """Of everything that ``evidence`` depends on."""
    kinds = {KIND, *ERRORS}
    return configuration.fingerprint(
        SCHEMA,
        sorted(
            [run.info.id, record.fingerprint]
            for run in records.runs
            for record in run.probes.values()
            if record.probe.kind in kinds and record.status == "ok"
        ),
    )
