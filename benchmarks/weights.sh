#!/usr/bin/env bash
# The weights that ship, made again, one command a stage: benchmarks/weights.sh DATA OUT [STAGE...]
# DATA holds clean/ and clean_video/; OUT gets one folder a stage. START is a folder with tiny.safetensors of experiment 35
# and realtime2.safetensors of 34; quality begins as realtime and its mirror image, in two processes.
# Over two hours of two cores. A stage that is there already goes on; realtime1 was ended after 1,500 steps.
# docs/weights.md says which commit each stage ran with.
set -euo pipefail
data=$1 out=$2
shift 2
stages=${*:-realtime1 realtime tiny1 tiny2 tiny quality}
start=${START:?name the folder of the weights to begin from}
wide=(--set frames=4 --set crop_size=240)
mean() { # of the weights of two files, with the settings of the first: FILE FILE FOLDER
  mkdir -p "$3"
  python - "$1" "$2" "$3/last.safetensors" <<'END'
import sys
from safetensors import safe_open
from safetensors.torch import save_file
one, other = (safe_open(path, "pt") for path in sys.argv[1:3])
save_file({name: (one.get_tensor(name) + other.get_tensor(name)) / 2 for name in one.keys()}, sys.argv[3], one.metadata())
END
}
for stage in $stages; do
  train=(python -m streamderain)
  case $stage in
    realtime1) options=(--steps 2400 --seed 163 --set lr=2.2e-4 --set warmup=100 "${wide[@]}" --set rain_free=0.4 --set structures=0.45 --set "network.start=$start/realtime2.safetensors") ;;
    realtime) options=(--steps 1600 --seed 164 --set lr=2e-4 --set warmup=50 "${wide[@]}" --set rain_free=0.28 --set structures=0.4 --set "network.start=$out/realtime1/last.safetensors") ;;
    tiny1) options=(--steps 3200 --seed 165 --set lr=4e-4 --set warmup=50 --set rain_free=0.3 --set structures=0.4 --set "network.start=$start/tiny.safetensors") ;;
    tiny2) options=(--steps 1300 --seed 167 --set lr=3e-4 --set warmup=50 --set rain_free=0.18 --set structures=0.35 --set "network.start=$out/tiny1/last.safetensors") ;;
    tiny)
      mean "$out/tiny1/last.safetensors" "$out/tiny2/last.safetensors" "$out/tiny"
      continue
      ;;
    quality)
      train=(torchrun --standalone --nproc-per-node 2 -m streamderain)
      options=(--steps 4200 --seed 171 --batch 1 --set lr=1.5e-4 --set warmup=100 "${wide[@]}" --set rain_free=0.28 --set structures=0.4 --set "network.start=$out/realtime/last.safetensors")
      ;;
    *) echo "there is no stage $stage; there are realtime1, realtime, tiny1, tiny2, tiny and quality" >&2 && exit 2 ;;
  esac
  "${train[@]}" train stream --clean "$data/clean" --clean "$data/clean_video" --out "$out/$stage" --profile "${stage%[12]}" \
    --set squared_steps=0 --set checkpoint_every=500 --set standing=0.4 "${options[@]}"
done
