# shellcheck shell=bash disable=SC2034,SC2154  # the parts share their variables
# The slow path of scripts/synos: find out what is missing, say it, ask, get it, start it.
# Sourced, with $root, $setup_dir and $assume_yes set. Everything here writes to standard error.

# shellcheck source=scripts/setup/messages.sh disable=SC1091
source "$root/scripts/setup/messages.sh"
# shellcheck source=scripts/setup/host.sh disable=SC1091
source "$root/scripts/setup/host.sh"
# shellcheck source=scripts/setup/python.sh disable=SC1091
source "$root/scripts/setup/python.sh"
# shellcheck source=scripts/setup/packages.sh disable=SC1091
source "$root/scripts/setup/packages.sh"
# shellcheck source=scripts/setup/engine.sh disable=SC1091
source "$root/scripts/setup/engine.sh"

# Everything, in the order of its dependencies. The lock makes concurrent first calls wait for each other.
set_up() {
    read_host
    mkdir -p -- "$setup_dir" 2>/dev/null && [[ -w $setup_dir ]] || fail "$exit_host_not_fit" "cannot set up in $root" \
        "$setup_dir is not writable" "give the project's folder to the user who runs this"
    exec 9>"$setup_dir/lock"
    if ! flock --nonblock 9; then
        say "another call is setting up; waiting for it"
        flock 9
    fi
    {
        collect_missing
        install_missing
        ensure_venv
        ensure_engine
    } >&2
    exec 9>&-
}

# Replace this process by inv. Membership in the group docker counts from the next login on;
# until then `sg` gives it to this one call.
run_inv() {
    local inv=("$root/.venv/bin/inv" "$@")
    if [[ $reach_through_group == no ]]; then
        exec "${inv[@]}"
    fi
    exec sg docker -c "exec $(quote_for_sh "${inv[@]}")"
}

# The words as one line that any POSIX shell reads back unchanged.
quote_for_sh() {
    local word line=
    for word in "$@"; do
        line+="'${word//\'/\'\\\'\'}' "
    done
    printf '%s' "$line"
}
