# shellcheck shell=bash disable=SC2034,SC2154  # the parts share their variables
# Python and .venv.

readonly python_minimum='(3, 11)'

# Sets python to the first one on PATH that is new enough, or to nothing.
find_python() {
    local name
    python=''
    for name in python3 python3.13 python3.12 python3.11; do
        if "$name" -c "import sys; sys.exit(sys.version_info < $python_minimum)" 2>/dev/null; then
            python=$(command -v "$name")
            return
        fi
    done
}

# Sets missing_python_package to what `python -m venv` needs on this system, or to nothing.
# Debian and Ubuntu split ensurepip off into a package of its own.
find_missing_python_package() {
    local version
    find_python
    missing_python_package=''
    if [[ -z $python ]]; then
        # Ubuntu 22.04's python3 is 3.10.
        missing_python_package=python3-venv
        [[ $os_id != ubuntu || $os_version != 22.* ]] || missing_python_package=python3.11-venv
    elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        missing_python_package=python$version-venv
    fi
}

# Makes .venv from requirements.lock. It is never repaired, always made from nothing: what an interrupted
# call or an older lock left cannot be distinguished from what belongs there.
ensure_venv() {
    ! venv_is_ready || return 0
    if venv_is_made; then
        write_inv
        return
    fi
    find_python
    [[ -n $python ]] || fail "$exit_host_not_fit" "no suitable Python" "Python 3.11 or newer is needed" \
        "install one as python3 or python3.11 to python3.13 on PATH"
    [[ -r requirements.lock ]] || fail "$exit_host_not_fit" "cannot make .venv" \
        "requirements.lock is missing in $root" "restore it from git"
    say "making .venv with $("$python" --version) from requirements.lock"
    rm -rf -- .venv "$setup_dir/venv"
    # Installed from the copy: an edit of the original meanwhile must not pass as installed.
    cp -- requirements.lock "$setup_dir/requirements.lock"
    show_on_failure "$setup_dir/pip.log" "$python" -m venv .venv || fail "$exit_host_not_fit" \
        "cannot make .venv" "$python -m venv failed, see above" "install the package with its venv module"
    # Not isolated from the person's pip settings on purpose: an index or proxy of their own is set there,
    # and the hashes guard the content.
    show_on_failure "$setup_dir/pip.log" env PIP_USER=0 .venv/bin/python -m pip install --disable-pip-version-check --no-input \
        --require-hashes -r "$setup_dir/requirements.lock" || fail "$exit_host_not_fit" \
        "cannot install what requirements.lock lists" "pip failed, see above" \
        "check the network and pip's index settings, then run the same command again"
    write_inv
}

# Puts ours in the place of Invoke's own script. The first lines are as pip writes them: a path may be long, or have spaces.
write_inv() {
    {
        printf '%s\n' '#!/bin/sh' "'''exec' \"$root/.venv/bin/python\" \"\$0\" \"\$@\"" "' '''"
        cat scripts/setup/inv.py
    } >.venv/bin/inv.new
    chmod 755 .venv/bin/inv.new
    mv -- .venv/bin/inv.new .venv/bin/inv
    printf '%s\n' "$root" "$(readlink -f -- .venv/bin/python)" "$inv_version" >"$setup_dir/venv.new"
    mv -- "$setup_dir/venv.new" "$setup_dir/venv"
}
