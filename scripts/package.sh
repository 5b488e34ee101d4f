#!/usr/bin/env bash
# Makes build/teleport-env.vsix: extension, helper, and init and CRIU for x64 and arm64. The ones for the other processor
# are cross-built (see build-criu.sh), or left out with --native-only. Says what is in it; refuses more than 8 MB.
#
#   npm run package [-- --native-only]
set -euo pipefail
cd "$(dirname "$0")/.."
native_only=''
for word; do
  case $word in
    --native-only) native_only=yes ;;
    *) echo "package: unknown option $word" >&2; exit 1 ;;
  esac
done
vsix=build/teleport-env.vsix
most=$((8 * 1024 * 1024))

scripts/build-init.sh
scripts/build-criu.sh
if [ "$native_only" = '' ] && [ "$(uname -m)" = x86_64 ]; then
  scripts/build-init.sh --arch aarch64
  scripts/build-criu.sh --arch aarch64
  # Emulated, they can at least be started. More of CRIU can't be tried without such a machine.
  if ! command -v qemu-aarch64-static >/dev/null; then
    sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y -qq --no-install-recommends qemu-user-static >/dev/null
  fi
  said=$(qemu-aarch64-static build/init/teleport-init-aarch64 2>&1 || true) # without a verb it fails, and says so
  [[ $said == 'teleport-init: no verb'* ]] || { echo "package: teleport-init-aarch64 does not start: $said" >&2; exit 1; }
  said=$(qemu-aarch64-static build/criu-aarch64/criu --version 2>&1 || true)
  [[ $said == 'Version: '* ]] || { echo "package: criu for aarch64 does not start: $said" >&2; exit 1; }
  # npm installs only this processor's. The same version, checked against the lock file's sum.
  koffi=@koromix/koffi-linux-arm64
  if [ ! -e node_modules/$koffi/package.json ]; then
    read -r version sum < <(node -p "const { version, integrity } = require('./package-lock.json').packages['node_modules/$koffi']; version + ' ' + integrity")
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    file=$work/$(npm pack --silent --pack-destination "$work" "$koffi@$version")
    [ "sha512-$(openssl dgst -sha512 -binary "$file" | base64 -w0)" = "$sum" ] ||
      { echo "package: $koffi@$version is not what package-lock.json names" >&2; exit 1; }
    mkdir -p node_modules/$koffi
    tar -xzf "$file" -C node_modules/$koffi --strip-components=1
  fi
fi

rm -rf dist "$vsix"
node_modules/.bin/tsx scripts/build.ts --minify --no-maps
# vsce's own list of the content is part of what it prints.
node_modules/.bin/vsce package --no-dependencies --allow-missing-repository --no-rewrite-relative-links --out "$vsix"
size=$(stat -c %s "$vsix")
[ "$size" -le $most ] || { echo "package: $vsix has $size bytes, more than the $most that it may have" >&2; exit 1; }
echo "package: $vsix, $size bytes"
