"""Runs a task in a process that the task server forks: `python -m radiograft_pipelines.local.task_client EXECUTOR ...`.

It takes the place of `python -m kfp.dsl.executor_main ...` and ends with the exit status of the task. It imports only
what starts at once.
"""

from __future__ import annotations

import json
import os
import runpy
import socket
import sys

ADDRESS_VARIABLE = "RADIOGRAFT_TASK_SERVER"


def main(arguments: list[str]) -> int:
    """Runs a task in the server's process, or in this one if there is no server; returns the exit status.

    Args:
        arguments: the module of KFP's executor, and its arguments.
    """
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.connect(os.environ.get(ADDRESS_VARIABLE) or "/nowhere")
        except (FileNotFoundError, ConnectionRefusedError):
            return _run_here(arguments)
        request = json.dumps([arguments, dict(os.environ)]).encode()
        socket.send_fds(server, [request[:1]], [sys.stdout.fileno(), sys.stderr.fileno()])
        server.sendall(request[1:] + b"\n")
        status = server.recv(1)
        server.recv(1)  # until the process has ended
    return status[0] if status else 1


def _run_here(arguments: list[str]) -> int:
    sys.argv = arguments
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
