# shellcheck shell=bash disable=SC2034,SC2154  # the parts share their variables
# How setting up talks: to standard error, and an error always says what, why and a hint.

readonly exit_host_not_fit=20
readonly exit_engine=21

say() {
    printf 'synos: %s\n' "$*" >&2
}

# fail CODE WHAT WHY HINT
fail() {
    printf 'error: %s\nwhy: %s\nhint: %s\n' "$2" "$3" "$4" >&2
    exit "$1"
}

# show_on_failure LOG COMMAND…: quiet while it works, everything it said when it does not.
show_on_failure() {
    local log=$1
    shift
    # In a shell of its own: what a trap says must not go to the log.
    ("$@") >"$log" 2>&1 </dev/null 9>&- && return
    cat -- "$log" >&2
    return 1
}
