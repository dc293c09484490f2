"""What parts of records must look like, so that whoever reads them needs no further care."""

from collections.abc import Mapping
from typing import Annotated, Any

import pydantic

FileName = Annotated[str, pydantic.Field(pattern=r"^[^./\\][^/\\]*$")]
"""Of a file or folder beside the record, never of one elsewhere."""


def columns(history: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """Those entries of ``history.json`` that are lists of numbers and nulls."""
    return {name: column for name, column in history.items() if _is_column(column)}


def _is_column(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(x, int | float | None) for x in value)


def _sections(config: dict[str, Any]) -> dict[str, Any]:
    for name in ("runs", "probes"):
        found = config.get(name, [])
        if not isinstance(found, list) or not all(map(_is_section, found)):
            raise ValueError(f"expected sections with names under {name!r}")
    return config


def _is_section(value: Any) -> bool:
    texts = ("name", "kind", "path")
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(key), str | None) for key in texts)
        and isinstance(value.get("seeds", []), list)
    )


def _counts(data: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(data.get("config_types") or {}, dict):
        raise ValueError("expected numbers by name under 'config_types'")
    return data


def _tolerances(config: dict[str, Any]) -> dict[str, Any]:
    for name, value in config.items():
        if name.endswith("tolerance") and not isinstance(value, int | float | None):
            raise ValueError(f"expected a number as {name}")
    return config


StoredData = Annotated[dict[str, Any], pydantic.AfterValidator(_counts)]
"""What a study says of its data."""
StoredProbe = Annotated[dict[str, Any], pydantic.AfterValidator(_tolerances)]
"""The configuration of a probe as far as verdicts read it."""
StoredConfig = Annotated[dict[str, Any], pydantic.AfterValidator(_sections)]
"""The configuration of a study as far as reports read it: its runs and probes have names."""
