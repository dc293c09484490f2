"""Images of paths as they are given."""

from mlffjax.active.candidates._candidates import Given, Section, chosen_paths
from mlffjax.structures.system import Frame


class Config(Section):
    """Which paths."""

    paths: tuple[str, ...] = ()
    """Names; all that are not held out if none is given."""

    def path_names(self) -> tuple[str, ...]:
        """As configured."""
        return self.paths


def example() -> Config:
    """All paths."""
    return Config()


def propose(config: Config, given: Given) -> list[Frame]:
    """All images, path by path.

    Raises:
        ConfigError: a path is not known, or held out.
    """
    found = chosen_paths(config.paths, given)
    return [
        frame._replace(config_type=f"path_{name}", trajectory=f"path_{name}")
        for name, path in found.items()
        for frame in path.frames
    ]
