#!/usr/bin/env bash
# Builds a static criu with our patches (scripts/criu/) from the source archive that Debian and Ubuntu mirrors carry.
#
#   scripts/build-criu.sh [--out DIR] [--stock] [--arch aarch64] [--source FILE] [--mirror URI]... [--trust-mirror] [--no-install]
#
#   --out DIR       where to put criu, LICENSE, SOURCE and patches/ (default: build/criu in this repository,
#                   for another processor build/criu-ARCH)
#   --stock         as it is published, but for the patch that links it statically (default DIR: build/criu-stock)
#   --arch ARCH     for this processor: aarch64 is cross-built elsewhere (on Debian, whose mirrors carry its libraries).
#                   What comes out was compiled, never tried.
#   --source FILE   use this archive instead of fetching one; its checksum must still be known
#   --mirror URI    also look on this Debian or Ubuntu mirror; the ones that apt uses are tried first
#   --trust-mirror  accept a version whose checksum we have not recorded
#   --no-install    install nothing; say what is missing and stop
#
# Needs about half a minute, once: the result is kept in DIR and, when run with root's rights, in a cache that other
# checkouts share. Runs as root, or as somebody who may use sudo (only to install packages and to fill the cache).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
patches=("$here"/criu/*.patch)
shared=/var/cache/teleport-env

# Versions that we know, best first, with the SHA-256 of criu_VERSION.orig.tar.xz ("-": none recorded).
# 4.2.1 is Debian sid's; 4.2, in Ubuntu 26.04, is the oldest that can dump MADV_GUARD pages.
versions=("4.2.1 29ec0ee09e296479fe7048c80980e8ef1d0684d0b0204c2b101dfea19f6725b9" "4.2 -")

# RUNDIR holds criu's cache of kernel features. Its own directory, because two builds of criu that share one
# invalidate each other's cache (8-15 ms per call). Kept only where that directory is on a tmpfs.
flags=(STATIC=1 WERROR=0 RUNDIR=/run/teleport-env)

# package = why it is wanted
needs=(
  "gcc=compiles it" "make=runs its build" "libc6-dev=C library, static" "binutils=strips the result"
  "patch=applies our patches" "xz-utils=unpacks the source" "pkgconf=finds libraries"
  "libprotobuf-dev=definitions that its image format includes" "protobuf-compiler=compiles that format"
  "protobuf-c-compiler=compiles it to C" "libprotobuf-c-dev=reads and writes images"
  "libnl-3-dev=asks the kernel about sockets" "libnet1-dev=restores half-closed TCP connections"
  "libcap-dev=capabilities" "uuid-dev=names a dump" "libbsd-dev=names its processes"
)

say() { printf 'build-criu: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

out='' stock='' arch=$(uname -m) source='' trust='' install=yes mirrors=()
while [ $# -gt 0 ]; do
  case $1 in
    --out | --arch | --source | --mirror) [ $# -ge 2 ] || die "$1 wants a value." ;;&
    --out) out=$2; shift 2 ;;
    --stock) stock=-stock; patches=("$here"/criu/*-static.patch); shift ;;
    --arch) arch=$2; shift 2 ;;
    --source) source=$2; shift 2 ;;
    --mirror) mirrors+=("$2"); shift 2 ;;
    --trust-mirror) trust=yes; shift ;;
    --no-install) install=''; shift ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    *) die "unknown argument '$1'. See --help." ;;
  esac
done

cross=''
[ "$arch" = "$(uname -m)" ] || cross=$arch-linux-gnu-
[ -n "$out" ] || out=$here/../build/criu$stock${cross:+-$arch}
if [ -n "$cross" ]; then
  [ "$arch" = aarch64 ] || die "only aarch64 is built for another machine than this one ($(uname -m))."
  needs+=("gcc-aarch64-linux-gnu=compiles for aarch64" "libc6-dev-arm64-cross=its C library, static")
fi

# With root's rights, or not at all.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else return 126; fi
}

# What makes a build what it is: source, patches, flags, machine.
key_of() { # version sha256
  { printf '%s\n' "$1" "$2" "${flags[@]}" "$arch"; cat "${patches[@]}"; } | sha256sum | cut -c1-16
}

# Copies a finished build into --out, so that a reader of --out sees the old one or the new one.
deliver() { # directory
  local beside
  beside=$(mktemp -d "$out.XXXXXX")
  cp -r "$1/." "$beside"
  chmod 755 "$beside"
  rm -rf "$out"
  mv "$beside" "$out"
}

if [ -d "$out" ] && [ ! -e "$out/KEY" ] && [ -n "$(ls -A "$out")" ]; then
  die "$out holds something else than a build of this script, and would be replaced. Name another directory with --out."
fi
mkdir -p "$(dirname "$out")"
out=$(cd "$(dirname "$out")" && pwd)/$(basename "$out")

for entry in "${versions[@]}"; do
  read -r version sha <<<"$entry"
  key=$(key_of "$version" "$sha")
  if [ "$(cat "$out/KEY" 2>/dev/null)" = "$key" ]; then exit 0; fi
  # A package brings one for each processor.
  if [ "$(cat "$out-$arch/KEY" 2>/dev/null)" = "$key" ]; then
    deliver "$out-$arch"
    exit 0
  fi
  if [ -x "$shared/criu-$key/criu" ] && [ "$(stat -c %u "$shared/criu-$key/criu")" = 0 ]; then
    deliver "$shared/criu-$key"
    say "took criu $version from $shared/criu-$key."
    exit 0
  fi
done

command -v apt-get >/dev/null ||
  die "there is no apt-get here, and this script takes source and libraries from Debian or Ubuntu." \
    "Build criu $version by hand with 'make criu ${flags[*]}' and the patches in scripts/criu."

missing=() reasons=()
for need in "${needs[@]}"; do
  package=${need%%=*}
  if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
    missing+=("$package") reasons+=("$package (${need#*=})")
  fi
done
if [ ${#missing[@]} -gt 0 ]; then
  printf -v list '%s, ' "${reasons[@]}"
  [ -n "$install" ] || die "cannot build criu without ${list%, }. Install them with: apt-get install ${missing[*]}"
  say "installing what building criu needs: ${list%, }."
  install_missing() {
    said=$(as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" 2>&1)
  }
  install_missing || { said=$(as_root apt-get update -qq 2>&1) && install_missing; } || {
    printf '%s\n' "$said" >&2
    die "could not install them (root or sudo is needed, and apt's own message stands above)."
  }
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# apt-helper: there wherever apt is, uses apt's proxy settings, and checks the sum.
fetch() { # uri file sha256
  local sum=()
  [ "$3" = - ] || sum=("SHA256:$3")
  /usr/lib/apt/apt-helper download-file "$1" "$2" "${sum[@]}" >"$work/fetch.log" 2>&1
}

find_source() {
  local entry pool uri
  if [ -n "$source" ]; then
    local sum
    sum=$(sha256sum "$source" | cut -d' ' -f1)
    for entry in "${versions[@]}"; do
      read -r version sha <<<"$entry"
      if [ "$sum" = "$sha" ]; then cp "$source" "$work/criu.tar.xz"; from=$source; return 0; fi
    done
    die "$source has the checksum $sum, which belongs to no criu that this script knows."
  fi
  mapfile -t known < <(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | sort -u)
  for entry in "${versions[@]}"; do
    read -r version sha <<<"$entry"
    if [ "$sha" = - ] && [ -z "$trust" ]; then continue; fi
    for uri in "${known[@]}" "${mirrors[@]}"; do
      for pool in main universe; do
        from=${uri%/}/pool/$pool/c/criu/criu_$version.orig.tar.xz
        if fetch "$from" "$work/criu.tar.xz" "$sha"; then return 0; fi
      done
    done
  done
  die "no mirror that apt uses here has a criu source archive with a known checksum (tried: ${known[*]} ${mirrors[*]})." \
    "Name a Debian mirror with --mirror, or an archive with --source, or accept an unrecorded version with --trust-mirror."
}
find_source
key=$(key_of "$version" "$sha")
say "building criu $version from $from"

# Compiles in a directory outside of any git repository: criu's build asks git for its version.
src=$work/src
mkdir "$src"
tar -xf "$work/criu.tar.xz" -C "$src" --strip-components=1
names=()
for file in "${patches[@]}"; do
  patch -d "$src" -p1 --forward --silent <"$file" || die "$(basename "$file") does not apply to criu $version."
  name=$(basename "$file" .patch)
  names+=("${name#*-}")
done

# Another processor's libraries, unpacked beside the source: nothing of them is installed here. apt works in a folder of
# its own with the same sources, so the machine's package lists stay as they are. Only the static ones are kept: shared
# ones would be linked first, and are links to where they would be installed.
unpack_libraries() { # directory
  local debs=$work/debs conf=$work/apt.conf deb
  mkdir -p "$debs/partial" "$work/apt/lists/partial" "$1"
  : >"$work/apt/status"
  cat >"$conf" <<EOF
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
Dir::State "$work/apt";
Dir::State::status "$work/apt/status";
Dir::Cache "$work/apt";
EOF
  APT_CONFIG=$conf apt-get -qq update >&2 || die "the package lists for aarch64 could not be read from apt's sources."
  (cd "$debs" && APT_CONFIG=$conf apt-get -qq download libprotobuf-c-dev libnl-3-dev libnet1-dev libcap-dev uuid-dev \
    libbsd-dev libmd-dev >&2) || die "apt's sources have no libraries for aarch64 (Ubuntu's are on another mirror)."
  for deb in "$debs"/*.deb; do dpkg-deb -x "$deb" "$1"; done
  if [ -d "$1/lib" ]; then cp -a "$1/lib/." "$1/usr/lib/"; fi
  find "$1" -name '*.so*' -delete
}

build=("${flags[@]}")
if [ -n "$cross" ]; then
  sysroot=$work/sysroot libraries=$work/sysroot/usr/lib/$arch-linux-gnu
  unpack_libraries "$sysroot"
  # criu's build passes no path of libraries to all of its probes; its compiler can.
  mkdir "$work/bin"
  cat >"$work/bin/${cross}gcc" <<EOF
#!/bin/sh
exec $(command -v "${cross}gcc") "\$@" -I$sysroot/usr/include -I$sysroot/usr/include/libnl3 -L$libraries
EOF
  chmod 755 "$work/bin/${cross}gcc"
  export PATH=$work/bin:$PATH PKG_CONFIG_LIBDIR=$libraries/pkgconfig PKG_CONFIG_SYSROOT_DIR=$sysroot
  build+=(ARCH="$arch" CROSS_COMPILE="$cross" GOOGLE_INCLUDE=/usr/include/google/protobuf)
fi

# The git id, which `criu --version` and its RPC report, names our build and its patches, so that a reader can tell what
# this criu can do. SOURCE_DATE_EPOCH is what criu stamps its feature cache with: derived from the key, so that another
# build does not take over a cache that may have another shape.
id="teleport-env/$key/$(IFS=,; echo "${names[*]}")"
if ! SOURCE_DATE_EPOCH=$((16#${key:0:7})) make -C "$src" -j"$(nproc)" criu "${build[@]}" GITID="$id" >"$work/build.log" 2>&1
then
  tail -n 30 "$work/build.log" >&2
  die "criu $version did not compile; the end of its output stands above."
fi

result=$work/result
mkdir -p "$result/patches"
"${cross}strip" -o "$result/criu" "$src/criu/criu"
if readelf -l "$result/criu" | grep -q INTERP; then die "the build is not static. Please report this with your distribution's name."; fi
[ -n "$cross" ] || "$result/criu" --version >/dev/null || die "the criu that was built does not start."
cp "$src/COPYING" "$result/LICENSE"
cp "${patches[@]}" "$result/patches/"
cat >"$result/SOURCE" <<EOF
criu is free software under the GNU General Public License, version 2 only (file LICENSE).

This binary: criu $version, $arch, static, with the changes in patches/ (key $key).
Source:      criu_$version.orig.tar.xz, SHA-256 $(sha256sum "$work/criu.tar.xz" | cut -d' ' -f1)
             $from
Built with:  make criu ${flags[*]}
             by scripts/build-criu.sh${cross:+ --arch $arch}, which fetches, patches and builds it again.
${cross:+Untried:     compiled on another processor, run in an emulated one at most. Please report how it does.
}Linked in:   glibc $(dpkg-query -W -f '${Version}' libc6-dev), libnl $(dpkg-query -W -f '${Version}' libnl-3-dev) (LGPL 2.1), libnet $(dpkg-query -W -f '${Version}' libnet1-dev), libcap $(dpkg-query -W -f '${Version}' libcap-dev),
             libuuid $(dpkg-query -W -f '${Version}' uuid-dev), libbsd $(dpkg-query -W -f '${Version}' libbsd-dev), protobuf-c $(dpkg-query -W -f '${Version}' libprotobuf-c-dev), from the distribution.
EOF
echo "$key" >"$result/KEY"
deliver "$result"

if as_root sh -c "mkdir -p '$shared' && rm -rf '$shared/criu-$key' && cp -r '$result' '$shared/criu-$key' && chown -R 0:0 '$shared/criu-$key'" 2>/dev/null
then :; else say "could not fill the shared cache $shared (no root rights); this checkout has its own copy."; fi

if [ -n "$cross" ]; then say "criu $version for $arch is in $out; it cannot be tried here."; exit 0; fi

# A machine that builds is not always one that runs it (a container, say): tell, do not fail.
if check=$(as_root "$out/criu" check 2>&1); then
  say "criu $version is in $out; this kernel has what it needs."
else
  say "criu $version is in $out, but it would not work here: $(grep -m1 Error <<<"$check" || echo "$check")"
fi
