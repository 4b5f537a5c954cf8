#!/usr/bin/env bash
# What every change must pass, on any machine: checks, the tests, the default pipeline, the gate, two minutes of fuzzing.
# GATE_AGAINST: revision whose metrics may not be beaten down; by default HEAD, the committed baseline.
set -euo pipefail
cd "$(dirname "$0")/.."
# A browser looks at the page of `zsl serve`. Where it cannot be had, those tests are skipped and say so.
if ! command -v chromium >/dev/null && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } \
        >/dev/null 2>&1 || echo "Chromium cannot be installed: the page is not tested" >&2
fi
make check
make docs
make test
make repro
.venv/bin/python bench/scale.py 5000 40000 --dimensions 512 --memory 0.009 # small: no stage's memory grows
.venv/bin/zsl gate --against "${GATE_AGAINST:-HEAD}" --format markdown | tee -a "${GITHUB_STEP_SUMMARY:-/dev/null}"
if .venv/bin/python -c 'import atheris' 2>/dev/null; then make fuzz; fi # where there is a wheel of it
