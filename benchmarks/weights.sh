#!/usr/bin/env bash
# The weights that ship, made again, one command a stage: benchmarks/weights.sh DATA OUT [STAGE...]
# DATA holds clean/ and clean_video/; OUT gets one folder a stage. START is a folder with tiny.safetensors and realtime.safetensors
# to begin from: the weights before these for what ships, see docs/weights.md. About two hours of one core; quality follows realtime.
# A stage that is there already goes on.
set -euo pipefail
data=$1 out=$2
shift 2
stages=${*:-realtime tiny quality}
start=${START:?name the folder of the weights to begin from}
for stage in $stages; do
  case $stage in
    realtime) options=(--steps 6000 --seed 101 --set lr=3e-4 --set "network.start=$start/realtime.safetensors") ;;
    tiny) options=(--steps 8000 --seed 102 --set lr=6e-4 --set "network.start=$start/tiny.safetensors") ;;
    quality) options=(--steps 1800 --seed 104 --set lr=2e-4 --set "network.start=$out/realtime/last.safetensors") ;;
    *) echo "there is no stage $stage; there are realtime, tiny and quality" >&2 && exit 2 ;;
  esac
  python -m streamderain train stream --clean "$data/clean" --clean "$data/clean_video" --out "$out/$stage" --profile "$stage" \
    --set squared_steps=0 --set checkpoint_every=500 "${options[@]}"
done
