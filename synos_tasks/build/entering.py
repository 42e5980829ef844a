"""`inv build.shell --in PROFILE`: a shell in the system that the ISO of a profile holds.

The builder unpacks the layers and asks for a stage container, as for a hook; `docker exec` is the shell in it. A terminal
could not be the container's own standard input, which is its lease.
"""

from __future__ import annotations

import dataclasses
import os
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from synos_tasks import builder
from synos_tasks.build import planning
from synos_tasks.build.containers import builder_spec, stage_spec
from synos_tasks.build.iso_build import Build
from synos_tasks.iso import protocol
from synos_tasks.iso.stage_containers import BUSYBOX, STREAMS
from synos_tasks.iso.tools import BASE_ENVIRONMENT

if TYPE_CHECKING:
    from synos_tasks.build.iso_build import Options
    from synos_tasks.build.planning import Context
    from synos_tasks.engine.spec import ContainerSpec
    from synos_tasks.iso.plan import Plan

WITHOUT_SETPCAP = (
    "/synos/setpriv/ld.so", "--library-path", "/synos/setpriv", "/synos/setpriv/setpriv",
    "--bounding-set=-setpcap", "--inh-caps=-setpcap",
)  # fmt: skip
"""As docker/build/image/enter has it: what runs may not trace the process that ends it."""


ANY_SHELL = f'. {STREAMS}/variables; command -v bash >/dev/null && exec bash "$@"; exec sh "$@"'
"""With the proxies of the host, as hooks have them."""


class _Left(Exception):
    """The shell ended, with an exit code."""


def enter(context: Context, options: Options, command: str) -> int:
    """Run a shell, or ``command`` in one, in the system of a profile; return its exit code. Missing layers are made.

    Nothing of it is kept. Raises a SynosError.
    """
    profile = planning.read_profile(context.settings, options.profile)
    build = Build(context, options, profile)
    return build.make(partial(_enter, build, command))


def spec_of(context: Context, plan: Plan, store: str | None) -> ContainerSpec:
    """Return the builder that unpacks a system; the containers of its stages have its host name."""
    spec = builder_spec(
        context, store=store, packages_bytes=sum(package.size for package in plan.lock.packages)
    )
    return dataclasses.replace(spec, hostname=plan.profile.values["hostname"])


def _enter(build: Build, command: str, plan: Plan, store: str, compiles: bool) -> int:
    context = build.context
    request = protocol.Unpack(
        plan=plan,
        apart=True,
        store_key=builder.store_key(context.settings),
        secrets=builder.secrets_of(context),
    )
    containers: list[str] = []

    def note(spec: ContainerSpec, volume: str, wanted: protocol.RunApart) -> ContainerSpec:
        made = stage_spec(spec, volume, wanted)
        containers.append(made.name)
        return made

    with ExitStack() as screen:
        stages = [name for name in plan.stage_names if name not in {"squashfs", "bootfiles", "iso"}]
        view = screen.enter_context(build.view([*stages, protocol.UNPACK]))
        if compiles:
            build.compile(store, plan, view.handle)

        def follow(event: protocol.Event) -> None:
            view.handle(event)
            if event == protocol.Log(stage=protocol.SHELL, line=protocol.READY):
                screen.close()
                raise _Left(_shell(context, containers[-1], command))

        try:
            spec = spec_of(context, plan, store)
            builder.ask(
                context, spec, request, protocol.Delivered, follow, stage_spec=note, remote=build.remote
            )
        except _Left as left:
            return int(left.args[0])
    raise AssertionError("there is no answer to an Unpack")


def _shell(context: Context, container: str, command: str) -> int:
    variables = {**BASE_ENVIRONMENT, "TERM": os.environ.get("TERM", "dumb")}
    words = ["sh", "-c", ANY_SHELL, "sh", *(["-c", command] if command else [])]
    clean = [BUSYBOX, "env", "-i", *(f"{name}={value}" for name, value in variables.items()), *words]
    return context.docker.execute(
        container, [*WITHOUT_SETPCAP, *clean], user="0:0", workdir="/", environment={}, attached=True
    )
