#!/usr/bin/env bash
# Gets the foreign clients the front door is tested with: PyMySQL and sysbench.
#
# Prints shell assignments on stdout, for `eval` or for a program to read line by line:
#   PYTHON=...            a python3
#   PYTHONPATH=...        where its PyMySQL and cryptography are
#   SYSBENCH=...          a sysbench to run as it is
#   SYSBENCH_LUA=...      the folder of its oltp_*.lua
# Both are put into ${HIGHWATER_CACHE:-<repo>/.cache}/tools. Nothing on the system is installed, no root is needed, a
# second run only prints, and two runs at once are safe. Progress goes to stderr.
set -euo pipefail

# shellcheck source=scripts/unpack.sh
. "$(dirname "${BASH_SOURCE[0]}")/unpack.sh"

get_pymysql() {
  local python
  python=$(command -v python3) || fail "there is no python3" "install python3"
  note "downloading PyMySQL"
  if ! "$python" -m pip install -q --disable-pip-version-check --no-warn-script-location --root-user-action ignore \
    --target "$work/python" PyMySQL cryptography >"$work/log" 2>&1; then
    # A minimal machine has no pip: Debian's packages are for Debian's python.
    python=/usr/bin/python3
    [ -x "$python" ] || { tail -n 5 "$work/log" >&2; fail "PyMySQL cannot be had" \
      "check that this machine reaches its Python package index, or install python3-pymysql"; }
    unpack python3-pymysql "$work/deb"
    unpack python3-cryptography "$work/deb"
    mv "$work/deb/usr/lib/python3/dist-packages" "$work/python"
  fi
  PYTHONPATH="$work/python" "$python" -c 'import pymysql, cryptography' 2>"$work/log" || { tail -n 5 "$work/log" >&2
    fail "PyMySQL does not run here" "install python3-pymysql and python3-cryptography"; }
  printf '%s\n' "$python" >"$work/python/interpreter"
  rm -rf "$tools/python"
  mv "$work/python" "$tools/python"
}

get_sysbench() {
  note "downloading sysbench"
  unpack sysbench "$work/sysbench"
  cat >"$work/sysbench/run" <<'RUN'
#!/bin/sh
# Runs the unpacked sysbench with its libraries, among them the client library's login plugins.
root=$(cd "${0%/*}" && pwd) || exit 1
libraries=$(echo "$root"/usr/lib/*-linux-gnu)
LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
MARIADB_PLUGIN_DIR=$libraries/libmariadb3/plugin
LUA_PATH="$root/usr/share/sysbench/?.lua;;"
export LD_LIBRARY_PATH MARIADB_PLUGIN_DIR LUA_PATH
exec "$root/usr/bin/sysbench" "$@"
RUN
  chmod +x "$work/sysbench/run"
  "$work/sysbench/run" --version >/dev/null 2>"$work/log" || { tail -n 5 "$work/log" >&2
    fail "the downloaded sysbench does not run here" "install sysbench"; }
  rm -rf "$tools/sysbench"
  mv "$work/sysbench" "$tools/sysbench"
}

if [ ! -f "$tools/python/interpreter" ] || [ ! -x "$tools/sysbench/run" ]; then
  mkdir -p "$tools"
  exec 9>"$tools/lock"
  flock 9
  work=$(mktemp -d "$tools/new.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  [ -f "$tools/python/interpreter" ] || get_pymysql
  [ -x "$tools/sysbench/run" ] || get_sysbench
fi
printf 'PYTHON=%s\n' "$(cat "$tools/python/interpreter")"
printf 'PYTHONPATH=%s\n' "$tools/python"
printf 'SYSBENCH=%s\n' "$tools/sysbench/run"
printf 'SYSBENCH_LUA=%s\n' "$tools/sysbench/usr/share/sysbench"
