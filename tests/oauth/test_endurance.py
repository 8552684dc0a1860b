"""Ten thousand messages over simulated days, with access tokens that live for a minute.

OUTTRAY_OAUTH_MESSAGES makes it more of them.
"""

import os
import random

import pytest

from office import Office
from support.wait import wait_until

MESSAGES = int(os.environ.get("OUTTRAY_OAUTH_MESSAGES", "10000"))
LIFETIME = 60
BATCH = 50
LONG_STEPS = (90, 600, 1800, 3 * 3600, 9 * 3600)


def settle(office):
    """Everything dropped is through, and no connection is being opened."""
    wait_until(lambda: len(office.agent.spool.names("master", "new")) == 0 and
               not office.agent.spool.names("master", "cur") and office.server.opening == 0, 30,
               lambda: f"quiet: {office.agent.spool.counts('master')} {office.account_status()}\n{office.agent.log_text()[-3000:]}",
               interval=0.02)


def step(office, seconds):
    """Time passes, and the agent has a good token again before mail comes. Nothing is being opened while the clock jumps."""
    before = office.provider.count()
    office.clock.advance(seconds)
    if seconds > LIFETIME * 3 / 4:
        office.wait_refreshes(before + 1, 30)
    office.wait_seen()


@pytest.mark.parametrize("profile, rotation", (("microsoft", "strict"),))
def test_short_lived_tokens(program, tmp_path, profile, rotation):
    rng = random.Random(60)
    with Office(tmp_path, profile, rotation=rotation, expires_in=LIFETIME, limits={"connections": 2}) as office:
        # What producers are writing right now is days old by the agent's clock.
        office.config.set(retention={"sent": "never", "failed": "never", "tmp": "never"}).write()
        office.store()
        office.agent.start().wait_ready()
        batches = MESSAGES // BATCH
        for number in range(batches):
            office.send(BATCH)
            if rng.random() < 0.5:
                settle(office)
                step(office, rng.choice(LONG_STEPS))
            else:  # no longer than what a token has left at least: while mail flows and connections open
                office.clock.advance(rng.choice((1, 3, 8)))
        settle(office)
        office.wait_sent(batches * BATCH, 60)
        days = office.clock.offset / 86400
        problems = [login.problem for login in office.server.logins if login.problem]
        assert days > 3, f"only {days:.1f} days went by"
        assert not problems, f"{len(problems)} of {len(office.server.logins)} logins with a bad token: {set(problems)}"
        assert len(office.server.logins) <= office.server.connections, "more than one login on a connection"
        assert len(office.server.logins) < batches * 3, f"{len(office.server.logins)} logins"
        assert office.account_status()["breaker"] == "closed"
        for event in ("deferred", "failed", "account_paused", "returned"):
            assert not office.agent.events(event), office.agent.events(event)[:3]
        assert len({line["name"] for line in office.agent.events("sent")}) == batches * BATCH == len(office.agent.events("sent"))
        grants = {id(token["grant"]) for token in office.provider.refresh.values()}
        assert len(grants) == 1 and all(token["used"] <= 1 for token in office.provider.refresh.values())
        assert office.provider.count() == office.provider.count("refresh_token")
