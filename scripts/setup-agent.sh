#!/bin/sh
# Installs a real coding agent for the tests: Qwen Code, one npm package that speaks to any OpenAI-compatible server and
# runs on the repository's Node. Run it again at any time: it does nothing when all is there. The result is build/agent, a
# link into a cache that other clones of the repository reuse.
#
#   TELEPORT_ENV_CACHE=DIR   where the cache lives (default: /var/cache/teleport-env, or ~/.cache/teleport-env for users who
#                            may not write there)
set -eu

QWEN_CODE=0.15.10 # the newest that runs on Node 20

root=$(cd "$(dirname "$0")/.." && pwd)
link=$root/build/agent
key=qwen-code-$QWEN_CODE-r1

say() { printf 'agent: %s\n' "$*"; }
die() { printf 'agent: %s\n' "$*" >&2; exit 1; }

# The first of these that has it, else the first that can be made.
find_cache() {
  set -- "${TELEPORT_ENV_CACHE:-/var/cache/teleport-env}" "${XDG_CACHE_HOME:-$HOME/.cache}/teleport-env"
  for dir; do [ -f "$dir/$key/complete" ] && { echo "$dir"; return; }; done
  for dir; do mkdir -p "$dir" 2>/dev/null && [ -w "$dir" ] && { echo "$dir"; return; }; done
  die "no folder to install into: can't write to $1 or $2"
}

install() {
  say "installing Qwen Code $QWEN_CODE from npm (some seconds, 53 MB) into $cache/$key"
  command -v npm >/dev/null || die 'npm is missing: install Node 20 or later first'
  part=$cache/$key.part
  rm -rf "$part"
  mkdir -p "$part"
  echo '{ "private": true }' >"$part/package.json"
  # Its optional packages are native modules for sound, the clipboard and pictures.
  (cd "$part" && npm install --ignore-scripts --omit=optional --no-audit --no-fund --loglevel=error \
    "@qwen-code/qwen-code@$QWEN_CODE") || die "installing failed; what there is stands in $part"
  touch "$part/complete"
  rm -rf "${cache:?}/$key"
  mv "$part" "$cache/$key" # whole or not at all
}

cache=$(find_cache)
if [ ! -f "$cache/$key/complete" ]; then
  # Two clones may set up at the same time: the second waits, then finds it there.
  exec 9>"$cache/$key.lock"
  flock 9
  [ -f "$cache/$key/complete" ] || install
  exec 9>&-
fi
if [ "$(readlink "$link" 2>/dev/null)" != "$cache/$key" ]; then
  mkdir -p "$root/build"
  rm -rf "$link"
  ln -s "$cache/$key" "$link"
  say "build/agent → $cache/$key"
fi
