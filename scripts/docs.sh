#!/usr/bin/env bash
# Install what is missing and render the docstrings as a browsable reference of the Python API:
# bash scripts/docs.sh [FOLDER]    (default: docs; open FOLDER/index.html)
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
prepare docs

# The package itself exports three names only, so what lies in it is named here.
modules=(mlffjax)
for path in "$ROOT"/mlffjax/[a-z]*; do
    [[ -f "$path/__init__.py" || "$path" == *.py ]] && modules+=("mlffjax.$(basename "$path" .py)")
done
exec "$VENV/bin/python" -m pdoc "${modules[@]}" --docformat google \
    --output-directory "${1:-$ROOT/docs}"
