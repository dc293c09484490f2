"""A file is a kind: it is found the moment it exists, and nothing else is imported."""

import sys

import pytest

from mlffjax import registry
from mlffjax.errors import ConfigError


def test_files_are_kinds(fake_kinds):
    assert registry.kinds(fake_kinds) == ("broken", "round", "square")


def test_only_the_wanted_kind_is_imported(fake_kinds):
    assert registry.resolve(fake_kinds, "square").__name__ == f"mlffjax.{fake_kinds}.square"
    assert f"mlffjax.{fake_kinds}.broken" not in sys.modules


@pytest.mark.parametrize(
    ("kind", "hint"), [("sqare", "did you mean 'square'"), ("zzz", "known kinds: broken, round")]
)
def test_unknown_kind_is_an_error_with_a_hint(fake_kinds, kind, hint):
    with pytest.raises(ConfigError, match=hint):
        registry.resolve(fake_kinds, kind)


def test_private_modules_are_no_kinds(fake_kinds):
    with pytest.raises(ConfigError):
        registry.resolve(fake_kinds, "_shared")
