"""``mlffjax schema``: what a configuration may contain, for editors and other programs."""

import importlib
import json
from typing import Annotated

import typer

from mlffjax import registry
from mlffjax.errors import InputError

app = typer.Typer()


@app.command("schema")
def schema(
    command: Annotated[str, typer.Argument(help="Command whose configuration is described.")],
) -> None:
    """Print the JSON schema of a command's configuration, with all kinds of its sections.

    Editors complete and check YAML by it, for instance with a first line
    `# yaml-language-server: $schema=study.json`.
    """
    from mlffjax.config import json_schema

    known = classes()
    if command not in known:
        raise InputError(
            f"expected a command with a configuration, {', '.join(known)}; got {command!r}"
        )
    module, _, name = known[command].partition(":")
    model = getattr(importlib.import_module(module), name)
    typer.echo(json.dumps(json_schema(model), indent=1, ensure_ascii=False))


def classes() -> dict[str, str]:
    """Commands that take a configuration, and its class: what their modules say in ``CONFIG``."""
    modules = {n: registry.resolve("cli", n) for n in registry.kinds("cli") if n != "main"}
    return {name: m.CONFIG for name, m in modules.items() if hasattr(m, "CONFIG")}
