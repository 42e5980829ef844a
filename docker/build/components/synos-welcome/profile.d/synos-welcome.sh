# Greets at an interactive login on a console. Read by every login shell, so it has to bear set -e and set -u.
# shellcheck shell=sh

_synos_welcome() {
    case $- in
        *i*) ;;
        *) return 0 ;;
    esac
    # a login shell inside of a login is no new login
    [ -z "${SYNOS_WELCOME_SHOWN:-}${SSH_CONNECTION:-}${SSH_TTY:-}${SUDO_USER:-}" ] || return 0
    [ -t 1 ] || return 0
    case $(tty 2>/dev/null) in
        /dev/tty[0-9]* | /dev/ttyS*) ;;
        *) return 0 ;;
    esac
    command -v synos-welcome >/dev/null 2>&1 || return 0
    export SYNOS_WELCOME_SHOWN=1
    synos-welcome
}

_synos_welcome || :
unset -f _synos_welcome
