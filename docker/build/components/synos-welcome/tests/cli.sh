# Tests the command line. Arguments: the program, the version it has to be.
set -u
# colour is wanted unless a test says otherwise
export LC_ALL=C.UTF-8 TERM=linux
unset NO_COLOR
# shellcheck source=tests/lib.sh
. "${0%/*}/lib.sh"

program=$1
version=$2
escape=$(printf '\033')
out=$scratch/out
err=$scratch/err

# run ARGUMENT...: leaves $out, $err and $status
run() {
    "$program" "$@" >"$out" 2>"$err"
    status=$?
}

# has FILE TEXT: whether a line of it is exactly that
has() {
    grep -qxF -e "$2" "$1"
}

refuses() {
    run "$@"
    check_text "status of $*" "$status" 2
    check_not "output of $*" test -s "$out"
    check "help in the error of $*" has "$err" "Try 'synos-welcome --help'."
}

cannot_read() {
    reason=$1
    shift
    run "$@"
    check_text "status of $*" "$status" 1
    check_not "output of $*" test -s "$out"
    check_text "error of $*" "$(cat "$err")" "synos-welcome: cannot read '$2': $reason"
}

# At most 80 characters a line (of UTF-8: its continuation bytes do not count) and no control characters.
is_tidy() {
    ! LC_ALL=C tr -d '\200-\277' <"$1" | LC_ALL=C grep -qE '.{81}' &&
        [ -z "$(tr -d '\n' <"$1" | LC_ALL=C tr -cd '\001-\037\177')" ] &&
        ! grep -q "$(printf '\302\233')" "$1"
}

cat >"$scratch/os-release" <<'END'
PRETTY_NAME="SynOS \"1.0\""
NAME='SynOS'
BUILD_ID=20260101-abc
VARIANT=Desktop
END
cat >"$scratch/passwd" <<'END'
root:x:0:0:root:/root:/bin/bash
service:x:1000:1000::/:/usr/sbin/nologin
synos:x:1001:1001::/home/synos:/bin/bash
END
user=synos

run --help
check_text 'status of --help' "$status" 0
for option in --plain --os-release --passwd --help --version; do
    check "$option in the help" grep -q -e "^  $option " "$out"
done
check 'tidy help' is_tidy "$out"

run --version
check_text 'status of --version' "$status" 0
check_text 'version' "$(cat "$out")" "synos-welcome $version"
check 'version of the manual page' grep -q "^\.TH .*\"synos-welcome $version\"" "${0%/*}/../man/synos-welcome.1"

refuses --nonsense
refuses -x
refuses argument
refuses --plain -- argument
refuses --os-release
refuses --passwd
refuses --plain=yes

cannot_read 'No such file or directory' --os-release "$scratch/none"
cannot_read 'No such file or directory' --passwd "$scratch/none"
cannot_read 'Is a directory' --os-release "$scratch"
cannot_read 'Is a directory' --passwd "$scratch"
cannot_read 'File too large' --os-release /dev/zero

run --os-release "$scratch/os-release" --passwd "$scratch/passwd"
check_text 'status of a greeting' "$status" 0
check_not 'errors of a greeting' test -s "$err"
check 'product' has "$out" '  Welcome to SynOS "1.0"'
check 'build' has "$out" '  build    20260101-abc'
check 'profile' has "$out" '  profile  Desktop'
check 'host' has "$out" "  host     $(uname -n)"
check 'network' grep -q '^  network  .' "$out"
check 'user' has "$out" "  user     $user"
check_not 'colour in a pipe' grep -q "$escape" "$out"
check 'tidy greeting' is_tidy "$out"

run
check_text 'status without options' "$status" 0
check 'tidy greeting without options' is_tidy "$out"

run --os-release /dev/null --passwd /dev/null
check_text 'status with empty files' "$status" 0
check 'product of an empty file' has "$out" '  Welcome to Linux'
check 'build of an empty file' has "$out" '  build    unknown'
check_not 'profile of an empty file' grep -q '^  profile' "$out"
check_not 'user of an empty file' grep -q '^  user' "$out"

# shellcheck disable=SC2016 # nothing may run these commands
test_hostile_files() {
    long=$(printf '%0500d' 0)
    {
        printf 'NAME="\033]0;title\a\033[2J$(touch %s/touched) \302\233\200\355\240\200%s"\n' "$scratch" "$long"
        printf 'BUILD_ID="\303\274\344\270\255%s"\nVARIANT="\000\r\b\342\200\256x"\nPRETTY_NAME="open\n' "$long"
        printf 'VARIANT_ID=`touch %s/touched`\n' "$scratch"
    } >"$scratch/hostile"
    printf 'a\033[31mb%s:x:1000:1000::/:/bin/sh\n' "$long" >"$scratch/hostile-passwd"
    run --os-release "$scratch/hostile" --passwd "$scratch/hostile-passwd"
    check_text 'status with hostile files' "$status" 0
    check 'tidy greeting with hostile files' is_tidy "$out"
    check_not 'invalid UTF-8 with hostile files' grep -qavx '.*' "$out"
    check 'hostile name' grep -qF '  Welcome to ]0;title[2J$(touch ' "$out"
    check 'hostile build' grep -q "^  build    $(printf '\303\274\344\270\255')0*\.\.\.$" "$out"
    check 'hostile profile' has "$out" '  profile  x'
    check 'hostile user' grep -q '^  user     a\[31mb0*\.\.\.' "$out"
    check_not 'anything of them run' test -e "$scratch/touched"
}
test_hostile_files

LC_ALL=C run --os-release "$scratch/hostile" --passwd "$scratch/hostile-passwd"
check_text 'bytes beyond ASCII in a locale without UTF-8' "$(LC_ALL=C tr -d '\000-\177' <"$out" | wc -c)" 0

if [ -w /dev/full ]; then
    for option in --plain --help --version; do
        "$program" "$option" >/dev/full 2>"$err"
        check_text "status of $option on a full device" $? 1
        check_text "error of $option on a full device" "$(cat "$err")" \
            'synos-welcome: cannot write: No space left on device'
    done
fi

if has_terminals; then
    check_text 'colour on a terminal' "$(in_terminal "$program" | grep -c "$escape\[1mWelcome")" 1
    check_text 'colour with NO_COLOR' "$(in_terminal "env NO_COLOR=1 $program" | grep -c "$escape")" 0
    check_text 'colour with an empty NO_COLOR' "$(in_terminal "env NO_COLOR= $program" | grep -c "$escape")" 0
    check_text 'colour with --plain' "$(in_terminal "$program --plain" | grep -c "$escape")" 0
    check_text 'colour on a dumb terminal' "$(in_terminal "env TERM=dumb $program" | grep -c "$escape")" 0
else
    echo "$0: no terminals here, colour on them goes untested"
fi

finish cli
