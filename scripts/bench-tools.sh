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

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=${HIGHWATER_CACHE:-$repo/.cache}/tools

note() { printf 'bench-tools.sh: %s\n' "$*" >&2; }
fail() {
  printf 'error: %s\nstate: %s\nhint:  %s\n' "$1" "nothing on the system was changed" "$2" >&2
  exit 1
}

# apt-get with the machine's own package lists or, where it has none, with lists of our own.
private=()
apt() { apt-get -q "${private[@]}" "$@"; }
lists() {
  apt-cache show mydumper >/dev/null 2>&1 && return
  note "reading the package lists"
  mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
  private=(-o "Dir::State::lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache" -o APT::Sandbox::User=root)
  apt update >"$work/log" 2>&1 || { tail -n 5 "$work/log" >&2; fail "the Debian package lists cannot be read" \
    "check that this machine reaches its Debian archive"; }
}

# Downloads a package with what it needs and this machine lacks, and unpacks them into $2.
unpack() {
  local packages
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || fail "$1 cannot be had without apt-get" \
    "run this on Debian"
  lists
  packages=$(apt install --print-uris -y --no-install-recommends "$1" 2>"$work/log" |
    sed -n "s/^'[^']*' \([^_]*\)_.*/\1/p") || true
  # Installed already: take the package itself.
  [ -n "$packages" ] || packages=$1
  mkdir -p "$work/debs" "$2"
  # shellcheck disable=SC2086 # a list of names
  (cd "$work/debs" && apt download $packages >"$work/log" 2>&1) || { tail -n 5 "$work/log" >&2
    fail "downloading $1 failed" "check that this machine reaches its Debian archive"; }
  for package in "$work/debs"/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$2" --exclude='./usr/share/doc' --exclude='./usr/share/man'
  done
  rm -rf "$work/debs"
}

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
