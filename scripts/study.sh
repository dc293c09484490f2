#!/usr/bin/env bash
# Install what is missing and run a study: bash scripts/study.sh [CONFIG] [OPTIONS of mlffjax study]
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
prepare study

config="$ROOT/configs/quickstart.yaml"
if [[ $# -gt 0 && "$1" != -* ]]; then
    config="$1"
    shift
fi
exec "$VENV/bin/mlffjax" study "$config" "$@"
