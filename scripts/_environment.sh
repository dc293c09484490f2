# Shared by study.sh, test.sh and docs.sh; sourced, not run.
#
# `prepare study`, `prepare test` or `prepare docs` makes .venv if there is none and installs into it if
# pyproject.toml has changed since the last time; otherwise it does nothing and needs no network.
# MLFFJAX_PYTHON names the interpreter to make .venv with.

set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
readonly ROOT
readonly VENV="$ROOT/.venv"
readonly NEEDED="3.11"

stop() {
    printf 'error: %s\n' "$@" >&2
    exit 2
}

new_enough() {
    "$1" -c "import sys; sys.exit(sys.version_info < (${NEEDED/./, }))" 2>/dev/null
}

find_python() {
    local candidate
    if [[ -n "${MLFFJAX_PYTHON:-}" ]]; then
        new_enough "$MLFFJAX_PYTHON" && { echo "$MLFFJAX_PYTHON"; return; }
        stop "MLFFJAX_PYTHON=$MLFFJAX_PYTHON is not a working Python >= $NEEDED"
    fi
    for candidate in python3 python3.13 python3.12 python3.11 python; do
        new_enough "$candidate" && { echo "$candidate"; return; }
    done
    stop "Python >= $NEEDED is needed, found $(python3 --version 2>/dev/null || echo 'no python3')" \
        "install one, or name it: MLFFJAX_PYTHON=/path/to/python bash $0"
}

make_venv() {
    local python
    python="$(find_python)"
    echo "making a virtual environment in $VENV with $("$python" --version)" >&2
    "$python" -m venv "$VENV" ||
        stop "$python could not make $VENV (on Debian and Ubuntu: apt install python3-venv)"
}

install() {
    local log
    log="$(mktemp)"
    echo "installing into $VENV: $* (a few minutes, once)" >&2
    if ! "$VENV/bin/python" -m pip install --disable-pip-version-check "$@" >"$log" 2>&1; then
        tail -n 25 "$log" >&2
        stop "installation failed; the end of pip's output is above, all of it in $log" \
            "check the network connection and run again; nothing else needs to be undone"
    fi
    rm -f "$log"
}

# What an installation depends on: the dependencies, the interpreter, and where the source lies.
fingerprint() {
    { cat "$ROOT/pyproject.toml"; echo "$ROOT"; "$VENV/bin/python" --version; } | cksum
}

# prepare GOAL: GOAL is study, test, docs or parity.
prepare() {
    local goal="$1"
    local stamp="$VENV/.installed-for-$goal"
    if [[ ! -x "$VENV/bin/python" ]]; then
        make_venv
    fi
    new_enough "$VENV/bin/python" ||
        stop "$VENV holds no working Python >= $NEEDED; remove $VENV and run again"
    if [[ -f "$stamp" && "$(cat "$stamp")" == "$(fingerprint)" ]]; then
        return
    fi
    "$VENV/bin/python" -m pip --version >/dev/null 2>&1 ||
        "$VENV/bin/python" -m ensurepip >/dev/null 2>&1 ||
        stop "$VENV has no pip and none could be added; remove $VENV and run again"
    case "$goal" in
        study) install -e "$ROOT" ;;
        test) install -e "$ROOT[test]" ;;
        docs) install -e "$ROOT[docs]" ;;
        # torch first, or mace-torch takes whatever torch is newest
        parity) install torch==2.13.0 && install -e "$ROOT[test,torch]" ;;
    esac
    # The larger installations contain the smaller ones.
    case "$goal" in
        parity) fingerprint | tee "$VENV/.installed-for-study" "$VENV/.installed-for-test" ;;
        test | docs) fingerprint | tee "$VENV/.installed-for-study" ;;
        study) fingerprint ;;
    esac >"$stamp"
}
