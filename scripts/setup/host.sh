# shellcheck shell=bash disable=SC2034,SC2154  # the parts share their variables
# What this host is, and how to become root on it.

# Debian keeps dockerd and iptables where a plain user's PATH does not look.
PATH=$PATH:/usr/sbin:/sbin

# Sets os_id, os_version, os_name. Only Debian and Ubuntu themselves are known: a derivative's
# packages differ in ways nobody here has tested, so it is named and left alone.
read_host() {
    local file=${SYNOS_OS_RELEASE:-/etc/os-release} key value
    os_id='' os_version='' os_name=''
    if [[ -r $file ]]; then
        while IFS='=' read -r key value; do
            value=${value#[\"\']} value=${value%[\"\']}
            case $key in
                ID) os_id=$value ;;
                VERSION_ID) os_version=$value ;;
                PRETTY_NAME) os_name=$value ;;
            esac
        done <"$file"
    fi
    os_name=${os_name:-${os_id:-a system without $file}}
    case $os_id in
        debian) ((${os_version%%.*} >= 12)) 2>/dev/null || refuse_host "it is older than Debian 12" ;;
        ubuntu) ((${os_version%%.*} >= 22)) 2>/dev/null || refuse_host "it is older than Ubuntu 22.04" ;;
        *) refuse_host "only Debian and Ubuntu are known to this script" ;;
    esac
}

refuse_host() {
    fail "$exit_host_not_fit" "cannot set up on $os_name" "$1; nothing was changed" \
        "follow docs/manual-setup.md, then call .venv/bin/inv directly"
}

as_root() {
    if ((EUID == 0)); then
        "$@" 9>&-
    else
        sudo -- "$@" 9>&-
    fi
}

require_root_access() {
    ((EUID != 0)) || return 0
    command -v sudo >/dev/null || fail "$exit_host_not_fit" "cannot install or start anything" \
        "this needs root and there is no sudo" "run ./scripts/synos once as root, or follow docs/manual-setup.md"
    # Asks for a password on the terminal once, before anything has begun.
    sudo -v 9>&- >&2 || fail "$exit_host_not_fit" "cannot install or start anything" \
        "sudo did not let $USER become root" "run ./scripts/synos once as root, or follow docs/manual-setup.md"
}

is_interactive() {
    [[ -t 0 && -t 2 && $assume_yes == no ]]
}
