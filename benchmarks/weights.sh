#!/usr/bin/env bash
# The weights that ship, made again, one command a stage: benchmarks/weights.sh DATA OUT [STAGE...]
# DATA holds clean/ and clean_video/; OUT gets one folder a stage. START is a folder with realtime.safetensors of
# experiment 37 and tiny.safetensors of 38. quality began as that realtime and its mirror image (experiment 40), went on,
# and is the mean of both (43). All in two processes, five hours of two cores; a stage that is there already goes on.
# docs/weights.md says which commit each stage ran with.
set -euo pipefail
data=$1 out=$2
shift 2
all=(realtime1 realtime2 realtime tiny1 tiny quality1 quality2 quality)
stages=${*:-${all[*]}}
start=${START:?name the folder of the weights to begin from}
wide=(--set frames=4 --set crop_size=240)
mean() { # of the weights of two files, with the settings of the first: FILE FILE FOLDER
  mkdir -p "$3"
  python - "$1" "$2" "$3/last.safetensors" <<'END'
import sys
from safetensors import safe_open
from safetensors.torch import save_file
one, other = (safe_open(path, "pt") for path in sys.argv[1:3])
pairs = {name: (one.get_tensor(name), other.get_tensor(name)) for name in one.keys()}
means = {name: ((new.float() + old.float()) / 2).to(new.dtype) for name, (new, old) in pairs.items()}
save_file(means, sys.argv[3], one.metadata())
END
}
for stage in $stages; do
  case $stage in
    realtime1) options=(--steps 2000 --seed 181 --set lr=2e-4 --set warmup=50 "${wide[@]}" --set rain_free=0.28 --set structures=0.4 --set "network.start=$start/realtime.safetensors") ;;
    realtime2) options=(--steps 2400 --seed 182 --set lr=2e-4 --set warmup=50 "${wide[@]}" --set rain_free=0.28 --set structures=0.4 --set "network.start=$out/realtime1/last.safetensors") ;;
    tiny1) options=(--steps 2800 --seed 183 --set lr=3e-4 --set warmup=50 --set rain_free=0.25 --set structures=0.4 --set "network.start=$start/tiny.safetensors") ;;
    realtime)
      mean "$out/realtime2/last.safetensors" "$start/realtime.safetensors" "$out/realtime"
      continue
      ;;
    tiny)
      mean "$out/tiny1/last.safetensors" "$start/tiny.safetensors" "$out/tiny"
      continue
      ;;
    quality1) options=(--steps 4200 --seed 171 --set lr=1.5e-4 --set warmup=100 "${wide[@]}" --set rain_free=0.28 --set structures=0.4 --set "network.start=$start/realtime.safetensors") ;;
    quality2) options=(--steps 3000 --seed 191 --set lr=1.5e-4 --set warmup=80 "${wide[@]}" --set rain_free=0.28 --set structures=0.4 --set "network.start=$out/quality1/last.safetensors") ;;
    quality)
      mean "$out/quality2/last.safetensors" "$out/quality1/last.safetensors" "$out/quality"
      continue
      ;;
    *) echo "there is no stage $stage; there are ${all[*]}" >&2 && exit 2 ;;
  esac
  torchrun --standalone --nproc-per-node 2 -m streamderain train stream --clean "$data/clean" --clean "$data/clean_video" \
    --out "$out/$stage" --profile "${stage%[12]}" --batch 1 --set squared_steps=0 --set checkpoint_every=500 \
    --set standing=0.4 "${options[@]}"
done
