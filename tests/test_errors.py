"""Errors belong to one family and to the built-in errors they resemble."""

import inspect

import pytest

from mlffjax import errors

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_ours(kind):
    assert issubclass(kind, errors.MlffjaxError)
    assert kind.__doc__


@pytest.mark.parametrize(
    ("ours", "builtin"),
    [
        (errors.InputError, ValueError),
        (errors.ConfigError, ValueError),
        (errors.MissingExtra, ImportError),
    ],
)
def test_callers_may_catch_the_builtin_error(ours, builtin):
    with pytest.raises(builtin, match="said"):
        raise ours("said")
