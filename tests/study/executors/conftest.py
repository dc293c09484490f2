"""One study, done by one process, that others must equal."""

import pytest


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    from study import small

    folder = tmp_path_factory.mktemp("inputs")
    small.write_inputs(folder)
    return folder


@pytest.fixture(scope="session")
def undisturbed(base):
    """The study done by one process."""
    from study.executors.rescue import study

    from mlffjax.study.execute import execute

    return execute(study(), base, base / "undisturbed")
