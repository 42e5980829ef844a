"""The verb of the remote store; see tasks.py."""

from __future__ import annotations

from synos_tasks.build.tasks_boot import context_of
from synos_tasks.cli import Command, one_of, verb


@verb(
    "build.store",
    positional=["action"],
    help={
        "action": "status: what is set up, and whether the store answers; push: write what this machine's store has of a "
        "profile's stages; trust: accept what a key signs",
        "profile": "with push: name of a file in docker/build/profiles (default: synos.build.profile of invoke.yaml)",
        "release": "with push: the stages of build.iso --release",
        "to": "with push: another address than synos.build.store",
        "key": "with trust: a public key of OpenSSH, or its file",
    },
    types={"action": one_of("status", "push", "trust")},
    example="push --profile standard",
)
def store(
    command: Command, action: str, profile: str = "", release: bool = False, to: str = "", key: str = ""
) -> None:
    """Share stages that were made with other machines, through a remote store (docs/remote-store.md)."""
    from synos_tasks.errors import WrongUse

    if bool(key) != (action == "trust"):
        what = "--key is only valid with trust" if key else "build.store trust needs --key"
        raise WrongUse(what, hint="--key 'ssh-ed25519 AAAA…', or the file of one")
    if action != "push" and (profile or release or to):
        raise WrongUse("--profile, --release and --to are only valid with push", hint="leave them out")
    if action == "trust":
        _trust(command, key)
    elif action == "push":
        _push(command, profile or command.settings.build.profile, to, release=release)
    else:
        _status(command)


def _trust(command: Command, key: str) -> None:
    from synos_tasks.build import trust

    path = trust.keys_path(command.settings)
    command.would(f"add a key to {path}", keys=str(path))
    name, new = trust.trust(command.settings, key)
    command.show(f"{name} is trusted{'' if new else ' already'}: {path}")
    command.result({"key": name, "new": new, "keys": str(path)})


def _push(command: Command, profile: str, to: str, *, release: bool) -> None:
    from synos_tasks.build import remote, store_client, trust, view
    from synos_tasks.build.iso_build import Options
    from synos_tasks.errors import WrongUse

    url = store_client.without_login(to or command.settings.build.store)
    if not url:
        raise WrongUse("there is no store to push to", hint="name it by --to, or in synos.build.store")
    command.would(f"push the stages of {profile} to {url}", profile=profile, store=url)
    trust.signing_key(command.settings)  # raises before the plan is made
    context = context_of(command)
    plan, _ = view.plan_of(
        context, Options(profile=profile, output=command.settings.output_dir, release=release)
    )
    pushed = remote.push(context, view.keys_of(plan), to)
    command.show(
        f"{url}: {pushed.entries} entries written, {pushed.there} were there; signed by {pushed.key}"
    )
    command.result({"store": url, "profile": profile, **vars(pushed)})


def _status(command: Command) -> None:
    from synos_tasks.build import remote, store_client, trust

    keys = trust.trusted_keys(command.settings)
    if command.settings.build.store:
        remote.RemoteStore(command.settings, keys, lambda _: None).check()
    url = store_client.without_login(command.settings.build.store)
    command.show(f"store: {f'{url} answers' if url else 'none; synos.build.store of invoke.yaml names one'}")
    command.show(f"trusted keys: {', '.join(keys) or 'none; `build.store trust --key KEY` adds one'}")
    command.result({"store": url, "keys": list(keys)})
