#!/usr/bin/env bash
# The weights that ship, made again, one command a stage: benchmarks/weights.sh DATA OUT [STAGE...]
# DATA holds clean/ and clean_video/; OUT gets one folder a stage. START is a folder with tiny.safetensors and realtime.safetensors
# to begin from: the weights before these for what ships, see docs/weights.md. About three hours of one core; quality follows realtime1.
# A stage that is there already goes on.
set -euo pipefail
data=$1 out=$2
shift 2
stages=${*:-realtime1 realtime2 realtime tiny1 tiny quality}
start=${START:?name the folder of the weights to begin from}
for stage in $stages; do
  case $stage in
    realtime1) options=(--steps 6000 --seed 101 --set lr=3e-4 --set "network.start=$start/realtime.safetensors") ;;
    realtime2) options=(--steps 1600 --seed 111 --set lr=1.5e-4 --set frames=8 --set standing=0.4 --set "network.start=$out/realtime1/last.safetensors") ;;
    realtime) options=(--steps 700 --seed 121 --set lr=1e-4 --set warmup=50 --set frames=4 --set crop_size=240 --set standing=0.4 --set rain_free=0.45 --set structures=0.45 --set "network.start=$out/realtime2/last.safetensors") ;;
    tiny1) options=(--steps 8000 --seed 102 --set lr=6e-4 --set "network.start=$start/tiny.safetensors") ;;
    tiny) options=(--steps 1400 --seed 112 --set lr=2.5e-4 --set standing=0.4 --set "network.start=$out/tiny1/last.safetensors") ;;
    quality) options=(--steps 1300 --seed 104 --set lr=2e-4 --set standing=0.4 --set "network.start=$out/realtime1/last.safetensors") ;;
    *) echo "there is no stage $stage; there are realtime1, realtime2, realtime, tiny1, tiny and quality" >&2 && exit 2 ;;
  esac
  python -m streamderain train stream --clean "$data/clean" --clean "$data/clean_video" --out "$out/$stage" --profile "${stage%[12]}" \
    --set squared_steps=0 --set checkpoint_every=500 "${options[@]}"
done
