#!/usr/bin/env bash
# Install what is missing and render the docstrings as a browsable reference of the Python API:
# bash scripts/docs.sh [FOLDER]    (default: docs; open FOLDER/index.html)
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
prepare docs

# Math is shown as written, so that the pages work offline.
exec "$VENV/bin/python" -m pdoc mlffjax --docformat google --output-directory "${1:-$ROOT/docs}"
