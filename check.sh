#!/usr/bin/env bash
# Everything that must pass, in a fresh virtual environment: bash check.sh
# (CHECK_VENV=DIR uses an environment that is there, for a quick run while working.)
set -euo pipefail
cd "$(dirname "$0")"
step() { printf '\n== %s (%d s)\n' "$1" "$SECONDS"; }

if [ -n "${CHECK_VENV:-}" ]; then venv=$CHECK_VENV; else
    step 'install into a fresh virtual environment'
    scratch=$(mktemp -d); trap 'rm -rf "$scratch"' EXIT
    venv=$scratch/venv
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
fi
export PATH="$venv/bin:$PATH" ANIMAL_CLF_CACHE="${scratch:-$(mktemp -d)}/cache"

step 'generated files in step with the notebooks'
state() { git ls-files -z --cached --others --exclude-standard | xargs -0 sha256sum 2>/dev/null; }
before=$(state)
nbdev-export
nbdev-clean
python tools/make_readme.py
if ! diff <(echo "$before") <(state); then
    echo 'check: the files above were out of step: commit them as they are now'; exit 1
fi

step 'notebooks'
OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 nbdev-test --n-workers 2 --timing

step 'tests'
OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadfile   # a file at a time in each of two processes: what its tests share is made once

step 'done'
