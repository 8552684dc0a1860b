#!/usr/bin/python3
"""Makes docs/top.txt, what `outtray top` shows: an agent with three tenants on a local server, in a terminal of tmux.

usage: screenshot.py [FILE]      The program is $OUTTRAY, or build/outtray. Needs what `./scripts/setup test` installs.
"""

import os
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "cases")]
os.environ.setdefault("OUTTRAY", "build/outtray")

from smtpserver import Server  # noqa: E402
from support.agent import Agent, Config, binary, environment  # noqa: E402
from support.terminal import Terminal  # noqa: E402
from support.wait import wait_until  # noqa: E402

RULES = ["on RCPT gone@example.net: 550 5.1.1 no such user", "on RCPT full@example.org: 452 4.2.2 mailbox full",
         "on BODY: 250 2.0.0 queued"]


def message(who):
    return f"From: PBX <pbx@inside.example>\nTo: {who}\nSubject: Voicemail from 100\n\nYou have a new message.\n"


def scene(agent):
    for tenant, number in (("acme", 14), ("globex", 9)):
        for n in range(number):
            agent.spool.drop(tenant, message(f"user{n}@example.net"), name=f"1764000{n:03}.M1P2.pbx")
    agent.spool.drop("acme", message("gone@example.net"), name="1764000777.M1P2.pbx")
    agent.spool.drop("globex", message("full@example.org"), name="1764000888.M1P2.pbx")
    agent.spool.wait("acme", "1764000777.M1P2.pbx", "failed")
    agent.spool.wait("globex", "1764000888.M1P2.pbx", "deferred")
    agent.verb("pause", "office", "--reason", "mailbox moves tonight", check=True)
    agent.wait_event("account_paused")
    for n in range(3):
        agent.spool.drop("initech", message(f"user{n}@example.net"), name=f"1764000{n:03}.M1P2.pbx")
    wait_until(lambda: agent.status()["accounts"]["relay"]["sent_total"] == 23, 20, "status.json")


def main(path):
    with tempfile.TemporaryDirectory() as directory:
        server = Server(RULES)
        server.start()
        config = Config(directory, retry={"first": "10m", "max": "4h", "give_up_after": "5d", "jitter": 0})
        for account in ("relay", "office"):
            config.account(account, email=f"{account}@example.com", server="127.0.0.1", port=server.port, encryption="none")
        for tenant, account in (("acme", "relay"), ("globex", "relay"), ("initech", "office")):
            config.tenant(tenant, account=account)
        with Agent(config) as agent:
            agent.wait_ready()
            scene(agent)
            with Terminal([binary(), "top"], env=environment(OUTTRAY_CONFIG=config.path, TZ="UTC")) as terminal:
                screen = terminal.wait(r"^acme +0 +- +0 +- +1 .*\n.*\ninitech +3 ")
        server.stop()
    pathlib.Path(path).write_text(screen + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else ROOT / "docs" / "top.txt")
