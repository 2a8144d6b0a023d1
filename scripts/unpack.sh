# Unpacks Debian's packages into a folder, without root and without installing anything. Sourced by the scripts that fetch
# what tests and benchmarks need; they set $work, a scratch folder of theirs, before they call `unpack`.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=${HIGHWATER_CACHE:-$repo/.cache}/tools

note() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
# What, the state it is in if that is to be said, and a hint.
fail() {
  [ $# -eq 3 ] || set -- "$1" "nothing on the system was changed" "$2"
  printf 'error: %s\nstate: %s\nhint:  %s\n' "$1" "$2" "$3" >&2
  exit 1
}

# apt-get with the machine's own package lists or, where it has none, with lists of our own.
private=()
apt() { apt-get -q "${private[@]}" "$@"; }
lists() {
  apt-cache show "$1" >/dev/null 2>&1 && return
  note "reading the package lists"
  mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
  private=(-o "Dir::State::lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache" -o APT::Sandbox::User=root)
  apt update >"$work/log" 2>&1 || { tail -n 5 "$work/log" >&2; fail "the Debian package lists cannot be read" \
    "check that this machine reaches its Debian archive"; }
}

# Downloads packages with what they need and this machine lacks, and unpacks them into $2.
unpack() {
  local packages
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || fail "$1 cannot be had without apt-get" \
    "run this on Debian, or install $1 yourself"
  lists "$1"
  packages=$(apt install --print-uris -y --no-install-recommends "$1" 2>"$work/log" |
    sed -n "s/^'[^']*' \([^_]*\)_.*/\1/p") || true
  # Installed already, but not on PATH for us: take the package itself.
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
