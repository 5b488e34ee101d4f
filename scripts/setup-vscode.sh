#!/bin/sh
# Installs a real VS Code for the tests: code-server (VS Code's own server and workbench), the Node it wants,
# playwright-core to drive it, and a Chromium from the distribution. Run it again at any time: it does nothing
# when all is there. The result is build/vscode, a link into a cache that other clones of the repository reuse.
#
#   TELEPORT_ENV_CACHE=DIR      where the cache lives (default: /var/cache/teleport-env, or ~/.cache/teleport-env
#                               for users who may not write there)
#   TELEPORT_ENV_CHROMIUM=FILE  a Chromium or Chrome of your own, instead of the distribution's
set -eu

CODE_SERVER=4.139.1 # VS Code 1.139.1
NODE=24.21.0        # code-server's version; the one the repository uses fails on its first page request
PLAYWRIGHT=1.65.1
RECIPE=1 # raise when this script changes what it installs

root=$(cd "$(dirname "$0")/.." && pwd)
link=$root/build/vscode

say() { printf 'vscode: %s\n' "$*"; }
die() { printf 'vscode: %s\n' "$*" >&2; exit 1; }

case $(uname -s)-$(uname -m) in
  Linux-x86_64) arch=x64 ;;
  Linux-aarch64) arch=arm64 ;;
  *) die "the tests in a real VS Code run on Linux (x86_64 or aarch64), not on $(uname -s) $(uname -m)" ;;
esac
key=vscode-$CODE_SERVER-node$NODE-playwright$PLAYWRIGHT-$arch-r$RECIPE

# The first of these that exists, else the first that can be made.
find_cache() {
  set -- "${TELEPORT_ENV_CACHE:-/var/cache/teleport-env}" "${XDG_CACHE_HOME:-$HOME/.cache}/teleport-env"
  for dir; do [ -f "$dir/$key/complete" ] && { echo "$dir"; return; }; done
  for dir; do mkdir -p "$dir" 2>/dev/null && [ -w "$dir" ] && { echo "$dir"; return; }; done
  die "no folder to install into: can't write to $1 or $2"
}

# What a Linux server never loads: it more than halves the size.
drop_unneeded() {
  rm -rf extensions/copilot node_modules/@github/copilot-sdk* node_modules/@microsoft/mxc-sdk \
    node_modules/@vscode/windows-* node_modules/node-pty/third_party
  for dir in node_modules/@vscode/ripgrep-universal/bin/* node_modules/node-pty/prebuilds/*; do
    [ "$(basename "$dir")" = "linux-$arch" ] || rm -rf "$dir"
  done
}

# Two native modules that nothing here compiles.
replace_native_modules() {
  # VS Code writes its logs through this one; without it there is no extension host log to show when a test fails.
  # Ours has the same functions and writes plainly.
  cat >node_modules/@vscode/spdlog/index.js <<'JS'
const fs = require('fs')
const path = require('path')
const NAMES = ['trace', 'debug', 'info', 'warning', 'error', 'critical']
class Logger {
  constructor(file) {
    fs.mkdirSync(path.dirname(file), { recursive: true })
    this.file = file
    this.level = 2
    this.plain = false
  }
  write(level, text) {
    if (level < this.level) return
    const head = this.plain ? '' : `${new Date().toISOString()} [${NAMES[level]}] `
    fs.appendFileSync(this.file, this.plain ? text : `${head}${text}\n`)
  }
  trace(text) { this.write(0, text) }
  debug(text) { this.write(1, text) }
  info(text) { this.write(2, text) }
  warn(text) { this.write(3, text) }
  error(text) { this.write(4, text) }
  critical(text) { this.write(5, text) }
  getLevel() { return this.level }
  setLevel(level) { this.level = level }
  clearFormatters() { this.plain = true }
  setPattern() {}
  flush() {}
  drop() {}
}
const make = async (_name, file) => new Logger(file)
// One assignment each: that is how an ES module import finds the names of a CommonJS module.
exports.version = 0
exports.setLevel = () => {}
exports.setFlushOn = () => {}
exports.shutdown = () => {}
exports.Logger = Logger
exports.createRotatingLogger = make
exports.createAsyncRotatingLogger = make
JS
  # Ends an extension host whose parent is gone; the tests see to that. Without it every host starts with an error.
  echo 'exports.start = () => {}; exports.exit = code => process.exit(code)' >node_modules/@vscode/native-watchdog/index.js
}

install_editor() {
  say "installing code-server $CODE_SERVER, Node $NODE and playwright-core $PLAYWRIGHT from npm (under a minute, 500 MB) into"
  say "  $cache/$key"
  command -v npm >/dev/null || die 'npm is missing: install Node 20 or later first'
  part=$cache/$key.part
  rm -rf "$part"
  mkdir -p "$part"
  export npm_config_loglevel=error npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false
  (
    cd "$part"
    echo '{ "private": true }' >package.json
    # --force: code-server's engines name Node 24, npm itself may run under another one.
    # --ignore-scripts: its install script compiles native modules, all of which come prebuilt or are not needed.
    npm install --ignore-scripts --force \
      "node-linux-$arch@$NODE" "code-server@$CODE_SERVER" "playwright-core@$PLAYWRIGHT"
    ln -s "node_modules/node-linux-$arch/bin/node" node
    PATH=$part/node_modules/node-linux-$arch/bin:$PATH
    cd node_modules/code-server/lib/vscode
    # What the skipped install script would have done.
    npm install --omit=dev --ignore-scripts
    (cd extensions && npm install --omit=dev --ignore-scripts)
    ln -sf code-linux.sh bin/remote-cli/code-server
    ln -sf browser-linux.sh bin/helpers/browser.sh
    drop_unneeded
    replace_native_modules
  ) || die "installing failed; what there is stands in $part"
  touch "$part/complete"
  rm -rf "${cache:?}/$key"
  mv "$part" "$cache/$key" # whole or not at all
}

has_chromium() {
  [ -x "${TELEPORT_ENV_CHROMIUM:-}" ] && return
  for name in chromium chromium-browser google-chrome; do command -v $name >/dev/null && return; done
  return 1
}

install_chromium() {
  command -v apt-get >/dev/null || die 'no Chromium found: install one, or name it in TELEPORT_ENV_CHROMIUM'
  sudo=
  [ "$(id -u)" = 0 ] || sudo=sudo
  say 'installing chromium with apt: the tests show VS Code in it, without a window'
  # The lock may be held by another installation for a while.
  set -- $sudo apt-get -o DPkg::Lock::Timeout=600 -qq
  if ! DEBIAN_FRONTEND=noninteractive "$@" install -y --no-install-recommends chromium >/dev/null; then
    say 'trying again with fresh package lists'
    "$@" update && DEBIAN_FRONTEND=noninteractive "$@" install -y --no-install-recommends chromium >/dev/null ||
      die 'apt could not install chromium'
  fi
}

cache=$(find_cache)
if [ ! -f "$cache/$key/complete" ]; then
  # Two clones may set up at the same time: the second waits, then finds it there.
  exec 9>"$cache/$key.lock"
  flock 9
  [ -f "$cache/$key/complete" ] || install_editor
  exec 9>&-
fi
if [ "$(readlink "$link" 2>/dev/null)" != "$cache/$key" ]; then
  mkdir -p "$root/build"
  rm -rf "$link"
  ln -s "$cache/$key" "$link"
  say "build/vscode → $cache/$key"
fi
has_chromium || install_chromium
