#!/usr/bin/env bash
# Makes this machine able to run sandboxes. Run it again at any time: what is there is left alone.
#
#   scripts/setup-linux.sh [--check]
#
#   --check   only say what would be done; ends with 1 when there is something
#
# Run it as yourself, it asks sudo for what needs root; or as root, or with sudo. It
#   - installs the packages that the helper needs, each named with its reason,
#   - builds CRIU and the sandbox's PID 1, or takes the distribution's CRIU where building cannot be,
#   - copies everything that runs as root to /opt/teleport-env/VERSION, owned by root,
#   - admits you, by your user id, in /etc/teleport-env/admitted,
#   - installs teleport-env.service where there is systemd, and restarts a helper of an older build (sandboxes go on),
#   - puts teleport-env into /usr/local/bin, and its completion for bash, zsh and fish into /usr/local/share.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
opt=/opt/teleport-env
admitted=/etc/teleport-env/admitted
unit=/etc/systemd/system/teleport-env.service
link=/usr/local/bin/teleport-env
minimum=20.19

# command = package = why it is wanted
needs=(
  "mkfs.xfs=xfsprogs=makes the state volume, whose files can be copied without copying data"
  "mount=mount=mounts it"
  "losetup=mount=makes a disk of its file"
  "setpriv=util-linux=builds without root's rights when you use sudo"
  "nft=nftables=lets a sandbox out to the network, where one asks for it"
  "flock=util-linux=keeps two set-ups apart"
  "python3=python3=runs the demonstration's programs"
)

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 2; }

check='' pending=0
case ${1:-} in
  '') ;;
  --check) check=yes ;;
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
  *) die "unknown argument '$1'. See --help." ;;
esac

# Whether to go on with a step; in a check, only says it.
todo() {
  if [ -z "$check" ]; then say "$*"; return 0; fi
  say "would be done: $*"
  pending=1
  return 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "this needs root: run it as root, or install sudo."; fi
}

# Whoever called, also through sudo. Only root calls as root.
caller=${SUDO_UID:-$(id -u)}
[ "$(id -u)" = 0 ] || caller=$(id -u)

# Compilers and npm packages run with no more rights than who owns the folder that they are in.
as_owner() {
  if [ "$(id -u)" = 0 ] && [ "$caller" != 0 ] && [ "$(stat -c %u "$here")" = "$caller" ]; then
    local home
    home=$(getent passwd "$caller" | cut -d: -f6)
    HOME=$home setpriv --reuid "$caller" --regid "$(stat -c %g "$here")" --init-groups "$@"
  else "$@"; fi
}

find_node() {
  local version
  node=$(command -v node || true)
  if [ -z "$node" ]; then
    [ "$(id -u)" != 0 ] || [ "$caller" = 0 ] ||
      die "there is no node on root's PATH. Run this without sudo: it asks for root's rights itself."
    die "there is no node. Install Node $minimum or later."
  fi
  version=$("$node" -p process.versions.node)
  at_least "$version" $minimum || die "Node $version is too old: $minimum or later is needed."
  node=$(readlink -f "$node")
}

at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

install_packages() {
  local need command package missing=() reasons=()
  for need in "${needs[@]}"; do
    IFS="=" read -r command package reason <<<"$need"
    command -v "$command" >/dev/null && continue
    missing+=("$package") reasons+=("$package ($reason)")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  local list
  printf -v list '%s, ' "${reasons[@]}"
  todo "installing ${list%, }" || return 0
  command -v apt-get >/dev/null || die "there is no apt-get here. Install these yourself, then run this again: ${missing[*]}"
  apt_install "${missing[@]}" || die "apt could not install ${missing[*]}; its own message stands above."
}

# Another installation may hold the lock for a while; lists may be missing or old. What apt says is shown where it fails.
apt_install() {
  local said apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600)
  said=$(as_root "${apt[@]}" install -y --no-install-recommends "$@" 2>&1) ||
    { said=$(as_root "${apt[@]}" update 2>&1) && said=$(as_root "${apt[@]}" install -y --no-install-recommends "$@" 2>&1); } ||
    { printf '%s\n' "$said" >&2; return 1; }
}

