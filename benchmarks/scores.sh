#!/usr/bin/env bash
# The scores of the model card, made again: benchmarks/scores.sh DATA OUT
# DATA holds paired/, clean_eval/, clean_video/ and video/paired/ as folders of pictures and clips; pages and JSON go to OUT.
# PROFILES names those to score, all unless set.
set -euo pipefail
data=$1 out=$2
mkdir -p "$out"
for profile in ${PROFILES:-tiny realtime quality}; do
  for set in rain100l_test sirr_val_9 misc_jpeg_3; do
    python -m streamderain eval --rainy "$data/paired/$set/rainy" --clean "$data/paired/$set/clean" \
      --profile $profile --json "$out/$set.$profile.json" --html "$out/$set.$profile.html"
    python -m streamderain eval --once --rainy "$data/paired/$set/rainy" --clean "$data/paired/$set/clean" \
      --profile $profile --json "$out/$set.once.$profile.json"
  done
  python -m streamderain eval --clean "$data/clean_eval/kodak10" --profile $profile --json "$out/kodak10.$profile.json"
  python -m streamderain eval --once --clean "$data/clean_eval/kodak10" --profile $profile --json "$out/kodak10.once.$profile.json"
  python -m streamderain eval --sequence --rainy "$data/video/paired/pedestrian_gray/rainy" \
    --clean "$data/video/paired/pedestrian_gray/clean" --profile $profile --json "$out/pedestrian_gray.$profile.json"
  for clip in driving_highway.mp4 driving_highway_shadow.mp4 blackswan.mp4 traffic_static.avi market_walk market_crowd tennis bmx_trees; do
    python -m streamderain eval --sequence --clean "$data/clean_video/$clip" --profile $profile --json "$out/unharmed.$clip.$profile.json"
  done
done
