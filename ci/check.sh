#!/usr/bin/env bash
# What every change must pass, on any machine: checks, the tests, the default pipeline, the gate, two minutes of fuzzing.
# GATE_AGAINST: revision whose metrics may not be beaten down; by default HEAD, the committed baseline.
set -euo pipefail
cd "$(dirname "$0")/.."
make check
make test
make repro
.venv/bin/zsl gate --against "${GATE_AGAINST:-HEAD}" --format markdown | tee -a "${GITHUB_STEP_SUMMARY:-/dev/null}"
if .venv/bin/python -c 'import atheris' 2>/dev/null; then make fuzz; fi # where there is a wheel of it
