# Shared by the tests in shell: counts checks and says which failed.
# shellcheck shell=sh

checks=0
failures=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

fail() {
    failures=$((failures + 1))
    printf '%s: not so: %s\n' "$0" "$1"
}

# check DESCRIPTION COMMAND...
check() {
    checks=$((checks + 1))
    description=$1
    shift
    "$@" || fail "$description"
}

check_not() {
    checks=$((checks + 1))
    description=$1
    shift
    if "$@"; then fail "$description"; fi
}

# check_text DESCRIPTION ACTUAL EXPECTED
check_text() {
    checks=$((checks + 1))
    [ "$2" = "$3" ] || fail "$1: <$2> rather than <$3>"
}

# in_terminal COMMAND-LINE: its output on a terminal of its own
in_terminal() {
    script -qec "$1" /dev/null </dev/null | tr -d '\r'
}

has_terminals() {
    [ "$(in_terminal 'test -t 1 && echo yes' 2>/dev/null)" = yes ]
}

finish() {
    printf '%s: %d checks, %d failed\n' "$1" "$checks" "$failures"
    [ "$failures" -eq 0 ]
}
