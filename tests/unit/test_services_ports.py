"""Ports that a stack publishes: whether they are free, and what is said of those that are not."""

from __future__ import annotations

import pytest

from synos_tasks.errors import PortTaken
from synos_tasks.services.ports import Taken, refuse, taken
from synos_tasks.services.stack import Port, Service


def service(name: str, *ports: int, address: str = "127.0.0.1") -> Service:
    published = tuple(Port(address=address, published=port, target=1) for port in ports)
    return Service(
        name=name, image="x", uid=1, gid=1, ports=published, secrets=(), volumes=(), tool=False
    )  # fmt: skip


class Machine:
    """Has listeners, by port, each with the name of its process."""

    def __init__(self, **listeners: str) -> None:
        self.listeners = {int(port.removeprefix("p")): name for port, name in listeners.items()}
        self.asked: list[tuple[str, int]] = []

    def is_taken(self, address: str, port: int) -> bool:
        self.asked.append((address, port))
        return port in self.listeners

    def taken(
        self, *services: Service, published: dict[int, str] | None = None, own: tuple[str, ...] = ()
    ) -> list[Taken]:
        return taken(services, published or {}, own, self.is_taken, lambda port: self.listeners[port])


def test_free_ports_are_no_trouble() -> None:
    machine = Machine()
    assert machine.taken(service("redis", 6379), service("nats", 4222)) == []
    assert machine.asked == [("127.0.0.1", 6379), ("127.0.0.1", 4222)]


def test_a_process_that_has_a_port_is_named() -> None:
    [found] = Machine(p6379="redis-server (process 7)").taken(service("redis", 6379), service("nats", 4222))
    assert (found.service, found.port.published, found.holder) == ("redis", 6379, "redis-server (process 7)")


def test_a_container_that_has_a_port_is_named_and_not_its_proxy() -> None:
    machine = Machine(p6379="docker-proxy (process 7)")
    [found] = machine.taken(service("redis", 6379), published={6379: "other-redis-1"})
    assert found.holder == "container other-redis-1"


def test_a_holder_that_nobody_can_see_is_unknown() -> None:
    [found] = Machine(p6379="").taken(service("redis", 6379))
    assert found.holder == "an unknown process"


def test_ports_of_this_stacks_own_containers_are_its_own() -> None:
    machine = Machine(p6379="docker-proxy (process 7)")
    found = machine.taken(service("redis", 6379), published={6379: "mine-redis-1"}, own=("mine-redis-1",))
    assert (found, machine.asked) == ([], [])


def test_a_port_that_the_engine_chooses_is_never_taken() -> None:
    machine = Machine(p0="x")
    assert machine.taken(service("redis", 0)) == []
    assert machine.asked == []


def test_a_container_at_another_address_is_no_trouble() -> None:
    assert Machine().taken(service("redis", 6379), published={6379: "elsewhere"}) == []


def test_every_port_that_is_taken_is_told_and_the_setting_that_moves_it() -> None:
    machine = Machine(p1="a", p2="b", p3="c")
    found = machine.taken(service("nats", 1), service("redis", 2, 9), service("my-db", 3, address="::1"))
    with pytest.raises(PortTaken) as caught:
        refuse(found)
    error = caught.value
    assert error.what == (
        "port 1 of nats is taken by a; port 2 of redis is taken by b; port 3 of my-db is taken by c"
    )
    assert error.where == "127.0.0.1:1, 127.0.0.1:2, ::1:3"
    assert error.why == "nothing was started"
    settings = "synos.services.nats_port, synos.services.redis_port, synos.services.my_db_port"
    assert error.hint.endswith(f"invoke.yaml: {settings}")


def test_none_taken_is_refused_for_nothing() -> None:
    refuse([])
