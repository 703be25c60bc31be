#!/bin/sh
# Builds and runs the C++ tests under sanitizers: tools/sanitize.sh SANITIZERS BUILD_FOLDER JOBS
set -eu
cd "$(dirname "$0")/.."
sanitizers=$1 build=$2 jobs=$3

echo "==> sanitize ($sanitizers): building"
mkdir -p "$build"
if [ ! -f "$build/build.ninja" ]; then
  cmake -S . -B "$build" -G Ninja -DROUNDHOUSE_SANITIZE="$sanitizers" -DROUNDHOUSE_BINDING=OFF \
    -DCMAKE_C_COMPILER=gcc -DCMAKE_CXX_COMPILER=g++ >"$build/configure.log" 2>&1 \
    || { cat "$build/configure.log"; exit 1; }
fi
ninja -C "$build" -j"$jobs" --quiet cpp_tests

# The thread sanitizer wants memory where it expects it: without address randomisation, where that may be switched off.
fixed=""
case "$sanitizers" in
  *thread*) if setarch "$(uname -m)" -R true 2>/dev/null; then fixed="setarch $(uname -m) -R"; fi ;;
esac
echo "==> sanitize ($sanitizers): running"
export ASAN_OPTIONS="detect_stack_use_after_return=1:strict_string_checks=1"
export UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1"
export TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1"
# shellcheck disable=SC2086  # a list of words
$fixed ctest --test-dir "$build" --output-on-failure
