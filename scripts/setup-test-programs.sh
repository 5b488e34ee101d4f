#!/usr/bin/env bash
# Programs that tests run and a minimal machine lacks: the shells that completion is tested in (bash is everywhere), a client
# of HTTP, and full-screen programs.
set -euo pipefail

missing=()
for program in zsh fish curl vim less; do command -v "$program" >/dev/null || missing+=("$program"); done
[ ${#missing[@]} -gt 0 ] || exit 0
printf 'setup: installing %s, which tests run\n' "${missing[*]}"
command -v apt-get >/dev/null || { printf 'setup: there is no apt-get here: install %s yourself\n' "${missing[*]}" >&2; exit 2; }
sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo)
apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600)
"${apt[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null ||
  { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null; }
