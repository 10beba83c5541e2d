#!/usr/bin/env bash
# The weights that ship, made again, one command a stage: benchmarks/weights.sh DATA OUT [STAGE...]
# DATA holds clean/ and clean_video/; OUT gets one folder a stage. START is a folder with tiny.safetensors and quality.safetensors,
# the weights before these, and realtime2.safetensors, made by the stage of that name of the version before this file's.
# About an hour and a half of two cores. A stage that is there already goes on; realtime1 was ended after 1,500 steps.
# docs/weights.md says which commit each stage ran with.
set -euo pipefail
data=$1 out=$2
shift 2
stages=${*:-realtime1 realtime tiny quality}
start=${START:?name the folder of the weights to begin from}
wide=(--set frames=4 --set crop_size=240)
for stage in $stages; do
  case $stage in
    realtime1) options=(--steps 2400 --seed 163 --set lr=2.2e-4 --set warmup=100 "${wide[@]}" --set rain_free=0.4 --set structures=0.45 --set "network.start=$start/realtime2.safetensors") ;;
    realtime) options=(--steps 1600 --seed 164 --set lr=2e-4 --set warmup=50 "${wide[@]}" --set rain_free=0.28 --set structures=0.4 --set "network.start=$out/realtime1/last.safetensors") ;;
    tiny) options=(--steps 3200 --seed 165 --set lr=4e-4 --set warmup=50 --set rain_free=0.3 --set structures=0.4 --set "network.start=$start/tiny.safetensors") ;;
    quality) options=(--steps 1400 --seed 166 --set lr=2e-4 --set warmup=50 "${wide[@]}" --set rain_free=0.28 --set structures=0.4 --set "network.start=$start/quality.safetensors") ;;
    *) echo "there is no stage $stage; there are realtime1, realtime, tiny and quality" >&2 && exit 2 ;;
  esac
  python -m streamderain train stream --clean "$data/clean" --clean "$data/clean_video" --out "$out/$stage" --profile "${stage%1}" \
    --set squared_steps=0 --set checkpoint_every=500 --set standing=0.4 "${options[@]}"
done
