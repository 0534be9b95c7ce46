#!/usr/bin/env bash
# What a bare machine lacks before Python can take over: a virtual environment, and the system libraries of Qt and OpenGL.
#
#   setup.sh venv FOLDER PYTHON     make a virtual environment with pip
#   setup.sh display-libraries      what a napari window needs; only when there is a display
#   setup.sh test-libraries         the same, and Xvfb to have a display
set -euo pipefail

# Read off PySide6's plugins with ldd, and checked with a real window in a bare Debian.
WINDOW_LIBRARIES=(
  libgl1 libegl1 libgl1-mesa-dri libopengl0 libglib2.0-0 libxkbcommon-x11-0 libdbus-1-3 libxcb-cursor0 libxcb-icccm4 libxcb-image0
  libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libxcb-xkb1 libfontconfig1 libwayland-cursor0
)

say() { echo "==> $*"; }
fail() {
  echo "setup: error: $*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo env DEBIAN_FRONTEND=noninteractive "$@"
  else
    fail "needs root for: $*. Run that as root, or install sudo, then try again."
  fi
}

is_installed() {
  # Debian 13 renamed some libraries (libglib2.0-0 is libglib2.0-0t64 there).
  dpkg-query -W -f '${db:Status-Status}\n' "$1" "$1t64" 2>/dev/null | grep -qx installed
}

apt_install() {
  local missing=()
  for package in "$@"; do
    is_installed "$package" || missing+=("$package")
  done
  if [ ${#missing[@]} -eq 0 ]; then
    return
  fi
  say "Installing missing system packages: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  as_root apt-get update -qq || say "apt-get update reported errors; going on with the package lists that are there"
  as_root apt-get install -y -q --no-install-recommends "${missing[@]}" ||
    fail "apt-get could not install: ${missing[*]}"
}

has_apt() { command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; }

make_venv() {
  local folder=$1 python=$2
  command -v "$python" >/dev/null || fail "no Python at '$python'; name one: make PYTHON=/path/to/python3.11"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version) is too old, 3.11 or newer is needed; name one: make PYTHON=python3.11"
  # The module venv can be there without ensurepip, as in Debian's python3.
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    local package
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    has_apt || fail "this Python has no venv and ensurepip; install them, then try again"
    say "This Python can't make virtual environments yet: it lacks $package"
    apt_install "$package"
  fi
  say "Making a virtual environment in $folder with $("$python" --version)"
  # tox leaves a file .venv that names one of its environments; a folder goes in its place.
  [ ! -f "$folder" ] || rm "$folder"
  "$python" -m venv --clear "$folder"
  "$folder/bin/python" -m pip install -q --upgrade "pip>=25.3" -c constraints.txt
}

case "${1:-}" in
  venv)
    make_venv "$2" "$3"
    ;;
  display-libraries)
    if [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] && has_apt; then
      apt_install "${WINDOW_LIBRARIES[@]}"
    fi
    ;;
  test-libraries)
    if has_apt; then
      apt_install xvfb xauth "${WINDOW_LIBRARIES[@]}"
    else
      say "This is no Debian: make sure that Qt, OpenGL and Xvfb (xvfb-run) are installed"
    fi
    ;;
  *)
    fail "usage: setup.sh venv FOLDER PYTHON | display-libraries | test-libraries"
    ;;
esac
