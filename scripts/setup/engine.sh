# shellcheck shell=bash disable=SC2034,SC2154  # the parts share their variables
# Docker's parts, and its daemon.

readonly engine_minimum=26
readonly daemon_wait_seconds=30
reach_through_group=no

# Sets missing_parts. The parts are looked at, not the name: a lone client may be called docker.
find_missing_parts() {
    missing_parts=()
    is_new_enough docker || missing_parts+=(client)
    has_plugin buildx || missing_parts+=(buildx)
    has_plugin compose || missing_parts+=(compose)
    # Where no registry answers, inv bootstraps the base image itself, with Debian's keys.
    command -v mmdebstrap >/dev/null || missing_parts+=(mmdebstrap)
    [[ -e /usr/share/keyrings/debian-archive-keyring.gpg ]] || missing_parts+=(debian-archive-keyring)
    # With an engine elsewhere, or one that answers already (rootless, Docker Desktop), only the client's side counts.
    [[ -z ${DOCKER_HOST:-} ]] || return 0
    ! engine_is_new_enough || return 0
    is_new_enough dockerd || missing_parts+=(daemon)
    command -v containerd >/dev/null || missing_parts+=(containerd)
    command -v runc >/dev/null || missing_parts+=(runc)
    command -v iptables >/dev/null || missing_parts+=(iptables)
    [[ -e /etc/ssl/certs/ca-certificates.crt ]] || missing_parts+=(ca-certificates)
}

# is_new_enough TOOL: whether `TOOL --version` is Docker's (Podman's docker is not) and not too old.
is_new_enough() {
    local version
    version=$("$1" --version 2>/dev/null) || return 1
    [[ $version =~ ^Docker\ version\ ([0-9]+) ]] && ((BASH_REMATCH[1] >= engine_minimum))
}

has_plugin() {
    local version
    version=$(docker "$1" version 2>/dev/null) || return 1
    [[ $1 != compose ]] || { [[ $version =~ version\ v?([0-9]+) ]] && ((BASH_REMATCH[1] >= 2)); }
}

# Whether an engine answers, and is not too old.
engine_is_new_enough() {
    local version
    version=$(timeout 20 docker version --format '{{.Server.Version}}' 2>/dev/null) || return 1
    ((${version%%.*} >= engine_minimum)) 2>/dev/null
}

engine_answers() {
    timeout 20 docker info >/dev/null 2>&1
}

# Sets group_missing: whether this user still has to be let in to the socket.
find_group_need() {
    group_missing=no
    if ((EUID == 0)) || [[ -n ${DOCKER_HOST:-} ]] || engine_answers; then
        return
    fi
    USER=${USER:-$(id -un)}
    [[ " $(id -nG -- "$USER") " == *" docker "* ]] || group_missing=yes
}

ensure_engine() {
    if [[ -z ${DOCKER_HOST:-} ]] && ! engine_answers; then
        let_in_through_group
        daemon_answers || start_daemon
    elif [[ -z ${DOCKER_HOST:-} ]] && ! engine_is_new_enough; then
        fail "$exit_engine" "the Docker daemon is too old" \
            "version $engine_minimum or newer is needed; the one running may be from before an upgrade" \
            "stop it, then run the same command again"
    fi
    note_engine_parts
}

# Whether this call's own session lacks a membership that the user already has.
let_in_through_group() {
    ((EUID != 0)) && [[ " $(id -nG) " != *" docker "* ]] || return 0
    reach_through_group=yes
}

daemon_answers() {
    if [[ $reach_through_group == yes ]]; then
        timeout 20 sg docker -c 'docker info' >/dev/null 2>&1
    else
        engine_answers
    fi
}

# systemd where it runs, else the init script, else the daemon itself.
start_daemon() {
    require_root_access
    say "starting the Docker daemon"
    if [[ -d /run/systemd/system ]]; then
        as_root systemctl enable --now docker || true
        wait_for_daemon || fail_to_start "$(as_root journalctl -u docker -n 15 --no-pager 2>&1)" "journalctl -u docker"
        return
    fi
    remove_stale_pid_file
    if [[ -x /etc/init.d/docker ]] && as_root service docker start >/dev/null 2>&1 </dev/null && wait_for_daemon; then
        return
    fi
    start_daemon_directly
}

# Where /var/run outlives a reboot, the old number may be another process's by now, and dockerd would refuse to start.
remove_stale_pid_file() {
    local pid=''
    [[ -r /var/run/docker.pid ]] || return 0
    read -r pid </var/run/docker.pid || true
    is_dockerd "$pid" || as_root rm -f /var/run/docker.pid
}

# The daemon outlives this script: a session of its own, and none of our files open.
start_daemon_directly() {
    local log=/var/log/synos-dockerd.log
    as_root touch "$log" 2>/dev/null || log=$setup_dir/dockerd.log
    # shellcheck disable=SC2016  # expands in the inner shell
    as_root setsid --fork bash -c 'exec >>"$1" 2>&1 </dev/null
        cd / && umask 022
        for fd in /proc/self/fd/*; do ((${fd##*/} < 3)) || eval "exec ${fd##*/}>&-"; done
        exec dockerd' bash "$log"
    wait_for_daemon || fail_to_start "$(as_root tail -n 15 -- "$log" 2>&1)" "$log"
}

wait_for_daemon() {
    local begin=$SECONDS
    until daemon_answers; do
        ((SECONDS < begin + daemon_wait_seconds)) || return 1
        # No process any more: it has given up, and so do we.
        ((SECONDS < begin + 3)) || pidof dockerd >/dev/null || return 1
        sleep 0.2
    done
}

fail_to_start() {
    printf '%s\n' "$1" >&2
    fail "$exit_engine" "the Docker daemon does not answer" "its last lines are above; all of them: $2" \
        "mend what it complains about, then run the same command again"
}

# Leaves the paths of the parts for the fast path, which looks whether they are all still there.
note_engine_parts() {
    {
        command -v docker
        [[ -n ${DOCKER_HOST:-} ]] || command -v dockerd || true
        docker info --format '{{range .ClientInfo.Plugins}}{{if or (eq .Name "buildx") (eq .Name "compose")}}{{println .Path}}{{end}}{{end}}' \
            2>/dev/null | sed '/^$/d' || true
    } >"$setup_dir/engine.new"
    mv -- "$setup_dir/engine.new" "$setup_dir/engine"
}
