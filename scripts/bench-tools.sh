#!/usr/bin/env bash
# Gets the peers the benchmarks run beside highwater, as far as the MySQL server's packages do not have them:
# mydumper and myloader.
#
# Prints shell assignments on stdout, for `eval` or for a program to read line by line:
#   MYDUMPER=...          a mydumper to run as it is
#   MYLOADER=...          the myloader that goes with it
# They are put into ${HIGHWATER_CACHE:-<repo>/.cache}/tools. Nothing on the system is installed, no root is needed, a
# second run only prints, and two runs at once are safe. Progress goes to stderr.
set -euo pipefail

# shellcheck source=scripts/unpack.sh
. "$(dirname "${BASH_SOURCE[0]}")/unpack.sh"

get_mydumper() {
  local program
  note "downloading mydumper"
  unpack mydumper "$work/mydumper"
  for program in mydumper myloader; do
    cat >"$work/mydumper/$program" <<RUN
#!/bin/sh
# Runs the unpacked $program with its libraries, among them the client library's login plugins.
root=\$(cd "\${0%/*}" && pwd) || exit 1
libraries=\$(echo "\$root"/usr/lib/*-linux-gnu)
# Some packages still put theirs into /lib.
LD_LIBRARY_PATH=\$libraries:\$root/\${libraries#"\$root"/usr/}\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
MARIADB_PLUGIN_DIR=\$libraries/libmariadb3/plugin
export LD_LIBRARY_PATH MARIADB_PLUGIN_DIR
exec "\$root/usr/bin/$program" "\$@"
RUN
    chmod +x "$work/mydumper/$program"
    "$work/mydumper/$program" --version >/dev/null 2>"$work/log" || { tail -n 5 "$work/log" >&2
      fail "the downloaded $program does not run here" "see what it says above"; }
  done
  rm -rf "$tools/mydumper"
  mv "$work/mydumper" "$tools/mydumper"
}

if [ ! -x "$tools/mydumper/myloader" ]; then
  mkdir -p "$tools"
  exec 9>"$tools/bench.lock"
  flock 9
  work=$(mktemp -d "$tools/new.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  [ -x "$tools/mydumper/myloader" ] || get_mydumper
fi
printf 'MYDUMPER=%s\n' "$tools/mydumper/mydumper"
printf 'MYLOADER=%s\n' "$tools/mydumper/myloader"
