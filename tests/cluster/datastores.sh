# Finds PostgreSQL and Redis, or installs Debian's packages, without the servers that those would start.
set -euo pipefail
{ ls /usr/lib/postgresql/*/bin/initdb || command -v initdb; } &>/dev/null && command -v redis-server >/dev/null && exit

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "make: no PostgreSQL or no Redis; on Debian and Ubuntu: apt-get install postgresql redis-server" >&2
  exit 1
fi
policy=/usr/sbin/policy-rc.d # Debian's way to say that no package may start a service
if [ ! -e $policy ]; then
  trap 'rm $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod +x $policy
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends postgresql redis-server
