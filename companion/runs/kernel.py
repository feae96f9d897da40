"""The kernel of a run: ipykernel without the port on which it would take the output of programs that are forked."""

from __future__ import annotations

from typing import Any

from ipykernel import kernelapp
from ipykernel.iostream import IOPubThread


class Quiet(IOPubThread):
    def __init__(self, socket: Any, pipe: bool = False, **more: Any) -> None:
        super().__init__(socket, pipe=False, **more)


if __name__ == "__main__":
    kernelapp.IOPubThread = Quiet  # type: ignore[assignment, misc]
    kernelapp.launch_new_instance()
