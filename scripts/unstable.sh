# Debian unstable's packages without root: an apt configuration of our own, beside the machine's. Sourced by the scripts that
# unpack newer programs than the machine's Debian has. They define `fail WHAT STATE HINT`, and set $work, a scratch folder,
# $nothing_changed and $other_ways, the ends of an error.

# A "URI<TAB>keyring" line for each source entry of this Debian's main archive; the keyring may be empty.
debian_source() {
  local codename files file
  codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release 2>/dev/null || true)
  shopt -s nullglob
  files=(/etc/apt/sources.list.d/*.sources)
  if [ ${#files[@]} -gt 0 ]; then
    # A blank line between files keeps the last stanza of one apart from the first of the next.
    for file in "${files[@]}"; do cat "$file"; echo; done | awk -v codename="$codename" '
      function entry(   found) {
        found = types ~ /(^| )deb( |$)/ && components ~ /(^| )main( |$)/ && enabled !~ /no/
        if (found && uri != "" && known(suites)) printf "%s\t%s\n", uri, keyring
        types = suites = components = uri = keyring = enabled = ""
      }
      function known(suites,   n, i, word) {
        n = split(suites, word, " ")
        for (i = 1; i <= n; i++)
          if ((codename != "" && word[i] == codename) || word[i] ~ /^(stable|testing|unstable|sid)$/) return 1
        return 0
      }
      /^[ \t]*$/ { entry(); next }
      /^Types:/ { $1 = ""; types = $0 }
      /^URIs:/ { uri = $2 }
      /^Suites:/ { $1 = ""; suites = $0; sub(/^ /, "", suites) }
      /^Components:/ { $1 = ""; components = $0 }
      /^Enabled:/ { enabled = $2 }
      /^Signed-By:/ { if ($2 ~ /^\//) keyring = $2 }
      END { entry() }'
  fi
  files=(/etc/apt/sources.list /etc/apt/sources.list.d/*.list)
  { cat "${files[@]}" 2>/dev/null || true; } | awk -v codename="$codename" '
    $1 == "deb" {
      keyring = ""
      if (match($0, /signed-by=[^] ]+/)) keyring = substr($0, RSTART + 10, RLENGTH - 10)
      sub(/\[[^]]*\]/, "")
      if (((codename != "" && $3 == codename) || $3 ~ /^(stable|testing|unstable|sid)$/) && / main( |$)/) {
        printf "%s\t%s\n", $2, keyring
      }
    }'
}

# Writes the private apt configuration under $1 and points APT_CONFIG at it.
private_apt() {
  local apt=$1 source uri keyring
  source=$(debian_source)
  source=${source%%$'\n'*}
  uri=${source%%$'\t'*}
  keyring=${source#*$'\t'}
  [ -n "$uri" ] || fail "no Debian archive among this machine's apt sources" "$nothing_changed" \
    "run this on Debian, $other_ways"
  mkdir -p "$apt"/{state/lists/partial,cache/archives/partial,parts}
  # The machine's own ways of reaching its archives (proxies, mirrors' settings) hold here too; its hooks do not.
  (umask 077; apt-config dump Acquire | grep -v '^Acquire::IndexTargets' >"$apt/parts/acquire.conf")
  {
    printf 'Types: deb\nURIs: %s\nSuites: sid\nComponents: main\n' "$uri"
    [ -z "$keyring" ] || printf 'Signed-By: %s\n' "$keyring"
  } >"$apt/private.sources"
  # The one package taken for granted: mysqld_safe's perl, 10 MB that the server itself never runs.
  cat >"$apt/status" <<STATUS
Package: perl
Status: install ok installed
Architecture: $(dpkg --print-architecture)
Multi-Arch: allowed
Version: 99
Maintainer: nobody
Description: stands in for perl
STATUS
  cat >"$apt/apt.conf" <<CONF
Dir::State "$apt/state";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "$apt/private.sources";
Dir::Etc::sourceparts "-";
Dir::Etc::parts "$apt/parts";
Dir::Etc::main "-";
Dir::Etc::preferences "-";
Dir::Etc::preferencesparts "-";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "2";
CONF
  export APT_CONFIG=$apt/apt.conf
}

# Runs apt-get with its words kept in a log, shown only when it fails.
quiet_apt() {
  local what=$1
  shift
  LC_ALL=C apt-get -q "$@" >"$work/apt.log" 2>&1 </dev/null && ! grep -q '^Err:' "$work/apt.log" && return
  tail -n 15 "$work/apt.log" >&2
  fail "$what failed" "$nothing_changed" "check that this machine reaches its Debian archive, $other_ways"
}
