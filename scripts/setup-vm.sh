#!/bin/sh
# Builds the guest of the tests in a real virtual machine: a Debian 12 disk with its own kernel, systemd and the real
# cloud-init, booted by QEMU (installed by apt where it is missing). Run it again at any time: it does nothing when all
# is there. The result is build/vm, a link into a cache that other clones of the repository reuse; the cache's key is
# the content of this script and the version of Node, so a changed recipe makes a new disk.
#
#   TELEPORT_ENV_VM_ARCH=arm64
#                            a guest for the other processor, in build/vm-arm64. Its packages are configured by
#                            emulation: quarter of an hour.
#   TELEPORT_ENV_VM_SUITE=trixie
#                            a guest of another release, in build/vm-trixie, which gets Node from its own packages. With
#                            it comes that release's QEMU, since kernels from 6.12 on crash in that of Debian 12.
#   TELEPORT_ENV_CACHE=DIR   where the cache lives (default: /var/cache/teleport-env, or ~/.cache/teleport-env for
#                            users who may not write there). About 1.5 GB and three minutes on two cores.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
arch=${TELEPORT_ENV_VM_ARCH:-amd64}
SUITE=${TELEPORT_ENV_VM_SUITE:-bookworm}
case $arch-$SUITE in
  amd64-bookworm) link=$root/build/vm ;;
  arm64-bookworm) link=$root/build/vm-arm64 ;;
  amd64-*) link=$root/build/vm-$SUITE ;;
  *) echo "vm: no $SUITE guest for $arch" >&2; exit 1 ;;
esac
case $arch in
  amd64) system=x86_64 qemu_package=qemu-system-x86 ;;
  arm64) system=aarch64 qemu_package=qemu-system-arm ;;
esac
# What an Ubuntu image has that Multipass would boot, and what provisioning would spend minutes of emulated CPU on. Curl is
# not among it, so that something is installed, but its library is. The lists of packages stay, as apt has digested them:
# reading new ones takes a minute there.
PACKAGES=systemd,systemd-sysv,dbus,udev,kmod,iproute2,procps,openssh-server,sudo,ca-certificates,cloud-init,python3
PACKAGES=$PACKAGES,linux-image-cloud-$arch,zstd,e2fsprogs,xfsprogs,git,build-essential,locales-all,nftables
case $SUITE in
  bookworm) PACKAGES=$PACKAGES,libcurl4 ;;
  *) PACKAGES=$PACKAGES,libcurl4t64 ;;
esac

# A copy of sid is old soon, and a guest's clock may be ahead of it.
APT_DATES='Acquire::Check-Valid-Until "false"'

say() { printf 'vm: %s\n' "$*"; }
die() { printf 'vm: %s\n' "$*" >&2; exit 1; }

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || die "this guest is for Linux on x86_64, not $(uname -s) on $(uname -m)"
[ "$(id -u)" = 0 ] || die 'building the guest takes root: mmdebstrap unpacks packages as their owners'
node=$(command -v node) || die 'node is missing: install Node 20 or later first'
key=vm-$({ cat "$0"; node --version; echo "$arch $SUITE"; } | sha256sum | cut -c1-16)

# The first of these that has it, else the first that can be made.
find_cache() {
  set -- "${TELEPORT_ENV_CACHE:-/var/cache/teleport-env}" "${XDG_CACHE_HOME:-$HOME/.cache}/teleport-env"
  for dir; do [ -f "$dir/$key/complete" ] && { echo "$dir"; return; }; done
  for dir; do mkdir -p "$dir" 2>/dev/null && [ -w "$dir" ] && { echo "$dir"; return; }; done
  die "no folder to build in: can't write to $1 or $2"
}

install_programs() {
  missing=
  [ "$arch" = amd64 ] || set -- qemu-aarch64-static:qemu-user-static arch-test:arch-test
  for pair in "qemu-system-$system:$qemu_package" qemu-img:qemu-utils mmdebstrap:mmdebstrap mke2fs:e2fsprogs \
    genisoimage:genisoimage ssh:openssh-client "$@"; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair#*:}"
  done
  [ -n "$missing" ] || return 0
  command -v apt-get >/dev/null || die "install these first:$missing"
  say "installing with apt:$missing"
  # The lock may be held by another installation for a while.
  set -- apt-get -o DPkg::Lock::Timeout=600 -qq
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086
  if ! "$@" install -y --no-install-recommends $missing >/dev/null; then
    say 'trying again with fresh package lists'
    # shellcheck disable=SC2086
    "$@" update && "$@" install -y --no-install-recommends $missing >/dev/null || die "apt could not install$missing"
  fi
}

# Lets the kernel run programs of the other processor while the guest is made, and takes that back.
emulate() {
  binfmt=/proc/sys/fs/binfmt_misc
  [ -e $binfmt/register ] || mount -t binfmt_misc none $binfmt || die "cannot mount $binfmt"
  [ ! -e $binfmt/qemu-aarch64 ] || return 0
  trap 'echo -1 >/proc/sys/fs/binfmt_misc/qemu-aarch64' EXIT
  magic='\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
  mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
  # F: the interpreter is opened now, since the guest's folder does not have it.
  echo ":qemu-aarch64:M::$magic:$mask:$(command -v qemu-aarch64-static):F" >$binfmt/register
}

# Node for the guest: this machine's own, or the other processor's by npm, which checks its sum.
node_for_guest() {
  [ "$arch" != amd64 ] || { echo "$node"; return; }
  (cd "$part" && tar -xzf "$(npm pack --silent "node-linux-$arch@$(node --version | cut -d. -f1 | tr -d v)" | tail -n 1)")
  echo "$part/package/bin/node"
}

