#!/usr/bin/env bash
# Install what is missing and run the tests: bash scripts/test.sh [--parity] [OPTIONS of pytest]
# --parity also installs torch and mace-torch and compares with them live.
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
goal="test"
for argument in "$@"; do
    if [[ "$argument" == "--parity" ]]; then
        goal="parity"
    fi
done
prepare "$goal"

cd "$ROOT"
# Every worker compiles for itself and needs about 1 GB, so few workers, each on one core; tests of
# one module stay together because they share what is compiled (15 % less work than spreading them).
cores="$(getconf _NPROCESSORS_ONLN)"
export OMP_NUM_THREADS=1
export XLA_FLAGS="--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1 ${XLA_FLAGS:-}"
exec "$VENV/bin/python" -m pytest -n "$((cores < 4 ? cores : 4))" --dist loadscope "$@"
