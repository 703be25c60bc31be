#!/bin/sh
# Brings up what the build needs: tools/setup.sh system | fuzz | browser | bench | venv [GROUP...] | link BUILD_FOLDER
#
#   system        Debian packages for the build, installed only when one is missing
#   fuzz          those for fuzzing (clang)
#   browser       the browser in which tests open the page at /docs (chromium)
#   bench         what is measured beside us (rsync)
#   venv GROUP... .venv with the packages of pyproject.toml and its named groups, renewed only when the list changed
#   link          makes the built binaries and module part of python/roundhouse and of .venv
set -eu
cd "$(dirname "$0")/.."

SYSTEM_PACKAGES="g++ cmake ninja-build ccache make git pkg-config protobuf-compiler libprotobuf-dev libboost1.81-dev
  libexpected-dev nlohmann-json3-dev libspdlog-dev libfmt-dev libcli11-dev libgtest-dev libbenchmark-dev libsqlite3-dev libssl-dev
  libxxhash-dev libzstd-dev python3-yaml curl"
FUZZ_PACKAGES="clang-16 libclang-rt-16-dev"
BROWSER_PACKAGES="chromium"
BENCH_PACKAGES="rsync"
PYTHON_PACKAGES="python3 python3-dev python3-venv"

fail() {
  echo "setup: $*" >&2
  exit 1
}

# install_packages PACKAGE...: installs those that are missing, and says which.
install_packages() {
  missing=""
  for package in "$@"; do
    case "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" in
      installed) ;;
      *) missing="$missing $package" ;;
    esac
  done
  [ -n "$missing" ] || return 0
  command -v apt-get >/dev/null || fail "these packages are missing and there is no apt-get to install them:$missing"
  as_root=""
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "these packages are missing; install them as root, then come back:$missing"
    as_root="sudo"
  fi
  echo "==> installing Debian packages:$missing"
  log=$(mktemp)
  # shellcheck disable=SC2086  # a list of words
  if ! { $as_root apt-get update -q && $as_root env DEBIAN_FRONTEND=noninteractive \
         apt-get install -q -y --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    rm -f "$log"
    fail "apt-get could not install:$missing (its last lines are above; is there a network, and is this Debian 12?)"
  fi
  rm -f "$log"
}

# python_works PROGRAM: at least 3.10, able to make virtual environments and to compile against.
python_works() {
  command -v "$1" >/dev/null 2>&1 && "$1" - >/dev/null 2>&1 <<'PYTHON'
import ensurepip, os, sys, sysconfig, venv
sys.exit(sys.version_info < (3, 10) or not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))
PYTHON
}

make_venv() {
  python=""
  for candidate in ${PYTHON:-} python3 /usr/bin/python3; do
    if python_works "$candidate"; then
      python=$candidate
      break
    fi
  done
  if [ -z "$python" ]; then
    # shellcheck disable=SC2086
    install_packages $PYTHON_PACKAGES
    python=/usr/bin/python3
    python_works "$python" || fail "$python is older than 3.10 or has no headers: set PYTHON to one that has"
  fi
  echo "==> making .venv with $("$python" --version)"
  "$python" -m venv --clear .venv
  # What was configured for another interpreter is configured anew.
  rm -f build/release/build.ninja build/release/CMakeCache.txt
  rm -rf build/wheel
}

install_requirements() {
  name=requirements
  for group in "$@"; do name="$name-$group"; done
  stamp=".venv/$name.txt"
  if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c '' 2>/dev/null; then make_venv; fi
  wanted=$(.venv/bin/python tools/requirements.py "$@")
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then return 0; fi
  echo "==> installing Python packages: $(echo "$wanted" | tr '\n' ' ')"
  echo "$wanted" >.venv/wanted.txt
  log=$(mktemp)
  if ! .venv/bin/python -m pip install --disable-pip-version-check -q -r .venv/wanted.txt >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    rm -f "$log"
    fail "pip could not install them (its last lines are above)"
  fi
  rm -f "$log"
  mv .venv/wanted.txt "$stamp"
}

# The working tree is the package: what is edited is what runs.
link_package() {
  pth=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/roundhouse-tree.pth
  [ "$(cat "$pth" 2>/dev/null || true)" = "$PWD/python" ] || echo "$PWD/python" >"$pth"
}

# The compiled parts stand in the package as links into the build folder, where an installed package has files.
link_build() {
  build=$1
  mkdir -p python/roundhouse/_bin
  for program in roundhoused roundhouse; do
    [ -e "$build/bin/$program" ] || continue
    ln -sfn "../../../$build/bin/$program" "python/roundhouse/_bin/$program"
  done
  for name in roundhouse rh; do
    [ ! -e "$build/bin/roundhouse" ] || ln -sfn "../../$build/bin/roundhouse" ".venv/bin/$name"
  done
  for module in "$build"/_engine*.so; do
    [ ! -e "$module" ] || ln -sfn "../../$module" "python/roundhouse/${module##*/}"
  done
}

case "${1:-}" in
  # shellcheck disable=SC2086
  system) install_packages $SYSTEM_PACKAGES ;;
  # shellcheck disable=SC2086
  fuzz) install_packages $FUZZ_PACKAGES ;;
  # shellcheck disable=SC2086
  browser) install_packages $BROWSER_PACKAGES ;;
  # shellcheck disable=SC2086
  bench) install_packages $BENCH_PACKAGES ;;
  venv)
    shift
    install_requirements "$@"
    link_package
    ;;
  link) link_build "$2" ;;
  *) fail "usage: tools/setup.sh system | fuzz | browser | bench | venv [GROUP...] | link BUILD_FOLDER" ;;
esac
