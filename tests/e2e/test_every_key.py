"""A profile that says something else than the default for every key: it boots, and is all that it says."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from synos_tasks.iso import profile as profiles
from tests.unit.deb_files import deb, stanza

if TYPE_CHECKING:
    from tests.build_helpers import Answer, Clone

pytestmark = pytest.mark.e2e
HASH = "$6$abcdefgh$Qm9b0OSEQH0pFMNHyqJmrkKQnmRCSJgc3mQWbLxSRt5f3VJ0qEoFdVOyBNBKqLwMtT8mEPnxGO2q8BrwSQ1cG/"
PROFILE = f"""\
description: Every key off its default
inherits: minimal
suite: bookworm
architecture: amd64
bootstrapper: debootstrap
mirrors: {{suites: [release, updates, security], components: [main, contrib]}}
distribution: {{id: kiosk-os, name: Kiosk OS, version: "1.0", codename: otter, url: "https://kiosk.example", support_url: "https://kiosk.example/s",
  bug_url: "https://kiosk.example/b", iso_label: KIOSK_1, iso_name: kiosk-1.0, grub_title: Start it, splash: overlays/kiosk/usr/share/kiosk.png}}
hostname: kiosk-7
locale: de_DE.UTF-8
locales: [fr_FR.UTF-8]
timezone: Europe/Berlin
keyboard: {{layout: "us,cz", variant: ",bksl", model: pc104, options: "grp:alt_shift_toggle"}}
users:
  - {{name: kim, full_name: Kim Kiosk, uid: 1234, groups: [audio, video], password_hash: "{HASH}", sudo: password, autologin: true, shell: /bin/dash}}
  - {{name: ann, ssh_keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxLhKp5ExyYmfHhLTWAN7ZpPzJo0Dp5xdUc7GFsCFkd ann"], sudo: nopasswd}}
  - {{name: root, password_hash: "{HASH}"}}
ssh: {{password_login: true}}
services: {{enable: [fstrim.timer], disable: [ssh], mask: [apt-daily.timer]}}
debconf: ["tzdata tzdata/Areas select Europe"]
plymouth: spinner
packages: [munge, open-iscsi, ssl-cert, nvme-cli, own]
repositories: [backports]
debs: [debs/own]
recommends: true
components: [synos-welcome]
overlays: [overlays/kiosk]
files: [{{path: /etc/kiosk.d/secret, content: "a", owner: kim, mode: "0600"}}]
hooks: [{{script: hooks/kiosk, stage: before-squash, inputs: [overlays/kiosk/etc]}}]
iso_files: [{{path: /README, source: hooks/kiosk}}]
kernel_arguments: [quiet, 'acpi_osi=!', 'kiosk="a b"']
boot: {{firmware: [bios], timeout: 1, entries: [{{title: "Kiosk $1", arguments: [kiosk=1]}}, {{title: Rescue, arguments: [single]}}], persistence: true}}
compression: {{algorithm: zstd, level: 4}}
"""
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAEElEQVR4nGP4z8DAAMEQAAAdzgH/8E7EmgAAAABJRU5ErkJggg=="
)


@pytest.fixture(scope="module")
def every_key(warm: Clone) -> Answer:
    warm.add("docker/build/profiles/every-key.yaml", PROFILE)
    warm.add("docker/build/hooks/kiosk", "#!/bin/sh\necho kiosk >/etc/kiosk\n")
    warm.add("docker/build/overlays/kiosk/etc/motd", "welcome\n")
    picture = warm.root / "docker/build/overlays/kiosk/usr/share/kiosk.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(PNG)
    package = warm.root / "docker/build/debs/own/own_1.0_all.deb"
    package.parent.mkdir(parents=True)
    package.write_bytes(deb(stanza("own", "1.0", "all")))
    return warm.inv("build.iso", "--profile", "every-key")


def test_the_profile_has_every_key() -> None:
    assert set(yaml.safe_load(PROFILE)) == set(profiles.keys())


def test_it_bears_its_own_name(every_key: Answer) -> None:
    iso = Path(every_key.json["iso"])
    assert iso.name == f"kiosk-1.0-{every_key.json['build_id']}.iso"
    with iso.open("rb") as stream:
        stream.seek(0x8000 + 40)  # the volume id: ECMA-119, 8.4.7
        assert stream.read(32).decode().strip() == "KIOSK_1"


def test_it_runs_as_it_says(warm: Clone, every_key: Answer) -> None:
    report = warm.inv("build.boot", "--iso", every_key.json["iso"], "--timeout", "1800").json["report"]
    assert report["different"] == []
    assert report["checked"] > 40
    assert (report["os"], report["hostname"], report["build_id"]) == (
        "kiosk-os",
        "kiosk-7",
        every_key.json["build_id"],
    )