# Sets criu: a folder with our build, or the program of the distribution.
provide_criu() {
  if [ -n "$check" ]; then
    criu=$here/build/criu
    [ -x "$criu/criu" ] || todo "building CRIU, which saves and restores processes" || true
    return
  fi
  if as_owner "$here/scripts/build-criu.sh"; then criu=$here/build/criu; return; fi
  say "CRIU could not be built; looking for the distribution's."
  if ! distribution_criu; then
    apt_install criu || true
    distribution_criu ||
      die "there is no CRIU 4.1 or later here. On Ubuntu without one: add-apt-repository ppa:criu/ppa, then run this again."
  fi
}

distribution_criu() {
  criu=$(command -v criu) && at_least "$("$criu" --version | sed -n 's/^Version: //p')" 4.1
}

# What of the sources makes the bundle: without sources (in a packaged extension) it is there already.
bundle() {
  if [ ! -f "$here/helper/cli/main.ts" ]; then bundled=$here/dist; return; fi
  bundled=$here/build/install
  local sources
  sources=$(cd "$here" && find helper scripts/build.ts package.json package-lock.json -type f -print0 | sort -z |
    xargs -0 sha256sum | sha256sum | cut -c1-16)
  [ "$(cat "$bundled/SOURCES" 2>/dev/null)" = "$sources" ] && return
  todo "bundling the helper" || return 0
  as_owner "$here/scripts/npm-packages.sh"
  as_owner rm -rf "$bundled"
  (cd "$here" && as_owner node_modules/.bin/tsx scripts/build.ts --out "$bundled" --no-maps)
  as_owner sh -c 'echo "$1" >"$2"' - "$sources" "$bundled/SOURCES"
}

# The system's Node runs the helper where only root can have changed it; else a copy of the one at hand does.
choose_node() {
  own_node='' run_node=/usr/bin/node
  if [ -x $run_node ] && [ "$(stat -Lc %u $run_node)" = 0 ] && at_least "$($run_node -p process.versions.node)" $minimum; then
    return
  fi
  if ldd "$node" 2>/dev/null | awk '$3 ~ /^\// { print $3 }' | xargs -r readlink -f | grep -qvE '^/(usr/)?lib'; then
    die "$node needs libraries from outside of /lib and /usr/lib, so no copy of it can run as root. Install the distribution's nodejs ($minimum or later)."
  fi
  own_node=$node run_node=$opt/$version/node
}

stamp() {
  { cat "$bundled/teleport-env.js" "$here/build/init/teleport-init" "$0"
    find "$bundled/node_modules" -name '*.node' -exec cat {} +
    cat "$criu/KEY" 2>/dev/null || echo "$criu"
    [ -z "$own_node" ] || "$own_node" --version
  } 2>/dev/null | sha256sum | cut -c1-12
}

install_helper() {
  local target current
  target=$version-$(stamp)
  current=$(readlink "$opt/$version" 2>/dev/null || true)
  [ "$current" = "$target" ] && [ -f "$opt/$target/complete" ] && return
  todo "copying the helper to $opt/$version${own_node:+, with a Node of its own}, owned by root" || return 0
  # Everything in one go with root's rights. The new folder is complete before anything points to it, and what points
  # to it changes in one step.
  as_root bash -euo pipefail -s -- "$opt" "$version" "$target" "$here" "$bundled" "$criu" "$own_node" "$run_node" <<'ROOT'
opt=$1 version=$2 target=$3 here=$4 bundled=$5 criu=$6 own_node=$7 run_node=$8
umask 022
mkdir -p "$opt"
chown 0:0 "$opt"; chmod 755 "$opt"
exec 9>"$opt/.lock"
flock 9
stage=$(mktemp -d "$opt/.stage.XXXXXX")
trap 'rm -rf "$stage"' EXIT
cp "$bundled/teleport-env.js" "$bundled"/helper-*.js "$bundled/package.json" "$stage"
cp "$here"/LICENSE* "$stage/LICENSE" # the packaged extension has it as LICENSE.txt
cp -r "$bundled/node_modules" "$stage"
cp "$here/build/init/teleport-init" "$stage"
if [ -d "$criu" ]; then cp -rL "$criu" "$stage/criu"; else ln -s "$criu" "$stage/criu"; fi
[ -z "$own_node" ] || cp "$own_node" "$stage/node"
printf '#!/bin/sh\nexec %s %s/%s/teleport-env.js "$@"\n' "$run_node" "$opt" "$version" >"$stage/teleport-env"
chown -R 0:0 "$stage"
chmod -R u=rwX,go=rX "$stage"
chmod 755 "$stage/teleport-env" "$stage/teleport-env.js" "$stage/teleport-init"
touch "$stage/complete"
rm -rf "${opt:?}/$target"
mv "$stage" "$opt/$target"
# A folder instead of the link: left by somebody's hand.
if [ -d "$opt/$version" ] && [ ! -L "$opt/$version" ]; then rm -rf "${opt:?}/$version"; fi
ln -sfn "$target" "$opt/.link" && mv -fT "$opt/.link" "$opt/$version"
ROOT
}

