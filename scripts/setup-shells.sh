#!/usr/bin/env bash
# The shells that completion is tested in. bash is everywhere; zsh and fish come from the distribution.
set -euo pipefail

missing=()
for shell in zsh fish; do command -v "$shell" >/dev/null || missing+=("$shell"); done
[ ${#missing[@]} -gt 0 ] || exit 0
printf 'setup: installing %s, which completion is tested in\n' "${missing[*]}"
command -v apt-get >/dev/null || { printf 'setup: there is no apt-get here: install %s yourself\n' "${missing[*]}" >&2; exit 2; }
sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo)
apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600)
"${apt[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null ||
  { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null; }
