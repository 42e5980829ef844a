"""A client of the Debug Adapter Protocol: drives an adapter as an editor does, over its standard streams.

https://microsoft.github.io/debug-adapter-protocol/specification
"""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PATIENCE = 60.0
"""Seconds to wait for an answer; adapters take one or two to start."""


class DebugAdapter:
    """One adapter process."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._sequence = 0
        self._kept: list[dict[str, Any]] = []
        self._heard: queue.Queue[dict[str, Any]] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._listener.join()
        with self._process:  # closes its streams
            pass

    def _listen(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        while header := stream.readline():
            length = int(header.split(b":")[1])
            stream.readline()
            self._heard.put(json.loads(stream.read(length)))

    def send(self, command: str, **arguments: object) -> int:
        """Send a request; gives its number."""
        self._sequence += 1
        body = {"seq": self._sequence, "type": "request", "command": command, "arguments": arguments}
        text = json.dumps(body).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(text), text))
        self._process.stdin.flush()
        return self._sequence

    def ask(self, command: str, **arguments: object) -> dict[str, Any]:
        """Send a request and give the body of its answer."""
        return self.answer(self.send(command, **arguments))

    def answer(self, number: int) -> dict[str, Any]:
        """Give the body of the answer to a request."""
        told = self._wait(lambda message: message.get("request_seq") == number)
        assert told["success"], told
        body: dict[str, Any] = told.get("body") or {}
        return body

    def event(self, name: str) -> dict[str, Any]:
        """Wait for an event, and give its body."""
        told = self._wait(lambda message: message.get("event") == name)
        body: dict[str, Any] = told.get("body") or {}
        return body

    def _wait(self, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        for message in self._kept:
            if fits(message):
                self._kept.remove(message)
                return message
        while True:
            message = self._heard.get(timeout=PATIENCE)
            if fits(message):
                return message
            self._kept.append(message)


def stop_at(adapter: DebugAdapter, configuration: dict[str, Any], file: str, line: int) -> dict[str, str]:
    """Launch a program with a breakpoint; gives the variables of the place where it stops, and lets it end."""
    adapter.ask("initialize", adapterID="test", linesStartAt1=True, columnsStartAt1=True, pathFormat="path")
    launch = adapter.send("launch", **configuration)
    adapter.event("initialized")
    adapter.ask("setBreakpoints", source={"path": file}, breakpoints=[{"line": line}])
    adapter.ask("configurationDone")
    adapter.answer(launch)
    stopped = adapter.event("stopped")
    assert stopped["reason"] == "breakpoint", stopped
    frame = adapter.ask("stackTrace", threadId=stopped["threadId"], startFrame=0, levels=1)["stackFrames"][0]
    assert (frame["source"]["path"], frame["line"]) == (file, line)
    scopes = adapter.ask("scopes", frameId=frame["id"])["scopes"]
    found = adapter.ask("variables", variablesReference=scopes[0]["variablesReference"])["variables"]
    adapter.ask("continue", threadId=stopped["threadId"])
    adapter.event("terminated")
    return {variable["name"]: variable["value"] for variable in found}