admit() {
  [ "$caller" != 0 ] || return 0
  grep -qx "$caller" $admitted 2>/dev/null && return
  todo "admitting user $caller in $admitted" || return 0
  as_root sh -c 'umask 022; mkdir -p "$(dirname "$1")"; echo "$2" >>"$1"; chown 0:0 "$1"; chmod 644 "$1"' - $admitted "$caller"
}

unit_text() {
  cat <<UNIT
[Unit]
Description=Teleport Env helper: takes sandboxes back, files and live processes
After=local-fs.target

[Service]
ExecStart=$run_node --max-semi-space-size=1 --always-sparkplug --no-flush-bytecode $opt/$version/teleport-env.js serve
Restart=on-failure
# Its end is not the end of the sandboxes, which live in control groups of their own.
KillMode=process
Delegate=yes
LimitNOFILE=1048576
TasksMax=infinity

[Install]
WantedBy=multi-user.target
UNIT
}

has_systemd() { [ -d /run/systemd/system ]; }

install_unit() {
  has_systemd || return 0
  [ "$(cat $unit 2>/dev/null)" = "$(unit_text)" ] && return
  todo "installing $unit" || return 0
  unit_text | as_root sh -c 'umask 022; cat >"$1.new"; mv "$1.new" "$1"' - $unit
  as_root systemctl daemon-reload
  as_root systemctl enable --quiet teleport-env.service
}

install_link() {
  [ "$(readlink $link 2>/dev/null)" = "$opt/$version/teleport-env" ] && return
  if [ -e $link ] && [ ! -L $link ]; then say "$link is something else, and left alone."; return; fi
  todo "linking $link" || return 0
  as_root ln -sfn "$opt/$version/teleport-env" $link
}

# shell = where it looks for completion
completions=(
  "bash=/usr/local/share/bash-completion/completions/teleport-env"
  "zsh=/usr/local/share/zsh/site-functions/_teleport-env"
  "fish=/usr/local/share/fish/vendor_completions.d/teleport-env.fish"
)

