#!/usr/bin/env bash
# Programs that tests run and a minimal machine lacks: the shells that completion is tested in (bash is everywhere), a client
# of HTTP, full-screen programs, what makes networks beside a sandbox's, and who asks to be root in one. And a CRIU without our
# patches, which a sandbox must do with as well.
set -euo pipefail

"$(dirname "$0")/build-criu.sh" --stock

missing=()
for pair in zsh:zsh fish:fish curl:curl vim:vim less:less ip:iproute2 sudo:sudo; do
  PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
done
[ ${#missing[@]} -gt 0 ] || exit 0
printf 'setup: installing %s, which tests run\n' "${missing[*]}"
command -v apt-get >/dev/null || { printf 'setup: there is no apt-get here: install %s yourself\n' "${missing[*]}" >&2; exit 2; }
sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo)
apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600)
"${apt[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null ||
  { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null; }
