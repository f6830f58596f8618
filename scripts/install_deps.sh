#!/usr/bin/env bash
# Installs what the build needs: Debian packages through apt, libtorch from its wheel (pinned by
# hash) into the cache folder. Does nothing where everything is there.
#   scripts/install_deps.sh            what the server needs
#   scripts/install_deps.sh --test     also what the tests and the lint step need
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

kinds=build
case ${1:-} in
  '') ;;
  --test) kinds='build|test' ;;
  *) die "usage: install_deps.sh [--test]" ;;
esac

install_packages() {
  local wanted missing=()
  mapfile -t wanted < <(grep -E "^($kinds) " "$PARROT_ROOT/scripts/packages.txt" | cut -d' ' -f2)
  for package in "${wanted[@]}"; do
    dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' ||
      missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${#missing[@]} Debian packages: ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Unpacks the libraries and headers of the pinned wheels; none of their Python code.
install_torch() {
  [ ! -e "$PARROT_TORCH_DIR/.complete" ] || return 0
  say "downloading libtorch $PARROT_TORCH_VERSION (530 MB) to $PARROT_TORCH_DIR"
  local staging=$PARROT_TORCH_DIR.partial.$$
  rm -rf "$staging"
  mkdir -p "$staging/wheels"
  trap 'rm -rf "$staging"' EXIT
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
    --only-binary=:all: --python-version 3.11 --implementation cp --abi cp311 --abi none \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_25_x86_64 \
    --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    -d "$staging/wheels" -r "$PARROT_ROOT/scripts/requirements-torch.txt"
  say "unpacking libtorch"
  python3 - "$staging" <<'PY'
import pathlib, sys, zipfile
staging = pathlib.Path(sys.argv[1])
keep = ("torch/lib/", "torch/include/", "nvidia/")
for wheel in sorted((staging / "wheels").glob("*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        members = [m for m in archive.namelist()
                   if m.startswith(keep) and not m.endswith((".py", ".a"))]
        members += [m for m in archive.namelist() if ".dist-info/" in m and "LICENSE" in m.upper()]
        archive.extractall(staging, members)
    wheel.unlink()
PY
  rmdir "$staging/wheels"
  touch "$staging/.complete"
  rm -rf "$PARROT_TORCH_DIR"
  mkdir -p "$(dirname "$PARROT_TORCH_DIR")"
  mv "$staging" "$PARROT_TORCH_DIR"
  trap - EXIT
}

# The Python client packages of the end-to-end test, pinned by hash, in a folder of their own.
install_e2e_python() {
  local requirements=$PARROT_ROOT/tests/e2e/python/requirements.txt
  local venv=$PARROT_CACHE_DIR/e2e-python
  local stamp
  stamp=$(sha256sum <"$requirements")
  [ "$(cat "$venv/.complete" 2>/dev/null)" != "$stamp" ] || return 0
  say "installing the Python packages of the end-to-end test to $venv"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
    --only-binary=:all: -r "$requirements"
  echo "$stamp" >"$venv/.complete"
}

[ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] ||
  die "this script knows Debian 12 on x86-64; elsewhere install scripts/packages.txt by hand"
install_packages
install_torch
if [ "$kinds" != build ]; then install_e2e_python; fi
say "dependencies are in place"
