#!/usr/bin/env bash
# Everything that can be said of the code without running it. All checks run, so that one look tells all; each that
# fails shows why. shellcheck is asked where it is installed, and with CI=true it must be.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
export PATH=$PWD/node_modules/.bin:$PATH

failed=()
check() { # name command…
  local name=$1 said
  shift
  if said=$("$@" 2>&1); then printf '✓ %s\n' "$name"; return; fi
  printf '✗ %s\n%s\n' "$name" "$said"
  failed+=("$name")
}

# A lock file that names where packages came from works only there.
lockfile() {
  ! grep -nE '"resolved"|https?://[^"]*/-/' package-lock.json
}

# Info about style is left to taste; SC2016: quoted on purpose, for another shell to expand.
shell() {
  shellcheck --severity=warning --exclude=SC2016 scripts/*.sh .ci/run
}

check 'format and lint (npm run format repairs what it can)' biome check --error-on-warnings .
check 'types' tsc -p .
check 'directions of imports' depcruise --config .dependency-cruiser.cjs src helper
check 'dead code' knip
check 'protocol document' tsx scripts/protocol-doc.ts --check
check 'document of commands' tsx scripts/command-doc.ts --check
check "README's figures" tsx scripts/readme-bench.ts --check
check 'texts to translate' tsx scripts/l10n.ts --check
check 'lock file' lockfile
if [ "${CI:-}" = true ] || command -v shellcheck >/dev/null; then check 'shell scripts' shell; fi

[ ${#failed[@]} = 0 ] && exit 0
printf '\nFailed: %s\n' "$(IFS=,; echo "${failed[*]}")"
exit 1
