#!/bin/sh
# Prints where packages of a release of Debian come from, as lines of sources.list: the mirrors that this machine's apt uses
# for it, or for its own release, since they have the others, too.
#
#   scripts/debian-mirrors.sh trixie
set -eu

suite=$1
found=$(apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) main|$(ORIGIN)' 'Created-By: Packages' 2>/dev/null |
  sed -n 's/|Debian$//p' | sort -u)
lines=$(echo "$found" | grep "^deb [^ ]* ${suite}[a-z-]* main\$") || {
  own=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
  lines=$(echo "$found" | sed -n "s/ $own main\$/ $suite main/p")
}
if [ -z "$lines" ]; then echo "debian-mirrors: apt knows no Debian mirror to take $suite from" >&2; exit 1; fi
echo "$lines"
