"""Serve the built book on this machine: ``python -m book.tools.serve``, which ``make serve`` calls.

At port 8000, or where that is taken, as by another user, at one that is free.
"""

from __future__ import annotations

import errno
import functools
import http.server
from pathlib import Path

from book.tools import build

PORT = 8000


def server(folder: Path, port: int = PORT) -> http.server.ThreadingHTTPServer:
    """Listens on this machine alone."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    try:
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
    return http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)


def main() -> None:
    with server(build.HTML) as one:
        print(f"the book is at http://localhost:{one.server_port}; Ctrl-C ends it", flush=True)
        try:
            one.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
