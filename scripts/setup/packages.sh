# shellcheck shell=bash disable=SC2034,SC2154  # the parts share their variables
# Which packages are missing, where they come from, and installing them after asking.
#
# The list is worked out in a private apt state under a temporary folder, so that nothing on the
# host changes before the answer: not its sources, not its indices. The installation then uses
# the very indices that were shown.

readonly docker_key_fingerprint=9DC858229FC7DD38854AE2D88D81803C0EBFCD88
readonly docker_repository=${SYNOS_DOCKER_REPOSITORY:-https://download.docker.com/linux/debian}
readonly default_mirror=http://deb.debian.org/debian
# Only these are taken from Debian 13 on Debian 12. runc stays: the newer one needs a newer libc.
readonly trixie_packages=(docker.io docker-cli docker-buildx docker-compose containerd)

etc_apt=/etc/apt
# What was written below it, and folders made there, until apt has installed from it.
written=() made=()

# Often there is no file at all to add.
shopt -s nullglob

# Sets missing_parts, group_missing and missing_python_package.
collect_missing() {
    find_missing_python_package
    find_missing_parts
    find_group_need
}

# The package that carries a part, by the family of packages in use.
package_of() {
    local family=$1 part=$2
    case $family:$part in
        *:iptables | *:ca-certificates) echo "$part" ;;
        docker:client) echo docker-ce-cli ;;
        docker:daemon) echo docker-ce ;;
        docker:buildx | docker:compose) echo "docker-$part-plugin" ;;
        docker:containerd | docker:runc) echo containerd.io ;;
        ubuntu:client | *:daemon) echo docker.io ;;
        ubuntu:compose) echo docker-compose-v2 ;;
        debian:client) echo docker-cli ;;
        *:buildx | *:compose) echo "docker-$part" ;;
        *) echo "$part" ;;
    esac
}

