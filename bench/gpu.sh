#!/usr/bin/env bash
# What a GPU changes, proved and measured by one command:  bash bench/gpu.sh [--device cuda|cpu] [--quick]
#
# Extraction in each precision (images/s, share of the network alone), training as a fraction of its bare products, the
# default pipeline on the device, its metrics against the committed ones of the CPU, and an extraction that is killed
# and goes on. Works in a copy of the checkout. Prints a Markdown table, and exits with 1 where a step failed.
# --quick: a few drawn birds and epochs, so that all steps are gone through within minutes on any machine.
set -uo pipefail
cd "$(dirname "$0")/.."
device=cuda quick=
while [ $# -gt 0 ]; do
    case "$1" in
        --device) device=${2:?--device: give cuda, cuda:N or cpu}; shift 2 ;;
        --quick) quick=yes; shift ;;
        *) echo "unknown option $1; use --device NAME, --quick" >&2; exit 2 ;;
    esac
done
root=$PWD copy=$(mktemp -d) failed=0
trap 'rm -rf "$copy"' EXIT
git ls-files -z | xargs -0 cp --parents -t "$copy"
sed -i "s/^device: .*/device: $device/" "$copy/params.yaml"
images="--count 512 --rounds 3" network=resnet101.tv_in1k methods=f-clswgan,cada-vae
if [ -n "$quick" ]; then
    images="--count 16 --rounds 1" network=test_resnet.r160_in1k methods=cada-vae
    printf '%s\n' 'source: {kind: birds, classes: 12, images_per_class: 10, unseen: 3, side: 64}' \
        "extract: {backbone: $network, weights: random}" 'select: {train_epochs: [2, 4]}' \
        'finetune: {epochs: 2}' 'train: {hidden: 64, projection: 32}' >"$copy/data/birds.yaml"
fi
export PYTHONPATH="$copy" ZSL_JOBS="${ZSL_JOBS:-}"
python=${PYTHON:-python}

step() { # what, and a command, whose last line is what the table says
    local began=$SECONDS said status
    said=$("${@:2}" 2>&1) && status=ok || { status=FAILED failed=1; echo "$said" >&2; }
    echo "| $1 | $((SECONDS - began)) | $status | $(tail -n 1 <<<"$said" | tr '|' ' ') |"
}
zsl() { (cd "$copy" && "$python" -m stages.cli "$@"); }
goes_on() { # kill an extraction in the middle; the next one computes what is missing, and writes the same file
    local features="$copy/artifacts/birds/features.h5" whole
    whole=$(sha256sum <"$features") && rm -rf "$features" "$copy/.zsl" && cd "$copy" || return 1
    "$python" -m stages.cli extract birds &
    until [ -n "$(find .zsl -size +64k -name '*.sqlite*' 2>/dev/null)" ] || ! kill -0 $! 2>/dev/null; do sleep 0.1; done
    kill -9 $! 2>/dev/null
    wait $! 2>/dev/null
    "$python" -m stages.cli extract birds || return 1
    [ "$(sha256sum <"$features")" = "$whole" ] && echo "killed, gone on: the same bytes"
}
against_the_cpu() { # a drop of T1 or H by more than 3 points fails, but with --quick, whose settings are others
    "$python" - "$root/results/birds/metrics.json" "$copy/results/birds/metrics.json" "$quick" <<'PYTHON'
import json, sys
cpu, here = (json.load(open(name)) for name in sys.argv[1:3])
pairs = {name: (cpu[group][name]["mean"], here[group][name]["mean"]) for group, name in (("zsl", "T1"), ("gzsl", "H"))}
where = "with the default settings" if sys.argv[3] else "on the CPU"
print(", ".join(f"{name} {there:.1f} {where}, {now:.1f} here" for name, (there, now) in pairs.items()))
sys.exit(not sys.argv[3] and any(there - now > 3 for there, now in pairs.values()))
PYTHON
}

echo "| step on $device | s | | result |"
echo "|---|---:|---|---|"
for precision in fp32 auto; do
    step "extraction, $precision" "$python" bench/extract.py --device "$device" --backbone "$network" --precision "$precision" $images
done
step "training" "$python" bench/train.py --device "$device" --methods "$methods" --repeats 2
for stage in resolve prepare extract select finetune train generate classify evaluate; do
    step "$stage" zsl "$stage" birds
done
step "metrics" against_the_cpu
step "killed extraction" goes_on
exit $failed
