#!/bin/sh
# Makes an Ubuntu machine able to run sandboxes, and brings one up to date. Run it again at any time: what is there is
# left alone. The extension runs it through “multipass exec” or ssh; by hand: sudo sh multipass/provision.sh
#
# It expects the extension's files around it (dist, build, scripts), as in its package. Lines that start with @@ are for
# the extension's progress: step, steps, words.
set -eu

# Raised whenever this script does something new, so that machines made before are provisioned again.
PROVISION=1
NODE_MINIMUM=20.19
NODE_LINE=v22

here=$(cd "$(dirname "$0")/.." && pwd)
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

step() { printf '@@ %s 4 %s\n' "$1" "$2"; }
die() { printf 'provision: %s\n' "$*" >&2; exit 2; }
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }
# What an image knows of packages may be nothing, or old.
apt_install() {
  apt install -y --no-install-recommends "$@" 2>/dev/null || { apt update || true; apt install -y --no-install-recommends "$@"; }
}
# A machine that has just booted may be installing its updates.
apt() { apt-get -qq -o DPkg::Lock::Timeout=900 -o Acquire::Retries=3 "$@" >/dev/null; }

# command:package pairs of what agents and their builds take for granted, and what set-up needs.
wanted='git:git make:build-essential g++:build-essential python3:python3 mkfs.xfs:xfsprogs curl:curl tar:tar'

install_packages() {
  missing=
  for pair in $wanted; do
    command -v "${pair%%:*}" >/dev/null && continue
    case "$missing " in *" ${pair#*:} "*) ;; *) missing="$missing ${pair#*:}" ;; esac
  done
  [ -n "$missing" ] || return 0
  step 1 "Installing$missing"
  # shellcheck disable=SC2086
  apt_install $missing || die "apt could not install$missing; its own words stand above."
}

has_node() { command -v node >/dev/null && at_least "$(node -p process.versions.node)" $NODE_MINIMUM; }

# Ubuntu 26.04's own is new enough; 24.04's is not. TELEPORT_ENV_NODE_FROM names a mirror: a folder with SHASUMS256.txt in it.
provide_node() {
  has_node && return
  step 2 'Installing Node'
  # Without lists there is no candidate.
  [ -n "$(apt-cache policy nodejs)" ] || apt update
  candidate=$(apt-cache policy nodejs | sed -n 's/^ *Candidate: \([0-9.]*\).*/\1/p')
  if [ -n "$candidate" ] && at_least "$candidate" $NODE_MINIMUM; then
    apt_install nodejs && has_node && return
  fi
  case $(uname -m) in
    x86_64) arch=x64 ;;
    aarch64) arch=arm64 ;;
    *) die "no Node for $(uname -m)" ;;
  esac
  from=${TELEPORT_ENV_NODE_FROM:-https://nodejs.org/dist/latest-$NODE_LINE.x}
  dir=$(mktemp -d)
  curl -fsSL --retry 3 "$from/SHASUMS256.txt" -o "$dir/sums" || die "cannot reach $from"
  file=$(sed -n "s/^[0-9a-f]*  \(node-${NODE_LINE}[0-9.]*-linux-$arch\.tar\.xz\)$/\1/p" "$dir/sums")
  [ -n "$file" ] || die "$from names no Node for $arch"
  curl -fsSL --retry 3 "$from/$file" -o "$dir/$file" || die "$from breaks off before $file is here"
  (cd "$dir" && grep " $file\$" sums | sha256sum -c --quiet) || die "$file is not what $from says it is"
  mkdir -p /usr/local/lib/teleport-env-node
  tar -xJf "$dir/$file" -C /usr/local/lib/teleport-env-node --strip-components 1 --no-same-owner
  ln -sfn /usr/local/lib/teleport-env-node/bin/node /usr/local/bin/node
  rm -rf "$dir"
}

[ "$(id -u)" = 0 ] || die 'this takes root: sudo sh multipass/provision.sh'
# Two windows may find the same thing missing: the second waits, then finds it there.
exec 8>/run/teleport-env-provision.lock
flock 8
step 1 'Looking for what is missing'
install_packages
provide_node
step 3 'Installing the helper'
# What it starts in the background must not keep the lock.
bash "$here/scripts/setup-linux.sh" 8>&-
step 4 'Making /workspaces'
# Where the host's folders are brought to; it belongs to who works here.
mkdir -p /workspaces /etc/teleport-env
[ -z "${SUDO_UID:-}" ] || chown "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" /workspaces
version=$(node -p "require('$here/package.json').version")
echo "$PROVISION $version ${TELEPORT_ENV_PAYLOAD:--}" >/etc/teleport-env/provisioned.new
mv /etc/teleport-env/provisioned.new /etc/teleport-env/provisioned
