#!/bin/sh
# Fuzzes every decoder: tools/fuzz.sh JOBS for SECONDS, all targets together, from a new seed each time; or tools/fuzz.sh JOBS
# runs N, each target with the same N inputs every time, so that a test fails for what was changed and not for what was drawn.
# What the search finds stays in build/fuzz/corpus for the next one, and an input that fails is left in build/fuzz/found.
set -eu
cd "$(dirname "$0")/.."
jobs=$1 how=$2 amount=$3 build=build/fuzz

if ! ls src/*/*_fuzz.cpp >/dev/null 2>&1; then
  echo "fuzz: no src/*/*_fuzz.cpp to build" >&2
  exit 1
fi
echo "==> fuzz: building with clang"
mkdir -p "$build"
if [ ! -f "$build/build.ninja" ]; then
  cmake -S . -B "$build" -G Ninja -DROUNDHOUSE_FUZZ=ON -DROUNDHOUSE_BINDING=OFF \
    -DCMAKE_C_COMPILER=clang-16 -DCMAKE_CXX_COMPILER=clang++-16 >"$build/configure.log" 2>&1 \
    || { cat "$build/configure.log"; exit 1; }
fi
ninja -C "$build" -j"$jobs" --quiet fuzz_targets

targets=$(for source in src/*/*_fuzz.cpp; do basename "$source" .cpp; done)
# shellcheck disable=SC2086  # a list of words
count=$(echo $targets | wc -w)
case "$how" in
  for)
    share=$((amount / count))
    [ "$share" -gt 0 ] || share=1
    bound=-max_total_time=$share what="$share s" kept=$build/corpus ;;
  runs)
    bound="-seed=1 -runs=$amount" what="$amount inputs" kept=$build/corpus-of-runs
    rm -rf "$kept" ;;
  *) echo "fuzz: 'for SECONDS' or 'runs N', not '$how'" >&2; exit 2 ;;
esac
mkdir -p "$build/found"
for target in $targets; do
  corpus="$kept/$target"
  seeds="$build/seeds"
  mkdir -p "$corpus" "$seeds"
  # The golden files are text; their bytes are what the decoders know.
  python3 -c 'import pathlib, re, sys
for file in pathlib.Path("tests/golden").rglob("*.hex"):
    text = re.sub("#.*", "", file.read_text())
    pathlib.Path(sys.argv[1], file.stem).write_bytes(bytes.fromhex(text))' "$seeds"
  echo "==> fuzz: $target, $what"
  log="$build/$target.log"
  # shellcheck disable=SC2086
  if ! "$build/fuzz/$target" $bound -timeout=10 -rss_limit_mb=2048 -max_len=131072 -print_final_stats=1 \
    -artifact_prefix="$build/found/$target-" "$corpus" $seeds >"$log" 2>&1; then
    tail -n 60 "$log" >&2
    echo "fuzz: $target failed; the input is in $build/found (above: where)" >&2
    exit 1
  fi
  grep -E '^(Done|stat::number_of_executed_units)' "$log" || tail -n 2 "$log"
done
