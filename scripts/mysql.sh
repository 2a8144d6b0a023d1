#!/usr/bin/env bash
# Finds or fetches a private MySQL server; the last line on stdout is the path of a mysqld to run.
#
# Order: $HIGHWATER_MYSQLD; a mysqld >= 8.0 on PATH (not MariaDB); else Debian unstable's packages, unpacked
# into ${HIGHWATER_CACHE:-<repo>/.cache}/mysql with the shared libraries and the dynamic loader they need.
# Nothing on the system is installed or replaced, no root is needed, and two runs at once are safe.
# Progress goes to stderr. To fetch a newer server, delete the cache folder.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${HIGHWATER_CACHE:-$repo/.cache}
tools="mysqld mysql mysqldump mysqladmin mysqlbinlog mysql_tzinfo_to_sql"

note() { printf 'mysql.sh: %s\n' "$*" >&2; }
fail() {
  explained=yes
  printf 'error: %s\nstate: %s\nhint:  %s\n' "$1" "$2" "$3" >&2
  exit 1
}

nothing_changed="no MySQL server is installed, nothing on the system was changed"
other_ways="or install MySQL 8.0 or newer, or set HIGHWATER_MYSQLD to the path of a mysqld"

# shellcheck source=scripts/unstable.sh
. "$repo/scripts/unstable.sh"

# Whether `mysqld --version` says Oracle's (or Percona's) MySQL, 8.0 or newer.
suitable() {
  local said version
  said=$("$1" --version 2>/dev/null) || return 1
  case $said in *MariaDB*) return 1 ;; esac
  version=$(sed -n 's/.*Ver \([0-9][0-9]*\)\..*/\1/p' <<<"$said")
  [ -n "$version" ] && [ "$version" -ge 8 ]
}

# The plain package name if the archive has it, else the newest versioned one (mysql-server-core-9.7).
package_named() {
  local names
  names=$(apt-cache pkgnames "$1" | grep -E "^$1(-[0-9.]+)?\$" | sort -V)
  grep -x "$1" <<<"$names" || tail -n 1 <<<"$names"
}

# Removes what is half done; a command that failed without a word of its own is still told in three parts.
leave() {
  local status=$?
  rm -rf "$work"
  [ "$status" -eq 0 ] || [ -n "${explained-}" ] ||
    printf 'error: %s\nstate: %s\nhint:  %s\n' "fetching a MySQL server failed (status $status)" \
      "$nothing_changed" "run 'bash -x scripts/mysql.sh' to see where, $other_ways" >&2
}

# A wrapper per tool: the unpacked binary, through the unpacked loader, with the unpacked libraries.
write_wrappers() {
  local root=$1/unpacked loader libraries tool binary
  libraries=$(cd "$root" && find usr/lib -name libc.so.6 -printf '%h\n' | head -n 1)
  loader=$(cd "$root" && find usr -name 'ld-linux*.so.*' | sort | head -n 1)
  [ -n "$loader" ] && [ -n "$libraries" ] || fail "the packages unpacked without a dynamic loader" \
    "$nothing_changed" "$other_ways"
  mkdir -p "$1/bin"
  for tool in $tools; do
    binary=usr/bin/$tool
    [ "$tool" != mysqld ] || binary=usr/sbin/mysqld
    [ -x "$root/$binary" ] || continue
    {
      printf '#!/bin/sh\n# Runs the unpacked %s with its own loader and libraries; see scripts/mysql.sh.\n' "$tool"
      printf 'root=$(cd "${0%%/*}/../unpacked" && pwd) || exit 1\n'
      printf 'loader=$root/%s\nlibraries=$root/%s\nprogram=$root/%s\n' "$loader" "$libraries" "$binary"
      if [ "$tool" = mysqld ]; then
        cat <<'WRAPPER'
# Options such as --no-defaults count only in first place.
case ${1-} in
--no-defaults | --defaults-* | --print-defaults) first=$1 && shift ;;
*) first= ;;
esac
[ "$(id -u)" -ne 0 ] || set -- --user=root "$@"
share=$root/usr/share/mysql
set -- --basedir="$root/usr" --lc-messages-dir="$share" --character-sets-dir="$share/charsets" \
  --plugin-dir="$root/usr/lib/mysql/plugin" --secure-file-priv=NULL "$@"
exec "$loader" --argv0 "$0" --library-path "$libraries" "$program" ${first:+"$first"} "$@"
WRAPPER
      else
        printf 'exec "$loader" --argv0 "$0" --library-path "$libraries" "$program" "$@"\n'
      fi
    } >"$1/bin/$tool"
    chmod +x "$1/bin/$tool"
  done
}

fetch() {
  local server client tool package
  for tool in apt-get apt-cache apt-config dpkg dpkg-deb; do
    command -v "$tool" >/dev/null || fail "no MySQL server was found, and without $tool none can be fetched" \
      "$nothing_changed" "run this on Debian, $other_ways"
  done
  private_apt "$work/apt"
  note "reading the package list of Debian unstable"
  quiet_apt "reading the package list" update
  server=$(package_named mysql-server-core)
  client=$(package_named mysql-client-core)
  [ -n "$server" ] && [ -n "$client" ] || fail "Debian unstable has no MySQL server at the moment" \
    "$nothing_changed" "${other_ways#or }"
  note "downloading $server and the libraries it needs (about 60 MB)"
  quiet_apt "downloading $server" install --yes --download-only "$server" "$client"
  note "unpacking"
  mkdir -p "$work/new/unpacked"
  for package in "$work"/apt/cache/archives/*.deb; do
    # Only programs, libraries and MySQL's own share files: the rest is documentation and translations.
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$work/new/unpacked" --exclude='./usr/share/[!m]*' \
      --exclude='./usr/share/man' --exclude='./etc'
  done
  write_wrappers "$work/new"
  (cd "$work/new/unpacked/usr/bin" && for file in *; do [ -x "../../../bin/$file" ] || rm -f -- "$file"; done)
  suitable "$work/new/bin/mysqld" || fail "the fetched MySQL server does not start here" "$nothing_changed" \
    "${other_ways#or }"
  rm -rf "$cache/mysql"
  mv "$work/new" "$cache/mysql"
}

if [ -n "${HIGHWATER_MYSQLD:-}" ]; then
  [ -x "$HIGHWATER_MYSQLD" ] || fail "HIGHWATER_MYSQLD names $HIGHWATER_MYSQLD, which cannot be run" \
    "nothing was started or fetched" "set it to the path of a mysqld, or unset it"
  printf '%s\n' "$HIGHWATER_MYSQLD"
  exit
fi

# Distributions put mysqld where an ordinary user's PATH may not look.
if installed=$(PATH=$PATH:/usr/sbin:/usr/local/sbin command -v mysqld); then
  if suitable "$installed"; then
    printf '%s\n' "$installed"
    exit
  fi
  note "$installed is MariaDB or older than 8.0: fetching a private MySQL instead"
fi

if [ ! -x "$cache/mysql/bin/mysqld" ]; then
  mkdir -p "$cache"
  cache=$(cd "$cache" && pwd)
  exec 9>"$cache/mysql.lock"
  flock 9
  if [ ! -x "$cache/mysql/bin/mysqld" ]; then
    # Holding the lock, any other such folder was left by a run that was killed.
    rm -rf "$cache"/mysql.new.*
    work=$(mktemp -d "$cache/mysql.new.XXXXXX")
    trap leave EXIT
    fetch
    note "ready: $("$cache/mysql/bin/mysqld" --version | sed 's/.*Ver //')"
  fi
fi
printf '%s\n' "$(cd "$cache/mysql" && pwd)/bin/mysqld"
