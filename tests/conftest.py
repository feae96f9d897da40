"""What tests of several files ask for: the built book, a cluster, and steps that nothing is compiled for."""

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


@pytest.fixture(scope="session")
def cluster():
    """The address of a scheduler with two workers, for every batch whose test is not about where it runs."""
    import distributed

    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def uncompiled(monkeypatch):
    """Steps are recorded, taken apart and counted as ever, but what would be compiled runs as it was recorded."""
    from thermolib.engine import compiled, loop

    monkeypatch.setattr(loop, "possible", lambda device: True)
    monkeypatch.setattr(compiled, "_compiled", {})
    monkeypatch.setattr("torch._inductor.compile", lambda graph, example: graph.forward)
