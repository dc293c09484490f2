"""From YAML to frozen pydantic models, with errors that name the entry and suggest a remedy.

A configuration holds no arrays and no code. ``read`` builds one from a file and ``a.b=c``
overrides, ``fingerprint`` gives it a short name, ``locate`` and ``resolve_path`` find files. A
section whose ``kind`` names a module is a field of type ``Annotated[Config, by_kind("probes")]``:
it is validated by the class ``Config`` of ``mlffjax/probes/<kind>.py``.
"""

import copy
import difflib
import hashlib
import itertools
import json
import re
from collections.abc import Hashable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pydantic
import yaml
from pydantic_core import PydanticCustomError, core_schema

from mlffjax import registry
from mlffjax.durable import entries
from mlffjax.errors import ConfigError

BUNDLED = "bundled:"
LONGEST, MOST, DEEPEST = 2**20, 200_000, 100  # characters, entries and brackets of a YAML file
_KINDS, _DEFAULT = "x-kinds", "x-default-kind"  # marks of ``by_kind`` until ``json_schema`` is done
_GLOB = re.compile(r"[*?\[]")


class Config(pydantic.BaseModel):
    """Base of all configurations: frozen, hashable, and strict about unknown keys."""

    model_config: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _suggest(cls, data: Any) -> Any:
        """Refuse unknown keys with the nearest known one (pydantic alone would only refuse)."""
        known = list(cls.model_fields)
        unknown = [key for key in data if key not in known] if isinstance(data, Mapping) else []
        if unknown:
            raise _custom("; ".join(_unknown(key, known) for key in unknown))
        return data


Model = TypeVar("Model", bound=Config)


def read(path: str | Path, model: type[Model], overrides: Sequence[str] = ()) -> Model:
    """Read a YAML file, apply overrides such as ``training.epochs=3``, and validate.

    A number in an override indexes a list (``probes.0.kind=sliding``); the value is YAML.

    Raises:
        ConfigError: the file is missing or no YAML, an override leads nowhere, or validation
            fails; every offending entry is named by its dotted path.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a text file: {error}") from error
    return parse(text, model, overrides, where=str(path))


def parse(text: str, model: type[Model], overrides: Sequence[str] = (), *, where: str) -> Model:
    """Read the text of a YAML file, apply overrides such as ``training.epochs=3``, and validate.

    Raises:
        ConfigError: the text is no YAML, an override leads nowhere, or validation fails; ``where``
            opens the message.
    """
    data = plain(text, where=where)
    return assemble(data, model, overrides, where=where)


def plain(text: str, *, where: str) -> dict[str, Any]:
    """Entries of the text of a YAML file, not validated.

    Raises:
        ConfigError: the text is no YAML, or holds something else than entries.
    """
    data = _parse(text, where)
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected 'key: value' entries, got {_describe(data)}")
    return data


def assemble(
    data: dict[str, Any], model: type[Model], overrides: Sequence[str] = (), *, where: str
) -> Model:
    """Apply overrides such as ``training.epochs=3`` to plain data, and validate.

    Raises:
        ConfigError: an override leads nowhere, or validation fails; ``where`` opens the message.
    """
    data = copy.deepcopy(data)
    for override in overrides:
        _override(data, override)
    return validate(data, model, where=where)


def validate(data: Mapping[str, Any], model: type[Model], *, where: str) -> Model:
    """Validate plain data; ``where`` opens the message if it fails.

    Raises:
        ConfigError: lists every offending entry with its dotted path.
    """
    try:
        return model.model_validate(data)
    except pydantic.ValidationError as error:
        lines = [_explain(entry) for entry in error.errors()]
        raise ConfigError(f"{where}: " + "\n  ".join(["invalid configuration", *lines])) from error


def dump(config: Config) -> dict[str, Any]:
    """Plain data of a configuration, as ``read`` would accept it again; ``kind`` is included."""
    data = config.model_dump(mode="json")
    # Only the `Config` of a module of kinds is called just that.
    return {"kind": kind_of(config), **data} if type(config).__name__ == "Config" else data


def kind_of(config: Config) -> str:
    """The ``kind`` of a section validated through ``by_kind``: the name of its module."""
    return type(config).__module__.rpartition(".")[2]


def fingerprint(*parts: Any) -> str:
    """Twelve hexadecimal digits that name the parts: configurations or plain JSON data.

    Equal content gives equal digits, whatever the order of keys.
    """
    plain = [dump(part) if isinstance(part, Config) else part for part in parts]
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class by_kind:
    """Mark a field as a section whose ``kind`` names a module of ``mlffjax.<package>``.

    The section is validated by the class ``Config`` of that module and keeps that type; its
    ``kind`` is the module's name (``kind_of``) and need not be a field. ``default`` is the kind of
    a section that names none; without one it must.
    """

    def __init__(self, package: str, *, default: str | None = None) -> None:
        self.package, self.default = package, default

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        del source, handler  # the class is known only when `kind` is
        return core_schema.no_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(dump),
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        del schema, handler  # kinds may contain each other; ``json_schema`` follows them
        return {_KINDS: self.package, _DEFAULT: self.default}

    def _validate(self, value: Any) -> Config:
        if self.default is not None and isinstance(value, Mapping):
            value = {"kind": self.default, **value}
        if isinstance(value, Config):
            data, kind = value, kind_of(value)
        elif isinstance(value, Mapping) and isinstance(value.get("kind"), str):
            data, kind = dict(value), value["kind"]
        else:
            kinds = ", ".join(registry.kinds(self.package))
            raise _custom(f"expected a section with 'kind: one of {kinds}', got {_describe(value)}")
        try:
            model = registry.resolve(self.package, kind).Config
        except ConfigError as error:
            raise _custom(str(error)) from error
        if isinstance(data, dict) and "kind" not in model.model_fields:
            del data["kind"]
        return model.model_validate(data)


def json_schema(model: type[Config]) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the files that ``read`` accepts, all kinds included.

    A section with a ``kind`` refers to a definition named after its package, which is one of the
    definitions ``<package>.<kind>``. What validators say beyond types and bounds is not in it.
    """
    schema, open_packages = _hoisted(model, "")
    definitions = schema.pop("$defs", {})
    done: set[tuple[str, str | None]] = set()
    while open_packages - done:
        package, default = key = min(open_packages - done, key=str)
        done.add(key)
        choices = []
        for kind in registry.kinds(package):
            name = f"{package}.{kind}"
            section, more = _hoisted(registry.resolve(package, kind).Config, f"{name}.")
            open_packages |= more
            definitions |= section.pop("$defs", {})
            required = [entry for entry in section.get("required", []) if entry != "kind"]
            definitions[name] = section | {
                "properties": {**section.get("properties", {}), "kind": {"const": kind}},
                "required": ["kind", *required],
            }
            choices.append({"$ref": f"#/$defs/{name}"})
            if kind == default:
                plain = {**definitions[name], "required": required}
                plain["properties"] = {k: v for k, v in plain["properties"].items() if k != "kind"}
                choices.append(plain)
        definitions[_family(*key)] = {"oneOf": choices}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema,
            "$defs": definitions}  # fmt: skip


