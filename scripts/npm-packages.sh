#!/bin/sh
# Installs the npm packages of package-lock.json where some are missing or of another version; else does nothing, fast.
# Called by whatever needs them, so that each command works in a fresh clone. No package's install script is run: none
# is needed, and this may be root.
set -eu
cd "$(dirname "$0")/.."

all_there() {
  [ -f node_modules/.package-lock.json ] && node -e '
    const packages = (file) => JSON.parse(require("fs").readFileSync(file, "utf8")).packages
    const there = packages("node_modules/.package-lock.json")
    for (const [path, { version, optional }] of Object.entries(packages("package-lock.json")))
      if (path && !optional && there[path]?.version !== version) process.exit(1)
  '
}

if all_there; then exit 0; fi
echo 'npm-packages: installing the packages of package-lock.json into node_modules'
set -- npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
# Under sudo, the checkout stays the user's.
owner=$(stat -c %u .)
if [ "$(id -u)" = 0 ] && [ "$owner" != 0 ] && [ "$owner" = "${SUDO_UID:-}" ]; then
  HOME=$(getent passwd "$owner" | cut -d: -f6)
  export HOME
  set -- setpriv --reuid "$owner" --regid "$(stat -c %g .)" --init-groups "$@"
fi
exec "$@"
