#!/usr/bin/env bash
# Measures this machine, our kernels and whole models on it, and writes what they print into
# docs/performance.md, below its last line that is written by hand. Takes an hour or two; nothing
# else should run meanwhile. Every figure also goes to build/performance/*.json.
# Beside the peers too, where bench/peers/build_llama.sh and make_gguf.py have prepared them.
#   scripts/measure_performance.sh            the release build's programs (builds them)
#   scripts/measure_performance.sh --quick    smallest model, one repeat, printed, not written
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$PARROT_ROOT"

page=docs/performance.md
marker='<!-- Measured:'
programs=build/release/bin
results=build/performance
models=(0.5b 1.8b) repeats=5 limits=()
if [ "${1:-}" = --quick ]; then
  models=(tiny) repeats=1 limits=(--quick)
elif [ $# -gt 0 ]; then
  die "usage: scripts/measure_performance.sh [--quick]"
fi

configure_preset release
say "building the benchmarks"
cmake --build --preset release --target machine_limits parrot-bench torch_eager_bench >&2
mkdir -p "$results"
measured=$results/performance.md
: >"$measured"

# measure TITLE NAME PROGRAM ARGUMENT...: NAME.json and a section of the page.
measure() {
  local title=$1 name=$2 program=$3
  shift 3
  say "$title"
  printf '\n## %s\n\n' "$title" >>"$measured"
  "$programs/$program" "$@" --repeats "$repeats" --markdown --json "$results/$name.json" \
    >>"$measured"
}

measure "Measured: machine limits" limits machine_limits "${limits[@]}"
measure "Measured: kernels" kernels parrot-bench kernels --model "${models[@]}" --summary
measure "Measured: models, float32" engine-float32 parrot-bench engine --model "${models[@]}" \
  --dtype float32
measure "Measured: models, bfloat16" engine-bfloat16 parrot-bench engine --model "${models[@]}" \
  --dtype bfloat16
for quantization in int8 int4-g32; do
  measure "Measured: models, $quantization" "engine-$quantization" parrot-bench engine \
    --model "${models[@]}" --dtype bfloat16 --quantization "$quantization"
done

if [ "${1:-}" = --quick ]; then
  cat "$measured"
  exit 0
fi
if [ -d "${XDG_CACHE_HOME:-$HOME/.cache}/parrot-peers/models" ]; then
  say "Measured: beside the peers"
  printf '\n## Measured: beside the peers\n\n' >>"$measured"
  python3 bench/peers/run.py --json "$results/peers.json" >>"$measured"
fi
head=$(sed "/^$marker/q" "$page")
{ printf '%s\n' "$head" && cat "$measured"; } >"$results/page.md"
cp "$results/page.md" "$page"
say "written: $page"
