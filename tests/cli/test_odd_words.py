"""What people type by mistake, and names that nobody would give: every verb answers in words, and nothing else happens.

An answer is an exit status of sysexits.h (or a plugin's 3), words on standard error where it is not 0, and no control character of somebody
else's on the terminal.
"""

import json
import os

import pytest

from support.agent import Agent
from support.box import MESSAGE

NAMES = ["-rf", "--help", "a b", " ", ":2,S", "%s%n", "$(touch x)", "*", "~", "quote'\"", "back\\slash", "ümlaut.eml", "x" * 200, "a~2",
         "é" * 100, "\udcff\udcfe", "c1\u009b31m"]
WORDS = ["-rf", "%s%n", "x" * 200, "\udcff\udcfe", "c1\u009b31m", "esc\x1b[31m", "new\nline", "", "acme/new/../../etc", "y" * 5000]
CODES = {0, 1, 3, 64, 65, 66, 69, 73, 75, 77, 78}
VERBS = [["show"], ["show", "--json"], ["queue"], ["explain"], ["retry"], ["retry", "--json"], ["hold"], ["release"], ["drop", "--yes"],
         ["retry", "--tenant"], ["hold", "--account"], ["retry", "--all", "--reason"], ["pause"], ["resume"], ["pause", "relay", "--reason"],
         ["test", "relay", "--to"], ["doctor"], ["log", "--since"], ["log", "-n"], ["log", "--event"], ["status", "--nagios", "--warning"],
         ["top", "--interval"], ["flush"], ["import"], ["submit", "--tenant"], ["submit", "--key"], ["submit", "-f"], ["submit", "--wait"]]


def answer(done, what):
    assert done.returncode in CODES, (what, done)
    assert done.returncode == 0 or done.stderr.strip(), (what, done)
    for text in (done.stdout, done.stderr):
        assert not [c for c in text if (ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0], (what, text)


def put(spool, name):
    """A message whose name may be no UTF-8."""
    path = os.fsencode(spool.path("acme", "tmp")) + b"/" + os.fsencode(name)
    with open(path, "xb") as out:
        out.write(MESSAGE)
    os.rename(path, os.fsencode(spool.path("acme", "new")) + b"/" + os.fsencode(name))


@pytest.fixture(params=["running", "stopped"])
def house(box, request):
    """An agent, or none, whose only account is paused: nothing moves but by a verb."""
    box.config.set(log={"file": str(box.config.directory / "log")})
    box.ready()
    box.run("pause", "relay", check=True)
    if request.param == "stopped":
        yield box
        return
    with Agent(box.config, clock=box.clock, init=False) as agent:
        agent.wait_ready()
        yield box


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
@pytest.mark.parametrize("house", ["running"], indirect=True)
def test_words(house, verb):
    house.spool.drop("acme", MESSAGE, name="there")
    for word in WORDS:
        for dashes in ([], ["--"]) if verb in (["show"], ["retry"], ["pause"]) else ([],):
            answer(house.run(*verb, *dashes, word), (verb, dashes, word))
    assert house.spool.where("acme", "there") == ["new"]
    assert house.server.accepted == [] or verb[0] == "test"


def test_names(house):
    """A message with each of these names is shown, held, released, given up, tried again and deleted by it."""
    for name in NAMES:
        put(house.spool, name)
        for verb, where in ((["show"], "new"), (["queue"], "new"), (["explain"], None), (["hold"], "hold"), (["release"], "new"),
                            (["drop", "--yes"], "failed"), (["retry"], "new"), (["drop", "--yes", "--delete"], None)):
            given = house.spool.path("acme", "new", name) if verb == ["explain"] else name
            done = house.run(*verb, "--", given)
            assert done.returncode == 0, (verb, name, done)
            answer(done, (verb, name))
            if where:
                assert house.spool.where("acme", name) == [where], (verb, name)
    for state in ("new", "hold", "failed", "deferred"):
        assert house.spool.names("acme", state) == [], state


def test_json_is_json_whatever_is_asked_for(house):
    """A script that reads --json gets a list, also where the exit status tells of an error."""
    house.spool.drop("acme", MESSAGE, name="there")
    for verb in ("show", "retry", "hold", "release", "drop", "queue"):
        more = ["--yes"] if verb == "drop" else []
        done = house.run(verb, "--json", *more, "nobody")
        assert done.returncode == 66 and json.loads(done.stdout) == [], (verb, done)


def test_log_says_where_no_line_fits(house):
    (house.config.directory / "log").touch()
    done = house.run("log", "--tenant", "acne")
    assert (done.returncode, done.stdout) == (0, "") and "no line fits" in done.stderr
