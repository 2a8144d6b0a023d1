#!/usr/bin/env bash
# Gets the peers the benchmarks run beside highwater, as far as the MySQL server's packages do not have them:
# mydumper and myloader, and, where asked for by `bench-tools.sh proxies`, HAProxy and MySQL Router.
#
# Prints shell assignments on stdout, for `eval` or for a program to read line by line:
#   MYDUMPER=...          a mydumper to run as it is
#   MYLOADER=...          the myloader that goes with it
#   HAPROXY=...           a haproxy, and
#   MYSQLROUTER=...       a mysqlrouter, both Debian unstable's, with the dynamic loader and the libraries they need;
#   ROUTER_PLUGINS=...    the folder of its plugins
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

get_proxies() {
  # shellcheck source=scripts/unstable.sh
  . "$repo/scripts/unstable.sh"
  local nothing_changed="nothing on the system was changed" other_ways="or leave out bench-proxy" root loader program package
  private_apt "$work/apt"
  note "reading the package list of Debian unstable"
  quiet_apt "reading the package list" update
  note "downloading haproxy and mysql-router (about 33 MB)"
  quiet_apt "downloading haproxy and mysql-router" install --yes --download-only haproxy mysql-router
  root=$work/proxies/unpacked
  mkdir -p "$root"
  for package in "$work"/apt/cache/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$root" --exclude='./usr/share' --exclude='./etc'
  done
  loader=$(cd "$root" && find usr -name 'ld-linux*.so.*' | sort | head -n 1)
  [ -n "$loader" ] || fail "the packages unpacked without a dynamic loader" "run it again"
  for program in sbin/haproxy bin/mysqlrouter; do
    cat >"$work/proxies/${program##*/}" <<RUN
#!/bin/sh
# Runs the unpacked ${program##*/} with its own loader and libraries.
root=\$(cd "\${0%/*}/unpacked" && pwd) || exit 1
libraries=\$(echo "\$root"/usr/lib/*-linux-gnu):\$root/usr/lib/mysql-router
exec "\$root/$loader" --argv0 "\$0" --library-path "\$libraries" "\$root/usr/$program" "\$@"
RUN
    chmod +x "$work/proxies/${program##*/}"
  done
  "$work/proxies/haproxy" -v >/dev/null 2>"$work/log" && "$work/proxies/mysqlrouter" --version >/dev/null 2>"$work/log" ||
    { tail -n 5 "$work/log" >&2; fail "the downloaded proxies do not run here" "see what is said above"; }
  rm -rf "$tools/proxies"
  mv "$work/proxies" "$tools/proxies"
}

# Calls $2 while holding the lock, unless $1 is there by then.
once() {
  [ ! -x "$tools/$1" ] || return 0
  mkdir -p "$tools"
  exec 9>"$tools/bench.lock"
  flock 9
  work=$(mktemp -d "$tools/new.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  [ -x "$tools/$1" ] || "$2"
}

if [ "${1-}" = proxies ]; then
  once proxies/mysqlrouter get_proxies
  printf 'HAPROXY=%s\n' "$tools/proxies/haproxy"
  printf 'MYSQLROUTER=%s\n' "$tools/proxies/mysqlrouter"
  printf 'ROUTER_PLUGINS=%s\n' "$tools/proxies/unpacked/usr/lib/mysqlrouter/plugin"
  exit
fi
once mydumper/myloader get_mydumper
printf 'MYDUMPER=%s\n' "$tools/mydumper/mydumper"
printf 'MYLOADER=%s\n' "$tools/mydumper/myloader"
