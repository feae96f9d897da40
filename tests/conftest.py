"""The built book, for the tests that read it or open it in a browser."""

import fcntl

import pytest


@pytest.fixture(scope="session")
def html():
    """The folder of the built book. Of the workers of a parallel run, the first builds it and the others wait."""
    from book.tools import build

    build.HTML.parent.mkdir(exist_ok=True)
    with open(build.HTML.parent / "build.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not build.fresh():
            try:
                build.build()
            except SystemExit as error:  # it would end the worker, and every test with it
                pytest.fail(str(error), pytrace=False)
    return build.HTML
