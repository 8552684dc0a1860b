#!/usr/bin/python3
"""What X-Outtray-Key costs a message: spools with keys and without are delivered in turn (tests/bench), medians are told.

    make bench-tools && /usr/bin/python3 tests/producers/cost_of_keys.py [MESSAGES [PAIRS [DIRECTORY]]]

DIRECTORY: where the loop device's file lies; on a tmpfs the disk costs nothing but CPU.
"""

import os
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "bench"))

import rig  # noqa: E402

plain_fill = rig.fill


def filler(field):
    """As the bench fills, with one more field at the beginning of each message."""
    def fill(settings, place, state="new", last=0):
        result = plain_fill(settings, place, state, last)
        new = place.path / "spool" / "tenant0" / "new"
        for number, name in enumerate(sorted(os.listdir(new))):
            text = (new / name).read_bytes()
            (new / name).write_bytes(b"%s: order-%08d\n%s" % (field, number, text))
        os.sync()
        return result
    return fill


def once(settings, field):
    rig.fill = filler(field)
    with rig.temporary() as directory, rig.place_for(settings, directory) as place:
        result = rig.outtray_once(settings, directory, place)
    if not result["complete"]:
        sys.exit(f"{field.decode()}: not complete")
    return result


def main():
    messages, pairs = (int(word) for word in (sys.argv[1:3] + ["20000", "5"])[:2]) if len(sys.argv) != 2 else (int(sys.argv[1]), 5)
    image = pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else None
    settings = rig.Settings(messages=messages, files_each=2, size=8192, image=image)
    found = {b"X-Other-Key": [], b"X-Outtray-Key": []}
    for pair in range(pairs):
        for field in sorted(found, reverse=pair % 2 == 0):
            found[field].append(once(settings, field))
    for field, results in found.items():
        print(f"{field.decode():14} {statistics.median(r['messages_per_s'] for r in results):9,.0f} messages/s "
              f"{statistics.median(r['cpu_ms'] for r in results):8.3f} ms CPU a message "
              f"{1000 * statistics.median(1 / r['messages_per_s'] for r in results):8.3f} ms each")


main()
