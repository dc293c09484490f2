from collections.abc import Callable

import numpy as np
import pytest

from mlffjax.structures.system import Frame, System


def make_frame(**changes) -> Frame:
    """Two Cu atoms, 2.5 Å apart, with labels; ``changes`` replace fields of Frame or System."""
    system = System(
        positions=np.array([[0.0, 0.0, 0.0], [2.5, 0.0, 0.0]]),
        numbers=np.array([29, 29], dtype=np.int32),
        cell=np.eye(3) * 6.0,
        pbc=np.ones(3, dtype=bool),
    )
    inner = {key: changes.pop(key) for key in list(changes) if key in System._fields}
    frame = Frame(
        system=system._replace(**inner),
        energy=-7.0,
        forces=np.array([[0.5, 0.0, 0.0], [-0.5, 0.0, 0.0]]),
        stress=np.eye(3) * 0.01,
        config_type="Default",
        trajectory="t",
        order=0.0,
        identifier="f",
        source="data.xyz frame 3",
        info={},
    )
    return frame._replace(**changes)


@pytest.fixture(scope="session")
def frame() -> Callable[..., Frame]:
    return make_frame
