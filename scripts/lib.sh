# Sourced by the other scripts: where things are, and how progress is shown.
set -euo pipefail

PARROT_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Everything downloaded lives here and is shared by all clones.
export PARROT_CACHE_DIR=${PARROT_CACHE_DIR:-$HOME/.cache/parrot-server}
PARROT_TORCH_VERSION=2.11.0
export PARROT_TORCH_DIR=${PARROT_TORCH_DIR:-$PARROT_CACHE_DIR/torch-$PARROT_TORCH_VERSION}
export CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}

say() { printf '[%4ds] %s\n' "$SECONDS" "$*" >&2; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# Runs a command as root, through sudo where we are not.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "need root (or sudo) to run: $*"
  fi
}

# configure_preset PRESET: quiet unless it fails.
configure_preset() {
  cd "$PARROT_ROOT"
  say "configuring preset $1"
  local log
  log=$(mktemp)
  if ! cmake --preset "$1" >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    die "configuring preset $1 failed"
  fi
  rm -f "$log"
}
