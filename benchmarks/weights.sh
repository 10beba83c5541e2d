#!/usr/bin/env bash
# The weights that ship, made again, one command a stage: benchmarks/weights.sh DATA OUT [STAGE...]
# DATA holds clean/ and clean_video/; OUT gets one folder a stage. START is a folder with tiny.safetensors and realtime.safetensors to begin
# from: the first weights for what ships, see docs/weights.md. About two hours of two cores; stage1, stage2 and realtime follow each other.
# A stage that is there already goes on.
set -euo pipefail
data=$1 out=$2
shift 2
stages=${*:-stage1 stage2 quality realtime tiny}
start=${START:?name the folder of the weights to begin from}
for stage in $stages; do
  case $stage in
    stage1) options=(--profile realtime --steps 2000 --seed 1 --set "network.start=$start/realtime.safetensors"
      --set lr=6e-4 --set squared=4 --set ssim=0.1 --set rain_free=0.35) ;;
    stage2) options=(--profile realtime --steps 8500 --seed 2 --set "network.start=$out/stage1/last.safetensors"
      --set lr=5e-4) ;;
    quality) options=(--profile quality --steps 1900 --seed 2 --set "network.start=$out/stage1/last.safetensors"
      --set lr=4e-4) ;;
    realtime) options=(--profile realtime --steps 3000 --seed 4 --set "network.start=$out/stage2/last.safetensors"
      --set lr=2.5e-4 --set rain_free=0.35 --set structures=0.3) ;;
    tiny) options=(--profile tiny --steps 6500 --seed 3 --set "network.start=$start/tiny.safetensors"
      --set lr=1e-3 --set rain_free=0.35 --set structures=0.3) ;;
    *) echo "there is no stage $stage; there are stage1, stage2, quality, realtime and tiny" >&2 && exit 2 ;;
  esac
  python -m streamderain train stream --clean "$data/clean" --clean "$data/clean_video" --out "$out/$stage" \
    --set squared_steps=0 --set checkpoint_every=500 "${options[@]}"
done
