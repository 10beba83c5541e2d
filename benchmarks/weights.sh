#!/usr/bin/env bash
# The weights that ship, made again, one command a stage: benchmarks/weights.sh DATA OUT [STAGE...]
# DATA holds clean/ and clean_video/; OUT gets one folder a stage. START is a folder with tiny.safetensors and realtime.safetensors
# to begin from: the weights before these for what ships, see docs/weights.md. About two hours of one core; quality follows realtime1.
# A stage that is there already goes on.
set -euo pipefail
data=$1 out=$2
shift 2
stages=${*:-realtime1 realtime tiny1 tiny quality}
start=${START:?name the folder of the weights to begin from}
for stage in $stages; do
  case $stage in
    realtime1) options=(--steps 15000 --seed 61 --set lr=5e-4 --set "network.start=$start/realtime.safetensors") ;;
    realtime) options=(--steps 2800 --seed 81 --set lr=2e-4 --set "network.start=$out/realtime1/last.safetensors") ;;
    tiny1) options=(--steps 12000 --seed 62 --set lr=8e-4 --set "network.start=$start/tiny.safetensors") ;;
    tiny) options=(--steps 3200 --seed 82 --set lr=3e-4 --set "network.start=$out/tiny1/last.safetensors") ;;
    quality) options=(--steps 1800 --seed 84 --set lr=2e-4 --set "network.start=$out/realtime1/last.safetensors") ;;
    *) echo "there is no stage $stage; there are realtime1, realtime, tiny1, tiny and quality" >&2 && exit 2 ;;
  esac
  python -m streamderain train stream --clean "$data/clean" --clean "$data/clean_video" --out "$out/$stage" --profile "${stage%1}" \
    --set squared_steps=0 --set loss.squared=12 --set checkpoint_every=500 "${options[@]}"
done