install_completions() {
  local entry shell file script
  for entry in "${completions[@]}"; do
    shell=${entry%%=*} file=${entry#*=}
    [ -e "$file" ] && [ "$(readlink "$opt/$version" 2>/dev/null)" = "$before" ] && continue
    script=$("$node" "$opt/$version/teleport-env.js" completion "$shell" 2>/dev/null || true)
    [ -n "$script" ] && [ "$(cat "$file" 2>/dev/null)" != "$script" ] || continue
    todo "installing completion for $shell" || continue
    as_root sh -c 'umask 022; mkdir -p "$(dirname "$1")"; cat >"$1"' - "$file" <<<"$script"
  done
}

# Process ids of what was installed and runs (what is of a checkout runs from elsewhere): all, or of that command.
running() { # [command]
  local file words
  for file in /proc/[0-9]*/cmdline; do
    mapfile -d '' -t words 2>/dev/null <"$file" || continue
    while [[ ${words[1]:-} == --* ]]; do words=("${words[0]}" "${words[@]:2}"); done # node's own
    [[ ${words[1]:-} == "$opt"/*/teleport-env.js ]] || continue
    [[ -z ${1:-} || ${words[2]:-} == "$1" ]] || continue
    # A container's own helper is seen from its host, under a second process id. It is not ours to restart.
    [[ $(sed -n 's/^NSpid:[[:space:]]*//p' "${file%cmdline}status" 2>/dev/null) =~ ^[0-9]+$ ]] && basename "${file%/cmdline}"
  done
  return 0
}

# When it started, in seconds since 1970.
started() {
  local stat since_boot
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return
  read -r -a since_boot <<<"${stat##*) }"
  echo $(($(sed -n 's/^btime //p' /proc/stat) + since_boot[19] / $(getconf CLK_TCK)))
}

# Those of them that started before what is installed now.
outdated() { # [command]
  local pid since
  for pid in $(running "$@"); do
    since=$(started "$pid")
    [ -n "$since" ] && [ "$since" -lt "$(stat -c %Y "$opt/$version/complete" 2>/dev/null || echo 0)" ] && echo "$pid"
  done
  return 0
}

# One that is outdated is replaced: the new one takes its sandboxes over, alive.
run_helper() {
  local older
  mapfile -t older < <(outdated serve)
  if [ ${#older[@]} -gt 0 ]; then
    todo "restarting the helper, of an older build; sandboxes go on" || return 0
    if has_systemd && systemctl -q is-active teleport-env.service; then as_root systemctl restart teleport-env.service
    else
      as_root sh -c 'kill "$@"' - "${older[@]}"
      for _ in $(seq 100); do [ -d "/proc/${older[0]}" ] || break; sleep 0.1; done
      as_root "$opt/$version/teleport-env" serve --detach
    fi
  elif has_systemd; then
    systemctl -q is-active teleport-env.service && return
    todo "starting teleport-env.service" || return 0
    as_root systemctl start teleport-env.service
  elif [ "$caller" != 0 ] && [ -z "$(running serve)" ]; then
    # Root's clients start one themselves; yours would have to ask for a password each time.
    todo "starting the helper" || return 0
    as_root "$opt/$version/teleport-env" serve --detach || say "it does not start here; teleport-env doctor says why."
  fi
}

# Builds that nothing points to, and what an interrupted set-up left. What runs still loads parts of the build that it is of:
# then they go with the next set-up.
remove_older() {
  local dir old=()
  [ -z "$(outdated)" ] || return 0
  for dir in "$opt/$version-"* "$opt"/.stage.*; do
    [ -d "$dir" ] && [ "$(basename "$dir")" != "$(readlink "$opt/$version")" ] && old+=("$dir")
  done
  [ ${#old[@]} -eq 0 ] || as_root rm -rf "${old[@]}"
}

# A machine that is set up is not always one that runs it (an image being built, a container): tell, do not fail.
tell_criu() {
  local said
  [ -d "$criu" ] && criu=$criu/criu
  said=$(as_root "$criu" check 2>&1) || say "CRIU would not work on this kernel: $(grep -m1 Error <<<"$said" || echo "$said")"
}

case $(uname -s)-$(uname -m) in
  Linux-x86_64 | Linux-aarch64) ;;
  *) die "sandboxes run on Linux (x86_64, aarch64), not on $(uname -s) $(uname -m)." ;;
esac
find_node
version=$("$node" -p "require('$here/package.json').version")
install_packages
provide_criu
[ -n "$check" ] && [ ! -x "$here/build/init/teleport-init" ] && { todo "building teleport-init, PID 1 of every sandbox" || true; }
[ -n "$check" ] || as_owner "$here/scripts/build-init.sh"
bundle
choose_node
before=$(readlink "$opt/$version" 2>/dev/null || true)
install_helper
install_link
install_completions
admit
install_unit
run_helper
if [ -n "$check" ]; then
  [ $pending = 1 ] || say "nothing to do."
  exit $pending
fi
remove_older
if [ "$(readlink "$opt/$version")" != "$before" ]; then
  tell_criu
  say "done. teleport-env doctor tells what this machine has and lacks."
fi