install_missing() {
    local family source_text packages=() part answer='' own_umask
    ((${#missing_parts[@]})) || [[ -n $missing_python_package || $group_missing == yes ]] || return 0
    # apt reads as the user _apt what is written here.
    own_umask=$(umask)
    umask 022
    apt_dir=$(mktemp -d)
    trap 'take_back; remove_apt_dir' EXIT
    choose_source
    for part in ${missing_parts[@]+"${missing_parts[@]}"}; do
        packages+=("$(package_of "$family" "$part")")
    done
    [[ -z $missing_python_package ]] || packages+=("$missing_python_package")
    if [[ -n ${DOCKER_HOST:-} && " ${packages[*]} " == *" docker.io "* ]]; then
        fail "$exit_host_not_fit" "no Docker client" "here it comes only with an engine, and DOCKER_HOST names one elsewhere" \
            "put a docker client $engine_minimum or newer on PATH, or unset DOCKER_HOST"
    fi
    if ((${#packages[@]})); then
        mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
    fi
    preview_packages
    show_intentions
    if is_interactive; then
        read -r -p "Go on? [y/N] " answer || true
        [[ $answer == [yY]* ]] || fail "$exit_host_not_fit" "not set up" "the answer was no; nothing was changed" \
            "docs/manual-setup.md tells how to do it by hand"
    fi
    require_root_access
    apply_packages
    require_all_parts
    remove_apt_dir
    trap - EXIT
    umask "$own_umask"
}

# Sets family and source_text, and lays a source and its pinning into the private apt state if one is needed.
choose_source() {
    family=$os_id
    source_text="the sources of this system"
    prepare_private_apt
    if is_installed docker-ce || is_installed docker-ce-cli; then
        family=docker
    fi
    if [[ $os_id == debian && ${os_version%%.*} == 12 ]] && needs_newer_docker; then
        if [[ $family != docker ]]; then
            use_docker_repository || use_trixie
        elif ! grep -rqsF -- "$docker_repository" "$etc_apt"/sources.list*; then
            # An earlier call took its source back after apt had installed a part.
            use_docker_repository || true
        fi
    fi
}

is_installed() {
    [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# Debian 12 has docker.io 20.10, without buildx and compose v2.
needs_newer_docker() {
    local part
    for part in ${missing_parts[@]+"${missing_parts[@]}"}; do
        [[ $part != client && $part != daemon && $part != buildx && $part != compose ]] || return 0
    done
    return 1
}

# Sets apt_options: apt on this host's sources, with lists and caches of its own.
prepare_private_apt() {
    local part
    # apt downloads as the user _apt, who must be able to enter.
    chmod 755 -- "$apt_dir"
    mkdir -p -- "$apt_dir"/{lists,cache,new}
    for part in sources.list.d preferences.d; do
        mkdir -- "$apt_dir/$part"
        [[ ! -d $etc_apt/$part ]] || cp -r -- "$etc_apt/$part/." "$apt_dir/$part/"
    done
    apt_options=(-o "Dir::State::lists=$apt_dir/lists" -o "Dir::Cache=$apt_dir/cache"
        -o "Dir::Etc::sourceparts=$apt_dir/sources.list.d" -o "Dir::Etc::preferencesparts=$apt_dir/preferences.d"
        -o Acquire::Languages=none -o Acquire::Retries=1 -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0)
}

# After an installation root owns some of it.
remove_apt_dir() {
    rm -rf -- "$apt_dir" 2>/dev/null || as_root rm -rf -- "$apt_dir"
}

# add_apt_file TARGET <content: for the preview now, for the host after the answer.
add_apt_file() {
    local target=$1
    mkdir -p -- "$apt_dir/new/${target%/*}"
    cat >"$apt_dir/new/$target"
    case $target in
        sources.list.d/* | preferences.d/*) cp -- "$apt_dir/new/$target" "$apt_dir/$target" ;;
    esac
}

# fetch URL FILE: the way apt does it, with its proxies, but without its patience.
fetch() {
    /usr/lib/apt/apt-helper -o Acquire::Retries=0 -o Acquire::http::Timeout=4 -o Acquire::https::Timeout=4 \
        download-file "$1" "$2" >/dev/null 2>&1 9>&-
}

# Docker's own repository, if it answers quickly and its key is the one we know.
use_docker_repository() {
    local key=$apt_dir/docker.asc gpg=(gpg --homedir "$apt_dir/gnupg" --batch --quiet --no-autostart)
    command -v gpg >/dev/null || return 1
    fetch "$docker_repository/gpg" "$key.served" || return 1
    # apt trusts every key of a file: only the known one is taken out of what was served.
    mkdir -m 700 -- "$apt_dir/gnupg"
    "${gpg[@]}" --import "$key.served" 2>/dev/null || true
    "${gpg[@]}" --armor --export "$docker_key_fingerprint" >"$key" 2>/dev/null || true
    if [[ $(primary_keys "$key") != "$docker_key_fingerprint" ]]; then
        say "not using $docker_repository: its key has the fingerprint $(primary_keys "$key.served"), not $docker_key_fingerprint"
        return 1
    fi
    add_apt_file keyrings/synos-docker.asc <"$key"
    add_apt_file sources.list.d/synos-docker.sources <<-END
	# Written by scripts/synos: Debian 12 itself has no Docker with buildx and compose v2.
	Types: deb
	URIs: $docker_repository
	Suites: bookworm
	Components: stable
	Signed-By: /etc/apt/keyrings/synos-docker.asc
	END
    # The preview cannot read a keyring that is not installed yet.
    sed -i "s|/etc/apt/keyrings/|$apt_dir/new/keyrings/|" "$apt_dir/sources.list.d/synos-docker.sources"
    family=docker
    source_text="$docker_repository (Docker's own repository; its key is verified)"
}

# primary_keys FILE: the fingerprints of all keys in it. A key can have another's as its subkey, which --export finds too.
primary_keys() {
    local found
    found=$("${gpg[@]}" --with-colons --show-keys "$1" 2>/dev/null |
        awk -F: '$1 == "pub" { primary = 1 } $1 == "fpr" && primary { print $10; primary = 0 }') || true
    echo "${found:-(none)}"
}

# Debian 13's packages, for the few names that are needed and for nothing else.
use_trixie() {
    local mirror security
    mirror=$(mirror_of bookworm trixie)
    mirror=${mirror:-$default_mirror}
    security=$(mirror_of bookworm-security trixie-security)
    {
        echo "# Written by scripts/synos: Debian 12 itself has no Docker with buildx and compose v2."
        echo "# What may come from here is limited in ../preferences.d/synos-trixie.pref."
        debian_source "$mirror" trixie
        # Only where this host gets security updates itself.
        [[ -z $security ]] || debian_source "$security" trixie-security
    } | add_apt_file sources.list.d/synos-trixie.sources
    # 990: as strong as an APT::Default-Release, and too weak to downgrade anything.
    add_apt_file preferences.d/synos-trixie.pref <<-END
	Explanation: written by scripts/synos; nothing comes from Debian 13 but what is named below
	Package: *
	Pin: release n=trixie*
	Pin-Priority: -1

	Package: ${trixie_packages[*]}
	Pin: release n=trixie*
	Pin-Priority: 990
	END
    source_text="Debian 13 at $mirror, pinned to: ${trixie_packages[*]}; everything else from this system's own sources"
}

# mirror_of SUITE NEWER: where this host gets a suite from, if the newer one is there too, else nothing.
# A source that does not answer would break every later `apt-get update` of this host.
mirror_of() {
    local mirror
    # shellcheck disable=SC2016  # apt's own placeholders
    mirror=$(apt-get indextargets --no-release-info --format '$(RELEASE) $(REPO_URI)' 2>/dev/null |
        awk -v suite="$1" '$1 == suite && !found { sub("/$", "", $2); print $2; found = 1 }')
    [[ -n $mirror ]] && fetch "$mirror/dists/$2/Release" "$apt_dir/cache/$2" || return 0
    echo "$mirror"
}

debian_source() {
    printf '%s\n' "Types: deb" "URIs: $1" "Suites: $2" "Components: main" \
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg" ""
}

# Sets to_install to what apt would do, one line a package.
preview_packages() {
    to_install=''
    ((${#packages[@]})) || return 0
    say "looking up: ${packages[*]}"
    # A source that has nothing to do with us may fail: only the simulation below decides.
    apt-get "${apt_options[@]}" -q update >"$apt_dir/update.log" 2>&1 9>&- || true
    if ! apt-get "${apt_options[@]}" -s --no-install-recommends --no-remove install "${packages[@]}" \
        >"$apt_dir/simulation.log" 2>&1; then
        cat -- "$apt_dir/update.log" "$apt_dir/simulation.log" >&2
        fail "$exit_engine" "cannot install: ${packages[*]}" "apt finds no way, see above; nothing was changed" \
            "check the sources of apt, or follow docs/manual-setup.md"
    fi
    # Inst NAME [OLD VERSION] (VERSION ORIGIN, ORIGIN [ARCH])
    to_install=$(sed -nE 's/^Inst ([^ ]+) (\[[^]]*\] )?\(([^ ]+) ([^ ,]+).*/\1 \3 (\4)/p' "$apt_dir/simulation.log")
}

show_intentions() {
    local file
    if [[ -n $to_install ]]; then
        say "to be installed from $source_text:"
        printf '    %s\n' "${to_install//$'\n'/$'\n    '}"
    fi
    for file in "$apt_dir"/new/*/*; do
        say "to be written: /etc/apt/${file#"$apt_dir/new/"}"
    done
    if [[ $group_missing == yes ]]; then
        say "to be done: add $USER to the group docker (anyone in it can become root)"
    fi
}

apply_packages() {
    local file target
    for file in "$apt_dir"/new/*/*; do
        target=$etc_apt/${file#"$apt_dir/new/"}
        ! cmp -s -- "$file" "$target" || continue
        if [[ -e $target ]]; then
            mkdir -p -- "$apt_dir/old${target%/*}"
            cp -- "$target" "$apt_dir/old$target"
        elif [[ ! -d ${target%/*} ]]; then
            made+=("${target%/*}")
        fi
        written+=("$target")
        as_root install -D -m 644 -- "$file" "$target"
    done
    if ((${#packages[@]})); then
        say "installing"
        show_on_failure "$setup_dir/apt.log" as_root env DEBIAN_FRONTEND=noninteractive apt-get "${apt_options[@]}" -q -y \
            --no-install-recommends --no-remove install "${packages[@]}" || fail "$exit_engine" \
            "cannot install: ${packages[*]}" "apt-get failed, see above" "mend what it complains about, then run the same command again"
        hash -r
    fi
    written=() made=()
    if [[ $group_missing == yes ]]; then
        as_root usermod --append --groups docker -- "$USER"
        say "$USER is in the group docker now; other shells see it after the next login"
    fi
}

# What is below /etc/apt as it was, where nothing was installed from it; called at every exit.
take_back() {
    local target
    for target in ${written[@]+"${written[@]}"}; do
        if [[ -e $apt_dir/old$target ]]; then
            as_root install -m 644 -- "$apt_dir/old$target" "$target"
        else
            as_root rm -f -- "$target"
        fi || {
            say "could not be taken back: $target"
            continue
        }
        say "taken back: $target"
    done
    for target in ${made[@]+"${made[@]}"}; do
        as_root rmdir -- "$target" || true
    done
    written=() made=()
}

# What apt installed may be hidden, for instance by an old client earlier on PATH.
require_all_parts() {
    find_missing_parts
    ((${#missing_parts[@]} == 0)) || fail "$exit_engine" "Docker is still incomplete" \
        "installed, but not found on PATH or too old: ${missing_parts[*]}" \
        "look for an older copy with: type -a docker dockerd"
}