sources() { "$root/scripts/debian-mirrors.sh" "$SUITE"; }

# Beside the guest, as a folder of its own that runs by its own loader, whatever this machine's C library is.
qemu_of_suite() {
  say "unpacking $SUITE's QEMU"
  sources | nice mmdebstrap --variant=extract --mode=root --aptopt="$APT_DATES" --include="$qemu_package" \
    --dpkgopt='path-exclude=/usr/share/doc/*' "$SUITE" "$part/qemu-root" - >"$part/qemu.log" 2>&1 ||
    { tail -20 "$part/qemu.log" >&2; die "what there is stands in $part"; }
  cat >"$part/qemu" <<'RUN'
#!/bin/sh
of=$(dirname "$0")/qemu-root
libraries=$of/usr/lib/x86_64-linux-gnu
exec "$of/usr/lib64/ld-linux-x86-64.so.2" --library-path "$libraries:$libraries/systemd" "$of/usr/bin/qemu-system-x86_64" \
  -L "$of/usr/share/qemu" -L "$of/usr/share/seabios" "$@"
RUN
  chmod 755 "$part/qemu"
}

build_guest() {
  say "building a $SUITE guest in $cache/$key (about three minutes)"
  part=$cache/$key.part
  rm -rf "$part"
  mkdir -p "$part/overlay/etc/cloud/cloud.cfg.d" "$part/overlay/etc/default" "$part/overlay/usr/bin"
  # Multipass's images: the user is ubuntu, the only source is the seed disk. Fewer modules: each costs emulated seconds.
  cat >"$part/overlay/etc/cloud/cloud.cfg.d/90_teleport-env.cfg" <<'CFG'
datasource_list: [NoCloud]
network: { config: disabled }
system_info:
  default_user: { name: ubuntu, lock_passwd: true, gecos: Ubuntu, shell: /bin/bash, sudo: ["ALL=(ALL) NOPASSWD:ALL"] }
apt: { preserve_sources_list: true }
ssh_genkeytypes: [ed25519]
ssh_quiet_keygen: true
cloud_init_modules: [seed_random, write_files, set_hostname, update_hostname, users_groups, ssh]
cloud_config_modules: [runcmd]
cloud_final_modules: [package_update_upgrade_install, scripts_user, final_message]
CFG
  [ "$arch" = amd64 ] || emulate
  own_node=''
  if [ "$SUITE" = bookworm ]; then
    # Its own is too old.
    cp "$(node_for_guest)" "$part/overlay/usr/bin/node"
    own_node='chown root:root "$1/usr/bin/node"'
  else qemu_of_suite; fi
  mkdir -p "$part/overlay/etc/systemd/network"
  printf '[Match]\nName=e*\n[Network]\nDHCP=yes\n' >"$part/overlay/etc/systemd/network/10-dhcp.network"
  sources | nice mmdebstrap --variant=minbase --mode=root --architectures="$arch" --aptopt="$APT_DATES" --skip=cleanup/apt/lists --skip=cleanup/apt/cache --include="$PACKAGES" \
    --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --customize-hook="cp -r '$part/overlay/.' \"\$1/\"" \
    --customize-hook="${own_node:-true}" \
    --customize-hook='chown -R root:root "$1/etc/cloud"; echo guest >"$1/etc/hostname"' \
    --customize-hook='echo "/dev/vda / ext4 defaults 0 1" >"$1/etc/fstab"; : >"$1/etc/machine-id"' \
    --customize-hook='rm -f "$1/etc/resolv.conf"; echo "nameserver 10.0.2.3" >"$1/etc/resolv.conf"' \
    --customize-hook='rm -f "$1"/etc/ssh/ssh_host_*; chroot "$1" systemctl enable systemd-networkd ssh' \
    --customize-hook='chroot "$1" systemctl disable apt-daily.timer apt-daily-upgrade.timer systemd-networkd-wait-online' \
    --customize-hook='chroot "$1" systemctl mask --quiet e2scrub_reap systemd-binfmt getty@tty1 systemd-pstore' \
    --customize-hook='rm -rf "$1"/var/cache/apt/archives/*.deb; chroot "$1" apt-cache gencaches' \
    "$SUITE" "$part/root" - >"$part/build.log" 2>&1 || { tail -20 "$part/build.log" >&2; die "what there is stands in $part"; }
  cp -L "$part/root/vmlinuz" "$part/kernel"
  cp -L "$part/root/initrd.img" "$part/initrd"
  # A file system without partitions: no boot loader, no loop device.
  PATH=$PATH:/usr/sbin:/sbin mke2fs -q -t ext4 -L root -E lazy_itable_init=1 -d "$part/root" "$part/disk.raw" 12G
  rm -rf "$part/root" "$part/overlay" "$part/package" "$part"/*.tgz
  touch "$part/complete"
  rm -rf "${cache:?}/$key"
  mv "$part" "$cache/$key" # whole or not at all
}

cache=$(find_cache)
install_programs
if [ ! -f "$cache/$key/complete" ]; then
  # Two clones may build at the same time: the second waits, then finds it there.
  exec 9>"$cache/$key.lock"
  flock 9
  [ -f "$cache/$key/complete" ] || build_guest
  exec 9>&-
fi
if [ "$(readlink "$link" 2>/dev/null)" != "$cache/$key" ]; then
  mkdir -p "$root/build"
  rm -rf "$link"
  ln -s "$cache/$key" "$link"
  say "${link#"$root/"} → $cache/$key"
fi