def _family(package: str, default: str | None) -> str:
    """Name of the definition of all kinds of a package."""
    return package if default is None else f"{package}:{default}"


def _hoisted(
    model: type[Config], prefix: str
) -> tuple[dict[str, Any], set[tuple[str, str | None]]]:
    """Schema of one class, its definitions under a prefix, and the packages it refers to."""
    found: set[tuple[str, str | None]] = set()

    def walk(node: Any) -> Any:
        if isinstance(node, list):
            return [walk(entry) for entry in node]
        if not isinstance(node, dict):
            return node
        if _KINDS in node:
            found.add((node[_KINDS], node[_DEFAULT]))
            rest = {k: v for k, v in node.items() if k not in (_KINDS, _DEFAULT)}
            return {**rest, "$ref": f"#/$defs/{_family(node[_KINDS], node[_DEFAULT])}"}
        return {key: walk(value) for key, value in node.items()}

    template = f"#/$defs/{prefix}{{model}}"
    schema = walk(model.model_json_schema(ref_template=template, mode="validation"))
    own = schema.pop("$defs", {})
    return {**schema, "$defs": {f"{prefix}{name}": one for name, one in own.items()}}, found


def locate(name: str | Path) -> Path:
    """Find a configuration: a file, or a packaged one by its name with or without ``.yaml``.

    Raises:
        ConfigError: neither exists; the message lists the packaged names.
    """
    if Path(name).is_file():
        return Path(name).absolute()
    known = {path.stem: path for path in _packaged()}
    wanted = Path(name)
    named = wanted.suffix in ("", ".yaml") and wanted.parent in (Path(), Path("configs"))
    if named and wanted.stem in known:
        return known[wanted.stem]
    near = difflib.get_close_matches(wanted.stem, known, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(
        f"no configuration {str(name)!r}: neither a file in {Path.cwd()} nor a packaged name; "
        f"{hint}packaged names: {', '.join(sorted(known))}"
    )


def resolve_path(text: str, base: Path) -> Path:
    """Absolute path of a file named in a configuration; may contain glob characters.

    Args:
        text: ``bundled:x`` for an asset of the package, otherwise a path relative to ``base``.
        base: directory of the configuration file.

    Raises:
        ConfigError: there is no such asset; other paths are checked by whoever opens them.
    """
    if not text.startswith(BUNDLED):
        return (base / Path(text).expanduser()).absolute()
    assets = Path(str(resources.files("mlffjax"))) / "assets"
    path = assets / text.removeprefix(BUNDLED)
    inside = path.is_relative_to(assets) and ".." not in path.parts
    if not inside or not (_GLOB.search(text) or path.exists()):
        known = sorted(p.relative_to(assets).as_posix() for p in assets.rglob("*") if p.is_file())
        raise ConfigError(f"no asset {text!r}; bundled are: {', '.join(known)}")
    return path


def _packaged() -> list[Path]:
    """Configurations inside an installed wheel, or ``configs/`` of the source tree."""
    package = Path(str(resources.files("mlffjax")))
    source = package.parent
    folder = source / "configs" if (source / "pyproject.toml").is_file() else package / "configs"
    return sorted(folder.glob("*.yaml"))


class _Loader(yaml.SafeLoader):
    """YAML 1.1 with two repairs: ``1e-3`` is a number, and a repeated key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key.value!r} appears twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def _parse(text: str, where: str) -> Any:
    brackets = (1 if bracket in "[{" else -1 for bracket in re.findall(r"[][{}]", text))
    try:
        if len(text) > LONGEST or max(itertools.accumulate(brackets), default=0) > DEEPEST:
            raise ValueError(f"more than {LONGEST} characters or {DEEPEST} open brackets")
        data = yaml.load(text, _Loader)
        if entries(data) > MOST:  # anchors repeat an entry, a billion times if asked to
            raise ValueError(f"more than {MOST} entries, anchors resolved")
        return data
    except (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, RecursionError,
            TypeError, ValueError) as error:  # fmt: skip
        raise ConfigError(f"{where}: not valid YAML: {error}") from error


def _override(data: dict[str, Any], text: str) -> None:
    """Set one entry of nested plain data in place, making sections that are missing."""
    dotted, equals, value = text.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"override {text!r}: expected the form 'a.b=value'")
    node: Any = data
    for depth, key in enumerate(keys):
        try:
            place = _key(node, key)
        except ConfigError as error:
            where = ".".join(keys[:depth])
            raise ConfigError(f"override {text!r}: {where} is {error}") from error
        if depth == len(keys) - 1:
            node[place] = _parse(value, f"override {text!r}")
            return
        if isinstance(node, dict) and node.get(place) is None:
            node[place] = {}
        node = node[place]


def _key(node: Any, key: str) -> str | int:
    """What to index a node of plain data with."""
    if isinstance(node, dict):
        return key
    if not isinstance(node, list):
        raise ConfigError(f"{_describe(node)}, not a section")
    if not key.isdecimal() or int(key) >= len(node):
        raise ConfigError(
            f"a list of {len(node)} entries; expected an index below {len(node)}, got {key!r}"
        )
    return int(key)


def _explain(entry: Any) -> str:
    """One line for one entry of ``pydantic.ValidationError.errors()``."""
    where = ".".join(str(part) for part in entry["loc"]) or "top level"
    message = entry["msg"].removeprefix("Value error, ")
    if entry["type"] in ("ours", "missing", "value_error"):
        return f"{where}: {message}"
    return f"{where}: {message}, got {_describe(entry['input'])}"


def _unknown(key: Any, known: list[str]) -> str:
    near = difflib.get_close_matches(str(key), known, 1)
    return f"unknown key {str(key)!r}" + (
        f"; did you mean {near[0]!r}?" if near else f"; known keys: {', '.join(known)}"
    )


def _custom(text: str) -> PydanticCustomError:
    return PydanticCustomError("ours", "{text}", {"text": text})


def _describe(value: Any) -> str:
    text = repr(value)
    return "nothing" if value is None else text if len(text) <= 60 else f"{text[:57]}..."
