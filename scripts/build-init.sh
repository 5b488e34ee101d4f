#!/usr/bin/env bash
# Builds teleport-init, the static program that is PID 1 of every branch.
#
#   scripts/build-init.sh [--out DIR] [--arch x86_64|aarch64]
#
# Installs gcc and the C library's headers where there is no compiler (for another architecture, its cross compiler).
# Does nothing when the built program is newer than its sources.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
out="$here/build/init"
arch=$(uname -m)
while [ $# -gt 0 ]; do
  case $1 in
    --out) out=$2; shift 2 ;;
    --arch) arch=$2; shift 2 ;;
    -h|--help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "build-init: unknown option $1 (see --help)" >&2; exit 1 ;;
  esac
done
sources=("$here"/helper/native/*.c "$here"/helper/native/*.h "$0")
program="$out/teleport-init"
[ "$arch" = "$(uname -m)" ] || program="$out/teleport-init-$arch"
if [ -x "$program" ]; then
  stale=0
  for s in "${sources[@]}"; do [ "$s" -nt "$program" ] && stale=1; done
  [ $stale = 0 ] && exit 0
fi

cc=gcc
package="gcc libc6-dev"
if [ "$arch" != "$(uname -m)" ]; then
  cc="$arch-linux-gnu-gcc"
  package="gcc-${arch/x86_64/x86-64}-linux-gnu"
fi
if ! command -v "$cc" >/dev/null || ! echo 'int main(void){return 0;}' | "$cc" -static -x c -o /dev/null - 2>/dev/null; then
  echo "build-init: installing $package (a C compiler, for the program that is PID 1 in every sandbox)"
  sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq
  # shellcheck disable=SC2086
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $package >/dev/null
fi
mkdir -p "$out"
"$cc" -std=gnu11 -O2 -Wall -Wextra -Werror -static -s -o "$program.new" "$here"/helper/native/*.c
mv "$program.new" "$program"
echo "build-init: built $program ($(stat -c %s "$program") bytes)"
