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
LEAD = LIFETIME / 4        # a refresh is due that long before the end of a token
SHORT_STEPS = (1, 2, 3)    # while mail flows and connections open; together at most SHORT_TOTAL
SHORT_TOTAL = 6            # less than what is left of any token that a connection was opened with
LONG_STEPS = (90, 600, 1800, 3 * 3600, 9 * 3600)


def settle(office):
    """Everything dropped is through, and no connection is being opened."""
    wait_until(lambda: len(office.agent.spool.names("master", "new")) == 0 and
               not office.agent.spool.names("master", "cur") and office.server.opening == 0, 30,
               lambda: f"quiet: {office.agent.spool.counts('master')} {office.account_status()}\n{office.agent.log_text()[-3000:]}",
               interval=0.02)


def fresh(office):
    """Where a refresh is due, waits until its token is stored: no connection is opened with one that ends very soon."""
    def good():
        with office.provider._lock:
            text, token = list(office.provider.access.items())[-1]
        return token["until"] - office.provider.now() > LEAD and office.token()["access_token"] == text
    wait_until(good, 30, lambda: f"a fresh token\n{office.agent.log_text()[-3000:]}")


@pytest.mark.parametrize("profile, rotation", (("microsoft", "strict"),))
def test_short_lived_tokens(program, tmp_path, profile, rotation):
    rng = random.Random(60)
    with Office(tmp_path, profile, rotation=rotation, expires_in=LIFETIME, limits={"connections": 2}) as office:
        # What producers are writing right now is days old by the agent's clock.
        office.config.set(retention={"sent": "never", "failed": "never", "tmp": "never"}).write()
        office.store()
        office.agent.start().wait_ready()
        batches, total = MESSAGES // BATCH, 0
        for number in range(batches):
            office.send(BATCH)
            if total >= SHORT_TOTAL - 1 or rng.random() < 0.3:
                settle(office)
                office.clock.advance(rng.choice(LONG_STEPS))
                total = 0
            else:
                office.clock.advance(rng.choice(SHORT_STEPS))
                total += 3
            fresh(office)
            if total == 0:
                office.wait_seen()
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
        logged = [line["name"] for line in office.agent.wait_event("sent", count=batches * BATCH)]
        assert len(set(logged)) == batches * BATCH == len(logged)
        grants = {id(token["grant"]) for token in office.provider.refresh.values()}
        assert len(grants) == 1 and all(token["used"] <= 1 for token in office.provider.refresh.values())
        assert office.provider.count() == office.provider.count("refresh_token")
