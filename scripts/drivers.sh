#!/usr/bin/env bash
# Gets the drivers that the front door is compared with a server by, and the test suites that their authors publish.
#
# From the Python package index: PyMySQL (0.10.1, the last whose package has its suite), mysqlclient (built here against
# Debian's libmariadb), MySQL Connector/Python, aiomysql, SQLAlchemy and Django. From the npm registry, where there is a node:
# mysql2. Versions are fixed: what differs through the door is written down for these.
#
# Prints shell assignments on stdout: DRIVERS=..., the folder of it all, which scripts/drivers/run.sh runs suites from. It is
# in ${HIGHWATER_CACHE:-<repo>/.cache}/tools. Nothing on the system is installed, no root is needed, a second run only
# prints, and two runs at once are safe. Progress goes to stderr.
set -euo pipefail

# shellcheck source=scripts/unpack.sh
. "$(dirname "${BASH_SOURCE[0]}")/unpack.sh"

# What is installed; a change of it installs anew.
sources="PyMySQL==0.10.1 mysqlclient==2.3.2 mysql-connector-python==26.10.0 aiomysql==0.3.2 SQLAlchemy==2.1.9
  Django==5.2.19"
wheels="PyMySQL==1.2.4 cryptography==50.0.2 mysql-connector-python==26.10.0 aiomysql==0.3.2 uvloop==0.23.0
  SQLAlchemy==2.1.9 Django==5.2.19 pytest==9.2.0"
mysql2="mysql2@3.24.6"

quietly() {
  local what=$1
  shift
  "$@" >"$work/log" 2>&1 && return
  tail -n 15 "$work/log" >&2
  fail "$what failed" "check that this machine reaches its package registries"
}

get_drivers() {
  local python new=$work/drivers package libraries
  python=$(command -v python3) || fail "there is no python3" "install python3, with pip"
  "$python" -m pip --version >/dev/null 2>&1 || fail "this python3 has no pip" "install python3-pip"
  mkdir -p "$new/src"

  note "unpacking libmariadb, for mysqlclient"
  unpack libmariadb-dev "$new/libmariadb"
  unpack libmariadb3 "$new/libmariadb"
  libraries=$(echo "$new"/libmariadb/usr/lib/*-linux-gnu)
  export MYSQLCLIENT_CFLAGS=-I$new/libmariadb/usr/include/mariadb MYSQLCLIENT_LDFLAGS="-L$libraries -lmariadb"

  note "downloading drivers from the Python package index"
  # shellcheck disable=SC2086 # lists of names
  quietly "installing drivers" "$python" -m pip install -q --disable-pip-version-check --no-warn-script-location \
    --root-user-action ignore --target "$new/python" $wheels
  quietly "building mysqlclient" "$python" -m pip install -q --disable-pip-version-check --no-warn-script-location \
    --root-user-action ignore --target "$new/python" --no-binary mysqlclient mysqlclient==2.3.2
  note "downloading their suites"
  # pip looks into a source before it keeps it; this spares it building what it would look with, and SQLAlchemy's extensions.
  for package in $sources; do
    quietly "downloading the source of $package" env DISABLE_SQLALCHEMY_CEXT=1 "$python" -m pip download -q \
      --disable-pip-version-check --no-deps --no-binary "${package%==*}" --dest "$work/sdists" "$package"
  done
  for package in "$work"/sdists/*.tar.gz; do tar -xzf "$package" -C "$new/src"; done

  if command -v node >/dev/null && command -v npm >/dev/null; then
    note "downloading mysql2"
    mkdir -p "$new/node"
    quietly "installing mysql2" npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$new/node" "$mysql2"
  else
    note "there is no node and npm: mysql2 is left out"
  fi
  printf '%s\n' "$python" >"$new/interpreter"
  printf '%s\n' "$(wanted)" >"$new/wanted"
  rm -rf "$tools/drivers"
  mv "$new" "$tools/drivers"
}

wanted() { printf '%s %s %s' "$sources" "$wheels" "$mysql2" | tr -s ' \n' ' '; }
there() { [ -f "$tools/drivers/wanted" ] && [ "$(cat "$tools/drivers/wanted")" = "$(wanted)" ]; }

if ! there; then
  mkdir -p "$tools"
  exec 9>"$tools/drivers.lock"
  flock 9
  work=$(mktemp -d "$tools/new.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  there || get_drivers
fi
printf 'DRIVERS=%s\n' "$tools/drivers"
