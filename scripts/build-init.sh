#!/usr/bin/env bash
# Builds teleport-init, the static program that is PID 1 of every branch.
#
#   scripts/build-init.sh [--out DIR] [--arch x86_64|aarch64]
#
# Installs gcc and the C library's headers where there is no compiler (for another architecture, its cross compiler).
# Does nothing when the program is there and was built of these sources, which its own text tells: times of files say
# little in a package or on another machine. Where the sources are left out, a program that is there is taken as it is.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
out="$here/build/init"
arch=$(uname -m)
while [ $# -gt 0 ]; do
  case $1 in
    --out) out=$2; shift 2 ;;
    --arch) arch=$2; shift 2 ;;
    -h|--help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "build-init: unknown option $1 (see --help)" >&2; exit 1 ;;
  esac
done
program="$out/teleport-init"
[ "$arch" = "$(uname -m)" ] || program="$out/teleport-init-$arch"
shopt -s nullglob
sources=("$here"/helper/native/*.c "$here"/helper/native/*.h)
if [ ${#sources[@]} -eq 0 ]; then
  [ -x "$program" ] && exit 0
  echo "build-init: neither $program nor its sources (helper/native) are here" >&2
  exit 1
fi
flags="-std=gnu11 -O2 -Wall -Wextra -Werror -static -s"
made_of="teleport-init made of $({ echo "$arch $flags"; cat "${sources[@]}"; } | sha256sum | cut -c1-16)"
if [ -x "$program" ] && grep -aqF "$made_of" "$program"; then exit 0; fi
# A package brings one for each processor.
if [ -f "$out/teleport-init-$arch" ] && grep -aqF "$made_of" "$out/teleport-init-$arch"; then
  install -m 755 "$out/teleport-init-$arch" "$program"
  exit 0
fi

cc=gcc
package="gcc libc6-dev"
if [ "$arch" != "$(uname -m)" ]; then
  cc="$arch-linux-gnu-gcc"
  # The C library is only recommended by the compiler.
  case $arch in aarch64) package="gcc-aarch64-linux-gnu libc6-dev-arm64-cross" ;; *) package="gcc-x86-64-linux-gnu libc6-dev-amd64-cross" ;; esac
fi
if ! command -v "$cc" >/dev/null || ! echo 'int main(void){return 0;}' | "$cc" -static -x c -o /dev/null - 2>/dev/null; then
  echo "build-init: installing $package (a C compiler, for the program that is PID 1 in every sandbox)"
  sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq
  # shellcheck disable=SC2086
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $package >/dev/null
fi
mkdir -p "$out"
# shellcheck disable=SC2086
echo "const char made_of[] __attribute__((used)) = \"$made_of\";" |
  "$cc" $flags -o "$program.new" "$here"/helper/native/*.c -x c -
mv "$program.new" "$program"
echo "build-init: built $program ($(stat -c %s "$program") bytes)"
