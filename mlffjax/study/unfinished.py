"""Trainings that an earlier start of a study left in the middle."""

import shutil
from pathlib import Path

from mlffjax import config as configuration
from mlffjax.errors import CompatibilityError
from mlffjax.study.plan import Plan
from mlffjax.study.records import StudyInfo, read_model
from mlffjax.study.runs import UNFINISHED, is_finished
from mlffjax.training.checkpoints import differences, is_kept


def settle(plan: Plan, out: Path, *, restart: bool) -> None:
    """Decide about trainings that are half done, before anything of the plan is.

    Those that the plan still contains are continued by themselves. A changed configuration that
    would silently abandon the others is refused. What is finished stays in any case: a changed
    setting makes new runs beside it.

    Args:
        plan: what is to be done now.
        out: output directory.
        restart: drop everything that is half done and begin those trainings again.

    Raises:
        CompatibilityError: half-done trainings are not part of the plan; the message shows what
            changed in the configuration.
    """
    for folder in (out / "runs").glob(f"*/{UNFINISHED}"):
        if restart or is_finished(folder.parent):  # killed between recording and clearing
            shutil.rmtree(folder)
    found = sorted(
        run.name
        for run in (out / "runs").glob("*")
        # A run with an outcome, were it an error, is not in the middle of anything.
        if is_kept(run / UNFINISHED) and not (run / "run.json").exists()
    )
    abandoned = [name for name in found if name not in {run.id for run in plan.runs}]
    if abandoned:
        raise CompatibilityError(
            f"{out}: expected the settings that the unfinished training of {', '.join(abandoned)} "
            f"began with, got others: {_changes(plan, out)}. Give the old settings to continue it, "
            "'--restart' to drop it (finished runs stay), or another output directory"
        )


def _changes(plan: Plan, out: Path) -> str:
    """What differs from the configuration of the last start."""
    old = read_model(out / "study.json", StudyInfo, [])
    if old is None:
        return "the old ones are lost"
    data = {"data frames": plan.dataset.digest[:12]}
    known = old.config | {"data frames": str(old.data.get("digest"))[:12]}
    lines = differences(known, configuration.dump(plan.config) | data)
    return "; ".join(lines) or "a file that the configuration names has changed"
