#!/bin/sh
# Does it run on a board? Installs espdeploy with docker/install.sh in an arm64 Debian root, from the very wheels that the
# boards get, and runs the tests of the core and of the trtexec backend there, under QEMU's user-mode emulation.
#
#     sudo sh docker/arm64_check.sh [FOLDER]        # the root is kept in FOLDER (build/arm64) for the next time
#
# Needs debootstrap and qemu-user-static, and pip for the wheels (PYTHON=…). Arm64 programs are told to the kernel within
# a namespace of this run alone: nothing outside changes. Kernels before 6.7 cannot do that: there proot stands in.
# Debian's packages are unpacked, not configured: their scripts would compile Python for minutes and prove nothing of us.
set -eu

cd "$(dirname "$0")/.."
folder=${1:-build/arm64}
python=${PYTHON:-python3}
suite=bookworm # its Python is 3.11, as the standalone one of the boards
binfmt=/usr/lib/binfmt.d/qemu-aarch64.conf
tests="tests/unit/trtexec tests/unit/devices tests/unit/monitors tests/unit/bench tests/unit/test_store.py
  tests/unit/test_recipes.py tests/unit/test_device_facts.py tests/unit/test_shell_lines.py tests/unit/test_shared_words.py
  tests/unit/test_captured_output.py tests/unit/pipeline/test_capability.py"
# Left out: simulations of thousands of benchmarks, which are NumPy alone and take minutes here; a test that gives a program
# two seconds to start; and what the emulation cannot show: QEMU's user mode answers some questions with what the machine
# below it says (the processor's name, and a process's own time, in /proc), and the namespace knows one user, so that no
# right can be given up.
left_out="tests/unit/bench/test_comparison.py
  tests/unit/bench/test_statistics.py
  tests/unit/test_shared_words.py::test_a_tool_that_hangs_is_ended_with_its_children
  tests/unit/devices/test_detect.py::test_this_machine
  tests/unit/monitors/test_process.py::test_the_process_load_is_processor_time_over_time
  tests/unit/monitors/test_process.py::test_children_that_ended_count_as_ours
  tests/unit/monitors/test_rapl.py::test_readable_by_root_only"

fail() { # what, do
  printf 'error: %s\ndo: %s\n' "$1" "$2" >&2
  exit 3
}

[ "$(id -u)" = 0 ] || fail "making a root for another machine takes root" "sudo sh docker/arm64_check.sh"
for tool in debootstrap qemu-aarch64-static; do
  command -v "$tool" >/dev/null || fail "$tool is missing" "apt-get install debootstrap qemu-user-static"
done
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
root=$folder/root

if [ ! -e "$folder/ready" ]; then
  echo "== Debian $suite for arm64"
  rm -rf "$root"
  debootstrap --arch=arm64 --foreign --variant=minbase --include=python3,python3-venv "$suite" "$root" >"$folder/debootstrap.log" ||
    { tail -n 5 "$folder/debootstrap.log" >&2; fail "debootstrap failed" "read $folder/debootstrap.log"; }
  for package in "$root"/var/cache/apt/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$root" --keep-directory-symlink
  done
  # in a container debootstrap makes these links to the outside
  for place in proc dev; do
    if [ -L "$root/$place" ]; then rm "$root/$place" && mkdir "$root/$place"; fi
  done
  touch "$folder/ready"
fi

echo "== the wheels that a board gets"
"$python" docker/lock.py --fetch "$root/wheels"
"$python" -m pip download --quiet --dest "$root/wheels" -c constraints.txt --only-binary=:all: --python-version 3.11 \
  --implementation cp --abi cp311 --abi abi3 --abi none --platform manylinux2014_aarch64 --platform manylinux_2_27_aarch64 \
  pytest pytest-timeout pytest-xdist hypothesis

rm -rf "$root/src" "$root/opt/espdeploy"
mkdir -p "$root/src"
tar -c --exclude=__pycache__ --exclude=engines/build --exclude=calibration/cache pyproject.toml README.md LICENSE \
  docker engines calibration espdeploy tests | tar -x -C "$root/src"

for one in $tests; do echo "$one"; done >"$root/src/chosen"
for one in $left_out; do echo "--deselect=$one"; done >>"$root/src/chosen"

cat >"$root/src/inside.sh" <<INSIDE
set -eu
cd /src
export HOME=/root PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels PIP_NO_COMPILE=1 CI=1 # Python may keep what it compiles: programs start by the hundred
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
echo "== \$(uname -m), \$(python3 --version): docker/install.sh"
ESPDEPLOY_PYTHON=system ESPDEPLOY_JTOP=4 sh docker/install.sh /opt/espdeploy
/opt/espdeploy/venv/bin/python -c 'import importlib.metadata as m, jtop; print("jetson-stats", m.version("jetson-stats"))'
/opt/espdeploy/venv/bin/python -m pip install --quiet pytest pytest-timeout pytest-xdist hypothesis
echo "== the installed program, away from the checkout"
cd / && /opt/espdeploy/venv/bin/espdeploy devices tx2 | head -n 3 && cd /src
echo "== tests of the core and of trtexec"
/opt/espdeploy/venv/bin/python -m pytest -q -n 2 --dist worksteal -p no:cacheprovider --durations 6 @chosen
INSIDE

cat >"$folder/enter.sh" <<ENTER
set -eu
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
cat $binfmt >/proc/sys/fs/binfmt_misc/register
mount -t proc proc $root/proc
mount --rbind /dev $root/dev
exec chroot $root /bin/sh /src/inside.sh
ENTER
if unshare --user --map-root-user --mount --pid --fork --mount-proc \
  sh -c 'mount -t binfmt_misc none /proc/sys/fs/binfmt_misc' 2>/dev/null && [ -f "$binfmt" ]; then
  exec timeout 900 unshare --user --map-root-user --mount --pid --kill-child --mount-proc sh "$folder/enter.sh"
fi
command -v proot >/dev/null || fail "this kernel has no private binfmt_misc, and proot is missing" "apt-get install proot"
exec timeout 1800 proot -q qemu-aarch64-static -0 -r "$root" -b /proc -b /dev -w /src /bin/sh /src/inside.sh
