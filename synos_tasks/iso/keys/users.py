"""The users of the system."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import slip_of
from synos_tasks.iso.key import Expected, Key, Said, mistake, repeated, same_file
from synos_tasks.iso.schema import boolean, choice, integer, list_of, mapping, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from synos_tasks.errors import ProfileError
    from synos_tasks.iso.profile import Profile
    from synos_tasks.iso.system import System

_NAME = "lower-case letters, digits, - and _; a letter first; 31 characters at most"
_USER = mapping(
    {
        "name": text(r"[a-z][a-z0-9_-]{0,30}", "a user name", "Login name; may be `root` or a user that a package creates.", allowed=_NAME),
        "full_name": text(r'[^:,"$`\\\x00-\x1f]{1,60}', "a name without : , and quotes", "Full name."),
        "uid": integer(1000, 59999, "Without it: the next free one."),
        "groups": list_of(text(r"[a-z_][a-z0-9_-]{0,30}", "a group", allowed=_NAME), "Further groups; what no package makes is made."),
        "password_hash": text(
            r"\$(y|6|5|2b|gy)\$[A-Za-z0-9./$=,]+", "a crypt(3) hash", "Without it no password works.",
            allowed="what `mkpasswd` or `openssl passwd -6` prints; put it in quotes",
        ),
        "ssh_keys": list_of(
            text(
                r"(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
                r" [A-Za-z0-9+/]{40,}=*( [^\x00-\x1f]*)?",
                "a public SSH key", allowed="the line of a .pub file, such as `ssh-ed25519 AAAA… name`",
            ),
            "Public keys that may log in.",
        ),
        "shell": text(r"/[A-Za-z0-9._/+-]+", "an absolute path", "Login shell, /bin/bash by default.", allowed="a path such as /bin/bash"),
        "sudo": choice("none", "password", "nopasswd", doc="`password`: sudo asks for the user's password; `nopasswd`: it does not."),
        "autologin": boolean("Log in automatically, on consoles and the desktop. One user at most."),
    },
    required=("name",),
)  # fmt: skip


def _contradictions(said: Said) -> Iterator[ProfileError]:
    users = said.value("users").items
    for part, what in (("name", "user"), ("uid", "uid")):
        for one in repeated(user.entries[part] for user in users if part in user.entries):
            yield mistake(one, f"{what} {one.data} appears twice", "leave one of them out")
    logged_in = [user for user in users if user.plain.get("autologin")]
    for user in logged_in[1:]:
        first = logged_in[0].plain["name"]
        what = f"{first} and {user.plain['name']} both have `autologin`"
        yield mistake(user.entries["autologin"], what, "only one user can: leave it out of the other")
    for group in [one for user in users for one in user.value("groups").items if one.data == "wheel"]:
        yield mistake(group, "Debian has no group wheel", "`sudo: password` lets the user become root")


def _packages(users: list[dict[str, Any]]) -> list[str]:
    return ["sudo"] if any(user.get("sudo", "none") != "none" for user in users) else []


def nobody_can_log_in(profile: Profile) -> bool:
    """Tell whether all that a person could do with the system is to look at its prompt."""
    ways = ("password_hash", "ssh_keys", "autologin")
    return not any(user.get(way) for user in profile.values.get("users", []) for way in ways)


def ways_in(profile: Profile) -> list[str]:
    """Return how each user logs in, in words; users without a way are left out."""
    words = {
        "autologin": "is logged in automatically",
        "password_hash": "password: that of the profile",
        "ssh_keys": "SSH key",
    }
    found = {
        user["name"]: [words[way] for way in words if user.get(way)]
        for user in profile.values.get("users", [])
    }
    return [f"{name} ({', '.join(ways)})" for name, ways in found.items() if ways]


AUTHORIZE = """\
home=$(getent passwd "$0" | cut -d : -f 6)
install -d -m 700 -o "$0" -g "$(id -g "$0")" "$home/.ssh"
cat >"$home/.ssh/authorized_keys"
chmod 600 "$home/.ssh/authorized_keys"
chown "$0:" "$home/.ssh/authorized_keys"
"""
GETTY = "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin {name} --noclear {options}%I $TERM\n"
MANAGERS = {
    "usr/sbin/lightdm": ("etc/lightdm/lightdm.conf.d/50-synos.conf", "[Seat:*]\nautologin-user={name}\nautologin-user-timeout=0\n"),
    "usr/sbin/gdm3": ("etc/gdm3/daemon.conf", "[daemon]\nAutomaticLoginEnable=true\nAutomaticLogin={name}\n"),
    "usr/bin/sddm": ("etc/sddm.conf.d/synos.conf", "[Autologin]\nUser={name}\n"),
    "usr/sbin/lxdm": ("etc/lxdm/lxdm.conf.d/synos.conf", "[base]\nautologin={name}\n"),
}  # fmt: skip
"""Display managers, and how each logs a user in."""


def apply(system: System, users: list[dict[str, Any]]) -> None:
    """Make users and groups; raise ProfileError for a shell that is not there, and a group that is probably misspelt."""
    there, groups = system.names("etc/passwd"), system.names("etc/group")
    groups += [user["name"] for user in users]
    for index, user in enumerate(users):
        key, name = f"users[{index}]", user["name"]
        if "shell" in user and not system.has(user["shell"].lstrip("/")):
            hint = "add its package to `packages`"
            raise system.mistake(f"{key}.shell", f"there is no {user['shell']}", hint)
        for position, group in enumerate(user.get("groups", [])):
            _make_group(system, f"{key}.groups[{position}]", group, groups)
        options = [f"--comment={user['full_name']}"] if "full_name" in user else []
        options += [f"--uid={user['uid']}"] if "uid" in user else []
        if name in there:
            argv = ["usermod", *options, *([f"--shell={user['shell']}"] if "shell" in user else [])]
        else:
            argv = [
                "useradd",
                "--create-home",
                "--user-group",
                f"--shell={user.get('shell', '/bin/bash')}",
                *options,
            ]
        if options or argv[0] == "useradd" or "shell" in user:
            system.run([*argv, name], key=key)
    for index, user in enumerate(users):
        _let_in(system, f"users[{index}]", user)


def _make_group(system: System, key: str, group: str, there: list[str]) -> None:
    """Make a group that nothing else has made: netdev is there with some of the packages that ask for it alone."""
    if group in there:
        return
    if meant := slip_of(group, there):
        raise system.mistake(key, f"there is no group {group!r}", f"did you mean {meant!r}?")
    system.context.events.warn(f"no package makes the group {group}; it is made")
    system.run(["groupadd", "--system", group], key=key)
    there.append(group)


def _groups(user: dict[str, Any]) -> list[str]:
    return [*user.get("groups", []), *(["sudo"] if user.get("sudo") == "password" else [])]


def _let_in(system: System, key: str, user: dict[str, Any]) -> None:
    name, sudo = user["name"], user.get("sudo", "none")
    if groups := _groups(user):
        system.run(["usermod", "--append", f"--groups={','.join(groups)}", name], key=f"{key}.groups")
    if sudo == "nopasswd":
        system.write(f"etc/sudoers.d/synos-{name}", f"{name} ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440)
    if "password_hash" in user:
        system.run(
            ["chpasswd", "--encrypted"], key=f"{key}.password_hash", stdin=f"{name}:{user['password_hash']}\n"
        )
    if user.get("ssh_keys"):
        lines = "".join(f"{line}\n" for line in user["ssh_keys"])
        system.run(["sh", "-euc", AUTHORIZE, name], key=f"{key}.ssh_keys", stdin=lines)
    if user.get("autologin"):
        _log_in(system, name)


def _log_in(system: System, name: str) -> None:
    for unit, options in (("getty@tty1", ""), ("serial-getty@ttyS0", "--keep-baud 115200,57600,38400,9600 ")):
        text = GETTY.format(name=name, options=options)
        system.write(f"etc/systemd/system/{unit}.service.d/synos-autologin.conf", text)
    for program, (path, text) in MANAGERS.items():
        if system.has(program):
            system.write(path, text.format(name=name))


def expect(_profile: Profile, users: list[dict[str, Any]]) -> Iterable[Expected]:
    """Expect that each is there with all that is said of them, and that one is logged in."""
    for user in users:
        name, what = user["name"], f"user {user['name']}"
        sudo = user.get("sudo", "none")
        groups = sorted({*_groups(user), name})
        yield Expected(f"{what}: groups", " ".join(groups), f"id -Gn {name} | tr ' ' '\\n' | sort | xargs")
        yield Expected(
            f"{what}: shell", user.get("shell", "/bin/bash"), f"getent passwd {name} | cut -d : -f 7"
        )
        if "full_name" in user:
            yield Expected(f"{what}: full name", user["full_name"], f"getent passwd {name} | cut -d : -f 5")
        if "uid" in user:
            yield Expected(f"{what}: uid", str(user["uid"]), f"id -u {name}")
        shadow = f"getent shadow {name} | cut -d : -f 2"
        if "password_hash" in user:  # this file can be read by all
            digest = hashlib.sha256(f"{user['password_hash']}\n".encode()).hexdigest()
            yield Expected(f"{what}: password", digest[:16], f"{shadow} | sha256sum | cut -c 1-16")
        else:
            yield Expected(f"{what}: no password is right", "locked", f"{shadow} | sed 's/^[!*].*/locked/'")
        if user.get("ssh_keys"):
            digest = hashlib.sha256("".join(f"{line}\n" for line in user["ssh_keys"]).encode()).hexdigest()
            yield same_file(f"{what}: SSH keys", f"~{name}/.ssh/authorized_keys", digest)
        if sudo == "nopasswd":
            yield Expected(
                f"{what}: sudo",
                "yes",
                f"setpriv --reuid={name} --regid={name} --init-groups sudo -n true && printf yes",
            )
        if user.get("autologin"):
            # the session may begin a moment after the boot has ended
            look = f'[ -z "$(find /proc -maxdepth 1 -user {name})" ] || {{ printf yes; break; }}'
            yield Expected(f"{what}: logged in", "yes", f"for _ in 1 2 3 4 5 6 7 8; do {look}; sleep 1; done")


KEY = Key(
    kind=list_of(_USER, "Users, who are made while the ISO is built."),
    default=[],
    check=_contradictions,
    packages=_packages,
    apply=apply,
    expect=expect,
    aliases=(
        "user",
        "accounts",
        "username",
        "user_fullname",
        "user_default_groups",
        "root_password",
        "rootpw",
        "passwd",
        "password",
        "autologin",
        "live_user",
    ),
    example="[{name: kim, groups: [audio, video], sudo: nopasswd, autologin: true}]",
)
