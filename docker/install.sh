#!/bin/sh
# Installs espdeploy with everything it needs into one folder, on a Jetson or inside an image for one:
#
#     sh docker/install.sh /opt/espdeploy
#     /opt/espdeploy/venv/bin/espdeploy doctor
#
# The system's Python is used where it is 3.10 or 3.11 (JetPack 6), and then TensorRT's own Python package with it.
# Else a standalone Python is fetched (docker/python.env), checked by SHA-256, and kept in the folder too.
#
#     ESPDEPLOY_PYTHON          auto (default), system, or standalone
#     ESPDEPLOY_PYTHON_ARCHIVE  the standalone Python as a file, for a board without a network
#     ESPDEPLOY_JTOP            4 or 7: the client for the jtop service of that release; none (default)
#
# pip's own variables hold as well: PIP_NO_INDEX=1 PIP_FIND_LINKS=/media/usb/wheels installs without a network.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
project=$(dirname "$here")
python_wanted=${ESPDEPLOY_PYTHON:-auto}
jtop=${ESPDEPLOY_JTOP:-none}

fail() { # what, do
  printf 'error: %s\ndo: %s\n' "$1" "$2" >&2
  exit 2
}

[ $# -eq 1 ] || fail "the folder to install into is missing" "sh docker/install.sh /opt/espdeploy"
case $jtop in
  4 | 7) [ -f "$here/requirements-jtop$jtop.txt" ] ;;
  none) ;;
  *) fail "ESPDEPLOY_JTOP=$jtop is no release of jtop" "set it to 4, 7 or none; \`jtop --version\` on the host tells" ;;
esac
mkdir -p "$1" || fail "$1 cannot be made" "name a folder that you may write, or run this with sudo"
target=$(cd "$1" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT INT TERM

system_python() { # prints the first Python that a requirement file exists for
  for name in python3 python3.11 python3.10; do
    if "$name" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 10), (3, 11)))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
}

fetch() { # url, file
  if command -v curl >/dev/null; then
    curl --fail --location --silent --show-error --retry 3 --output "$2" "$1"
  else
    wget --quiet --tries=3 --output-document="$2" "$1"
  fi
}

standalone_python() { # unpacks it into the folder and prints where it is
  # shellcheck source=docker/python.env
  . "$here/python.env"
  archive=${ESPDEPLOY_PYTHON_ARCHIVE:-$scratch/python.tar.gz}
  [ -f "$archive" ] || fetch "$PYTHON_URL" "$archive" ||
    fail "the standalone Python could not be fetched" \
      "fetch $PYTHON_URL elsewhere, bring it here, and set ESPDEPLOY_PYTHON_ARCHIVE to it"
  echo "$PYTHON_SHA256  $archive" | sha256sum --check --status ||
    fail "$archive is not the file whose SHA-256 stands in docker/python.env" "delete it and run this again"
  rm -rf "$target/python"
  tar -xzf "$archive" -C "$target"
  echo "$target/python/bin/python3"
}

case $python_wanted in
  auto | system) python=$(system_python) ;;
  standalone) python= ;;
  *) fail "ESPDEPLOY_PYTHON=$python_wanted is none of its values" "set it to auto, system or standalone" ;;
esac
if [ -n "$python" ]; then
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python cannot make virtual environments" \
      "sudo apt install python3-venv, or set ESPDEPLOY_PYTHON=standalone"
  "$python" -m venv --clear --system-site-packages "$target/venv"
elif [ "$python_wanted" = system ]; then
  fail "this system has no Python 3.10 or 3.11" "set ESPDEPLOY_PYTHON=standalone"
else
  python=$(standalone_python)
  "$python" -m venv --clear "$target/venv"
fi

venv=$target/venv/bin/python
tag=$("$venv" -c 'import sys; print("cp%d%d" % sys.version_info[:2])')
install() {
  "$venv" -m pip install --quiet --no-deps --disable-pip-version-check --no-cache-dir --ignore-installed "$@"
}

# The wheels by their hashes; then our own, built by a pinned hatchling that is not kept.
install --require-hashes --only-binary=:all: -r "$here/requirements-$tag.txt"
install --require-hashes --only-binary=:all: --target "$scratch/build" -r "$here/requirements-build.txt"
PYTHONPATH=$scratch/build install --no-build-isolation "$project"
if [ "$jtop" != none ]; then
  grep -v '^jetson-stats==' "$here/requirements-jtop$jtop.txt" >"$scratch/first.txt"
  install --require-hashes --only-binary=:all: -r "$scratch/first.txt"
  install --require-hashes --no-build-isolation --use-pep517 -r "$here/requirements-jtop$jtop.txt"
fi

"$target/venv/bin/espdeploy" --version
