#!/bin/sh
# Unpacks systems newer than Debian 12 for the test that provisions them (test/multipass/suites.test.ts): Ubuntu 24.04 lies
# between Debian 12 and 13 (trixie) in age, 26.04 between 13 and sid. Run it again at any time: it does nothing when all is
# there. The result is build/roots/SUITE, a link into a cache that other clones reuse: `root`, and in `archives` the packages
# that provisioning installs, so that the test needs no network.
#
#   TELEPORT_ENV_SUITES="trixie sid"
#                            which (default: trixie; sid changes from day to day)
#   TELEPORT_ENV_CACHE=DIR   where the cache lives, as for scripts/setup-vm.sh. 500 MB and two minutes each.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
# As small as a system that boots is.
HAS=systemd,systemd-sysv,dbus,udev,kmod,iproute2,procps,sudo,ca-certificates,python3
GETS='git build-essential xfsprogs curl nodejs nftables'

say() { printf 'roots: %s\n' "$*"; }
die() { printf 'roots: %s\n' "$*" >&2; exit 1; }

[ "$(uname -s)" = Linux ] || die "these are for Linux, not $(uname -s)"
[ "$(id -u)" = 0 ] || die 'this takes root: mmdebstrap unpacks packages as their owners'
for folder in "${TELEPORT_ENV_CACHE:-/var/cache/teleport-env}" "${XDG_CACHE_HOME:-$HOME/.cache}/teleport-env" ''; do
  [ -n "$folder" ] || die 'no folder to build in; TELEPORT_ENV_CACHE names one'
  if mkdir -p "$folder" 2>/dev/null && [ -w "$folder" ]; then cache=$folder; break; fi
done
if ! command -v mmdebstrap >/dev/null; then
  say 'installing with apt: mmdebstrap'
  export DEBIAN_FRONTEND=noninteractive
  apt_get='apt-get -o DPkg::Lock::Timeout=600 -qq'
  $apt_get install -y --no-install-recommends mmdebstrap >/dev/null ||
    { $apt_get update && $apt_get install -y --no-install-recommends mmdebstrap >/dev/null; } || die 'apt could not install mmdebstrap'
fi

unpack() {
  suite=$1 part=$2
  say "unpacking $suite in ${part%.part} (about two minutes)"
  rm -rf "$part"
  mkdir -p "$part/archives"
  # A copy of sid is old soon.
  "$root/scripts/debian-mirrors.sh" "$suite" | nice mmdebstrap --variant=minbase --mode=root --include="$HAS" \
    --skip=cleanup/apt/lists --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt=force-unsafe-io \
    --customize-hook='chroot "$1" apt-get clean' \
    --customize-hook="chroot \"\$1\" apt-get -qq install -y --no-install-recommends --download-only $GETS" \
    --customize-hook="mv \"\$1\"/var/cache/apt/archives/*.deb '$part/archives/'" \
    "$suite" "$part/root" - >"$part/log" 2>&1 || { tail -20 "$part/log" >&2; die "what there is stands in $part"; }
  touch "$part/complete"
  rm -rf "${part%.part}"
  mv "$part" "${part%.part}" # whole or not at all
}

for suite in ${TELEPORT_ENV_SUITES:-trixie}; do
  place=$cache/root-$suite-$({ cat "$0"; dpkg --print-architecture; } | sha256sum | cut -c1-16)
  if [ ! -f "$place/complete" ]; then
    exec 9>"$place.lock"
    flock 9
    [ -f "$place/complete" ] || unpack "$suite" "$place.part"
    exec 9>&-
  fi
  link=$root/build/roots/$suite
  [ "$(readlink "$link" 2>/dev/null)" != "$place" ] || continue
  mkdir -p "${link%/*}"
  ln -sfn "$place" "$link"
  say "${link#"$root/"} → $place"
done
