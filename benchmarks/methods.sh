#!/usr/bin/env bash
# The trainings behind docs/methods.md and their figures: benchmarks/methods.sh DATA OUT [METHOD...]
# DATA holds real/, video/rainy/, clean/, clean_video/, paired/rain100l_test/ and reference_nlcl/; OUT gets one folder a
# method. Needs matplotlib for the curves (pip install matplotlib). Made for two CPU cores: small networks, small crops, few steps. A run that is there already goes on.
set -euo pipefail
data=$1 out=$2
shift 2
methods=${*:-nlcl nlcl_asym rdmc cclgan}
unpaired=(--rainy "$data/real" --rainy "$data/video/rainy" --clean "$data/clean" --clean "$data/clean_video")
short_nlcl=(
  --preset colour_true --steps 5500 --batch 4 --set crop_size=64 --set channels=16 --set num_blocks=6
  --set gen_layers=0,1,2,4,6 --set ndf=32 --set num_layers=2 --set disc_norm=none --set disc_init=kaiming
  --set disc_layers=0,3,6 --set view=detail --set head_start=2500 --set skip=subtract --set epochs=160
  --set decay_epochs=50 --set bf16=true --set checkpoint_every=250 --set num_pos=64 --set disc_lr=4e-4
  --set rendered_share=0.7 --set loss.sparsity=0.2 --set lr=3e-4
)
mkdir -p "$out"
models=()
for method in $methods; do
  case $method in
    nlcl | nlcl_asym) options=("${unpaired[@]}" "${short_nlcl[@]}") ;;
    rdmc)
      options=(
        --clean "$data/clean" --clean "$data/clean_video" --steps 4000 --batch 8 --set crop_size=64
        --set preprocess=crop --set stages=2 --set widths=8,16,24,32,32 --set zero_start=true --set milestones=90,130
        --set bf16=true --set ema=0.998 --set checkpoint_every=250 --set loss.mse=5 --set rain_brightness=0.3,0.9
      ) ;;
    cclgan)
      options=(
        "${unpaired[@]}" --steps 6000 --batch 1 --set preprocess=crop --set crop_size=128 --set ngf=16
        --set num_blocks=4 --set ndf=32 --set bf16=true --set ema=0.99 --set rendered_share=0.5
        --set loss.identity=10 --set checkpoint_every=100
      ) ;;
  esac
  python -m streamderain train "$method" "${options[@]}" --out "$out/$method"
  model=$out/$method/best.safetensors
  python -m streamderain eval --rainy "$data/paired/rain100l_test/rainy" --clean "$data/paired/rain100l_test/clean" \
    --model "$model" --json "$out/rain100l.$method.json" | tail -n 3
  models+=("$model")
done
here=$(dirname "${BASH_SOURCE[0]}")
python "$here/real_rain.py" --rainy "$data/reference_nlcl/rainy" --reference "$data/reference_nlcl/nlcl_output" \
  --out "$out/real" "${models[@]}"
python "$here/curves.py" --out "$out/curves.svg" $(for method in $methods; do echo "$out/$method"; done)
