#!/usr/bin/env bash
# Gets the peers the benchmarks run beside highwater, as far as the MySQL server's packages do not have them:
# mydumper and myloader; where asked for by `bench-tools.sh proxies`, HAProxy and MySQL Router; by `bench-tools.sh checksum`,
# pt-table-checksum.
#
# Prints shell assignments on stdout, for `eval` or for a program to read line by line:
#   MYDUMPER=...          a mydumper to run as it is
#   MYLOADER=...          the myloader that goes with it
#   HAPROXY=...           a haproxy, and
#   MYSQLROUTER=...       a mysqlrouter, both Debian unstable's, with the dynamic loader and the libraries they need;
#   ROUTER_PLUGINS=...    the folder of its plugins
#   PT_TABLE_CHECKSUM=... Debian unstable's pt-table-checksum, on this machine's perl with its driver of MySQL
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

# The script itself needs nothing but perl, and is Debian unstable's because older ones do not know today's MySQL (it has no
# SHOW MASTER STATUS); the driver is this machine's, since it is built for one version of perl.
get_checksum() {
  # shellcheck source=scripts/unstable.sh
  . "$repo/scripts/unstable.sh"
  local nothing_changed="nothing on the system was changed" other_ways="or leave pt-table-checksum out with --only"
  command -v perl >/dev/null || fail "pt-table-checksum cannot be had without perl" "$nothing_changed" "install perl, $other_ways"
  note "downloading pt-table-checksum"
  unpack libdbd-mysql-perl "$work/checksum"
  private_apt "$work/apt"
  quiet_apt "reading the package list of Debian unstable" update
  mkdir "$work/toolkit"
  (cd "$work/toolkit" && quiet_apt "downloading percona-toolkit" download percona-toolkit)
  dpkg-deb --fsys-tarfile "$work/toolkit"/*.deb | tar -x -C "$work/checksum" ./usr/bin/pt-table-checksum
  cat >"$work/checksum/pt-table-checksum" <<RUN
#!/bin/sh
# Runs the unpacked pt-table-checksum with the unpacked driver, and the login plugins of the driver's client library.
root=\$(cd "\${0%/*}" && pwd) || exit 1
libraries=\$(echo "\$root"/usr/lib/*-linux-gnu)
PERL5LIB=\$(echo "\$libraries"/perl5/*)\${PERL5LIB:+:\$PERL5LIB}
LD_LIBRARY_PATH=\$libraries\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
MARIADB_PLUGIN_DIR=\$libraries/libmariadb3/plugin
export PERL5LIB LD_LIBRARY_PATH MARIADB_PLUGIN_DIR
# With the driver, so that its want shows with any command.
exec perl -MDBD::mysql "\$root/usr/bin/pt-table-checksum" "\$@"
RUN
  chmod +x "$work/checksum/pt-table-checksum"
  "$work/checksum/pt-table-checksum" --version >/dev/null 2>"$work/log" || { tail -n 5 "$work/log" >&2
    fail "the downloaded pt-table-checksum does not run here" "$nothing_changed" "see what it says above"; }
  rm -rf "$tools/checksum"
  mv "$work/checksum" "$tools/checksum"
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
if [ "${1-}" = checksum ]; then
  once checksum/pt-table-checksum get_checksum
  printf 'PT_TABLE_CHECKSUM=%s\n' "$tools/checksum/pt-table-checksum"
  exit
fi
once mydumper/myloader get_mydumper
printf 'MYDUMPER=%s\n' "$tools/mydumper/mydumper"
printf 'MYLOADER=%s\n' "$tools/mydumper/myloader"
