# Tests the profile script under dash and bash, with a tty(1) and a synos-welcome of our own.
set -u
# shellcheck source=tests/lib.sh
. "${0%/*}/lib.sh"

profile=$(cd "${0%/*}/.." && pwd)/profile.d/synos-welcome.sh
mkdir "$scratch/bin" "$scratch/broken" "$scratch/without"
cat >"$scratch/bin/tty" <<'END'
#!/bin/sh
echo "$FAKE_TTY"
END
cat >"$scratch/bin/synos-welcome" <<'END'
#!/bin/sh
echo GREETED
END
cp "$scratch/bin/tty" "$scratch/broken/"
cp "$scratch/bin/tty" "$scratch/without/"
printf '#!/bin/sh\nexit 3\n' >"$scratch/broken/synos-welcome"
chmod +x "$scratch"/*/*

# login TTY SHELL-COMMAND-LINE: what the shell prints on a terminal with that name, its errors too. The
# environment is empty and there are no start files, so that neither has a say in it.
login() {
    cat >"$scratch/command" <<END
exec env -i HOME="$scratch" PATH="$scratch/${bin:-bin}:/usr/bin:/bin" TERM=linux PS1= FAKE_TTY='$1' $2
END
    # an interactive dash ends with an empty line
    in_terminal "sh $scratch/command" | sed '/^$/d'
}

script_of() {
    printf '%s\n' "$1" >"$scratch/script"
}

test_shell() {
    shell=$1
    norc=${2:-}
    strict="$shell $norc -i -e -u $scratch/script"

    script_of ". '$profile'; echo END"
    for tty in /dev/tty1 /dev/tty12 /dev/ttyS0; do
        check_text "$shell: login on $tty" "$(login $tty "$shell $norc -i $scratch/script")" 'GREETED
END'
    done
    for tty in /dev/pts/0 /dev/tty /dev/console /dev/ttyUSB0 'not a tty'; do
        check_text "$shell: login on $tty" "$(login "$tty" "$shell $norc -i $scratch/script")" END
    done
    check_text "$shell: set -eu" "$(login /dev/tty1 "$strict")" 'GREETED
END'
    check_text "$shell: set -eu elsewhere" "$(login /dev/pts/0 "$strict")" END
    check_text "$shell: not interactive" "$(login /dev/tty1 "$shell $norc -e -u $scratch/script")" END
    for name in SSH_CONNECTION SSH_TTY SUDO_USER SYNOS_WELCOME_SHOWN; do
        check_text "$shell: with $name" "$(login /dev/tty1 "$name=x $strict")" END
    done
    check_text "$shell: broken program" "$(bin=broken login /dev/tty1 "$strict")" END
    check_text "$shell: no program" "$(bin=without login /dev/tty1 "$strict")" END

    script_of ". '$profile'; . '$profile'; $strict-inner; echo END"
    printf '%s\n' ". '$profile'; echo INNER" >"$scratch/script-inner"
    check_text "$shell: once" "$(login /dev/tty1 "$strict")" 'GREETED
INNER
END'
    script_of "captured=\$(. '$profile'); echo \"<\$captured>\""
    check_text "$shell: output captured" "$(login /dev/tty1 "$strict")" '<>'
    script_of ". '$profile'; command -v _synos_welcome || echo GONE"
    check_text "$shell: leaves no function" "$(login /dev/pts/0 "$strict")" GONE
}

# this much can be tested without a terminal
for shell in dash bash; do
    check_text "$shell: in a pipe" "$($shell -e -u -c ". '$profile'; echo END" 2>&1)" END
done
if has_terminals; then
    test_shell dash
    test_shell bash --norc
else
    echo "$0: no terminals here, logins go untested"
fi

finish profile
