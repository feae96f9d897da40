"""Kernels are started as companion.runs.kernel."""

from __future__ import annotations

from jupyter_client.manager import AsyncKernelManager

__all__ = ["Kernels"]


class Kernels(AsyncKernelManager):
    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        command = super().format_kernel_cmd(extra_arguments)
        return ["companion.runs.kernel" if word == "ipykernel_launcher" else word for word in command]
