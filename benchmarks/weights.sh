#!/usr/bin/env bash
# The weights that ship, made again, one command a stage: benchmarks/weights.sh DATA OUT [STAGE...]
# DATA holds clean/ and clean_video/; OUT gets one folder a stage. START is a folder with tiny.safetensors, realtime.safetensors and
# quality.safetensors to begin from: the weights before these for what ships, see docs/weights.md, which also says which commit each stage ran with.
# About three hours of two cores. A stage that is there already goes on; realtime1 was ended after 2,500 steps, quality1 after 1,500.
set -euo pipefail
data=$1 out=$2
shift 2
stages=${*:-realtime1 realtime2 realtime tiny quality1 quality2 quality}
start=${START:?name the folder of the weights to begin from}
wide=(--set frames=6 --set crop_size=208 --set structures=0.4)
last=(--set warmup=50 --set frames=4 --set crop_size=240 --set rain_free=0.45 --set structures=0.5)
for stage in $stages; do
  case $stage in
    realtime1) options=(--steps 4000 --seed 131 --set lr=3e-4 --set rain_free=0.38 "${wide[@]}" --set "network.start=$start/realtime.safetensors") ;;
    realtime2) options=(--steps 2300 --seed 141 --set lr=2.5e-4 --set warmup=100 --set rain_free=0.38 "${wide[@]}" --set "network.start=$out/realtime1/last.safetensors") ;;
    realtime) options=(--steps 900 --seed 151 --set lr=1.2e-4 "${last[@]}" --set "network.start=$out/realtime2/last.safetensors") ;;
    tiny) options=(--steps 4400 --seed 152 --set lr=5e-4 --set rain_free=0.38 --set structures=0.4 --set "network.start=$start/tiny.safetensors") ;;
    quality1) options=(--steps 3000 --seed 134 --set lr=3e-4 --set rain_free=0.36 --set "network.start=$start/quality.safetensors") ;;
    quality2) options=(--steps 2300 --seed 144 --set lr=2.5e-4 --set warmup=100 --set rain_free=0.36 --set "network.start=$out/quality1/last.safetensors") ;;
    quality) options=(--steps 450 --seed 154 --set lr=1.2e-4 "${last[@]}" --set "network.start=$out/quality2/last.safetensors") ;;
    *) echo "there is no stage $stage; there are realtime1, realtime2, realtime, tiny, quality1, quality2 and quality" >&2 && exit 2 ;;
  esac
  python -m streamderain train stream --clean "$data/clean" --clean "$data/clean_video" --out "$out/$stage" --profile "${stage%[12]}" \
    --set squared_steps=0 --set checkpoint_every=500 --set standing=0.4 "${options[@]}"
done
