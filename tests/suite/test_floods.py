"""Floods from one source, beside honest clients whose waits are measured. `tests/bench/floods` does more of it."""

import pytest
from harness import floods

pytestmark = pytest.mark.ours_only("has no such limits")

# More than a source may have at a time.
CROWD = 600
CLIENTS = [f"127.0.1.{number}" for number in range(1, 11)]
SECONDS = 3
# What else happens on the machine, in milliseconds. The benchmark compares the 99th percentiles.
NOISE = 100


@pytest.mark.parametrize("kind", floods.KINDS)
def test_a_flood_from_one_address_delays_and_refuses_no_other_client(directory, certificate, kind):
    with floods.instance(directory, certificate, "per-source.exempt = []") as running:
        quiet = floods.Honest(running.listen, CLIENTS).run(SECONDS)
        with floods.flooded(kind, running.listen, ["127.0.0.66"], CROWD):
            # Its first connections have been accepted.
            running.wait_log(r"\] 127\.0\.0\.66: (over the limit|banned)", 20)
            beside = floods.Honest(running.listen, CLIENTS).run(SECONDS)
        assert (quiet.refused, beside.refused) == (0, 0)
        for what, before, after in zip(["handshake", "key"], quiet.percentile(0.5), beside.percentile(0.5), strict=True):
            assert after < 2 * before + NOISE, f"{what}: {before:.1f} ms, beside the flood {after:.1f} ms"


def test_many_addresses_of_one_network_are_one_source(directory, certificate):
    settings = "per-source = { exempt = [], ipv4-prefix = 24 }"
    attackers = [f"127.0.0.{number}" for number in range(1, 255)]
    with floods.instance(directory, certificate, settings) as running:
        with floods.flooded("silence", running.listen, attackers, CROWD):
            beside = floods.Honest(running.listen, ["127.0.1.1"]).run(SECONDS)
        assert beside.handshakes and not beside.refused
        running.wait_log(r"\] 127\.0\.0\.0/24: over the limit", 10)
