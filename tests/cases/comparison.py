"""What was expected against what was seen: the spool, the status files, the log, the wire. A part of the scenario's class."""

import email.header
import email.utils
import json
import os
import re
import shlex

import yaml

from casefile import expression, glob, section_lines
from checks import check_log_line, check_status, part_of
from checks import moment as parse_moment
from support.agent import sanitizer_report


class Comparison:
    def compare(self):
        problems = []
        text = self.log_text()
        if sanitizer_report(text):
            problems.append(sanitizer_report(text))
        for line in text.splitlines():
            problems += check_log_line(line)
        for number, server in self.servers.items():
            problems += [f"server {number}: {p}" for conn in server.connections for p in conn.problems]
            problems += [f"server {number} itself: {e}" for e in server.errors]
        problems += self.compare_files()
        problems += self.compare_log()
        problems += self.compare_wire()
        return problems

    def tree(self):
        found = []
        for path in sorted(self.spool.rglob("*")):
            relative = path.relative_to(self.spool)
            if relative.parts[0] == ".agents" or (path.is_dir() and not path.is_symlink()
                                                  and (len(relative.parts) < 3 or relative.parts[1] == "cur")):
                continue
            found.append(str(relative))
        return found

    def compare_files(self):
        problems = []
        tree = self.tree()
        expected = self.case.lines("spool")
        if expected is not None:
            expected = [str(self.path(line).relative_to(self.spool)) for line in expected]
        if expected is not None and sorted(expected) != sorted(tree):
            problems.append(f"the spool holds {sorted(tree)}, expected {sorted(expected)}")
        changed = any(s.startswith(("append", "truncate", "write")) for s in self.case.lines("steps") or [])
        places = {}
        for name in tree:
            path = self.spool / name
            info = os.lstat(path)
            if info.st_ino in places and places[info.st_ino].split("/")[0] == name.split("/")[0]:
                problems.append(f"{name} and {places[info.st_ino]} are one message in two states")
            places[info.st_ino] = name
            if info.st_ino in self.messages:
                first, data, stamp = self.messages[info.st_ino]
                if not changed and path.read_bytes() != data:
                    problems.append(f"{name}, once {first}, has other bytes")
                if not changed and info.st_mtime_ns != stamp:
                    problems.append(f"{name}, once {first}, has another mtime")
            if name.endswith(".status") and name.split("/")[1] in ("deferred", "failed") and f"@{name}" not in self.given():
                touched = self.touched | (set(self.messages) if changed else set())
                problems += [f"{name}: {p}" for p in check_status(path, touched)]
        for section in self.case.all("status"):
            problems += self.compare_status(section)
        for section in self.case.all("json"):
            document = json.loads((self.directory / "state/status.json").read_text())
            problems += part_of(yaml.safe_load(section.text), document, "status.json")
        return problems + self.compare_metrics()

    def given(self):
        return {"@" + s.args[0].removeprefix("spool/") for s in self.case.all("file")}

    def compare_status(self, section):
        path = self.spool / (section.args[0] + ".status")
        if not path.exists():
            return [f"{path.name} is missing"]
        expected = yaml.safe_load(section.text) or {}
        actual = yaml.load(path.read_text(), yaml.BaseLoader)
        problems = []
        if "next_in" in expected:
            wanted = float(expected.pop("next_in"))
            times = [parse_moment(t) for t in (actual["next_attempt"], actual["attempts"][-1]["at"])]
            if abs(times[0] - times[1] - wanted) > 2:
                problems.append(f"{path.name}: the next attempt is {times[0] - times[1]} s after the last, not {wanted}")
        if isinstance(expected.get("attempts"), int) and len(actual.get("attempts") or []) != expected.pop("attempts"):
            problems.append(f"{path.name}: attempts: {actual.get('attempts')}")
        if isinstance(expected.get("recipients"), list):
            for side in (expected["recipients"], actual["recipients"]):
                side.sort(key=lambda r: r["address"])
        expected.pop("attempts", None) if isinstance(expected.get("attempts"), int) else None
        return problems + part_of(expected, actual, path.name)

    def compare_metrics(self):
        expected = self.case.lines("metrics")
        if expected is None:
            return []
        def key(line):
            series, _, value = line.rpartition(" ")
            name, _, labels = series.rstrip("}").partition("{")
            return name, tuple(sorted(filter(None, re.findall(r'\w+="[^"]*"', labels)))), float(value)
        text = (self.directory / "state/metrics.prom").read_text()
        have = {key(line) for line in text.splitlines() if line and not line.startswith("#")}
        return [f"metrics.prom lacks {line}" for line in expected if key(line) not in have]

    def compare_log(self):
        problems = []
        for line in self.case.lines("log") or []:
            words = shlex.split(line)
            wanted = None
            if words[0] == "no":
                wanted = 0
            elif re.fullmatch(r"\d+x", words[0]):
                wanted = int(words[0][:-1])
            pairs = [w.split("=", 1) for w in (words if wanted is None else words[1:])]
            found = self.matching([(k, self.fill(p)) for k, p in pairs])
            if found != wanted if wanted is not None else found == 0:
                problems.append(f"log: {found} lines are like: {line}")
        return problems

    def compare_wire(self):
        problems = []
        accepted = [a for s in self.servers.values() for a in s.accepted]
        once = [a.rcpts[0] for a in accepted if re.match(r"r\d+@example.net$", a.rcpts[0])]
        # What was in flight when time jumped or the agent was killed may be repeated: at most one window.
        jumps = any(line.startswith(("clock", "kill")) for line in self.case.lines("steps") or [])
        if len(once) - len(set(once)) > (8 if jumps else 0):
            problems.append(f"{len(once) - len(set(once))} messages of `fill` were accepted twice")
        expected = self.case.lines("accepted")
        if expected is not None:
            got = sorted(",".join(a.rcpts) for a in accepted)
            if got != sorted(expected):
                problems.append(f"accepted transactions: {got}, expected {sorted(expected)}")
        for section in self.case.all("received"):
            which = section.args[0]
            found = accepted[int(which) - 1:int(which)] if which.isdigit() else [a for a in accepted if which in a.rcpts]
            if not found:
                problems.append(f"no message {which} was accepted")
            else:
                place = accepted.index(found[0]) + 1
                for line in section_lines(section):
                    if not line.startswith("within "):
                        problems += [f"received {which}: {p}" for p in self.compare_received(line, found[0].data)]
                    elif place > int(line[7:]):
                        problems.append(f"received {which}: it was the {place}th")
        for section in self.case.all("dialogue"):
            server = self.servers[int(section.args[0]) if section.args else 1]
            problems += compare_dialogue(section, server)
        return problems

    def compare_received(self, line, data):
        word, _, rest = line.partition(" ")
        head, gap, body = data.partition(b"\r\n\r\n")
        fields = re.split(r"\r\n(?![ \t])", head.decode("utf-8", "surrogateescape"))
        fields = [re.sub(r"\r\n(?=[ \t])", "", f).rstrip() for f in fields]
        named = [f for f in fields if f.lower().partition(":")[0].strip() == rest.partition(":")[0].strip().lower()]
        if word == "has":
            return [] if any(glob(rest, f) for f in fields) else [f"lacks {rest!r}; has {named or fields}"]
        if word == "no":
            return [f"has {named}"] if named else []
        if word == "one":
            return [] if len(named) == 1 else [f"has {len(named)} fields {rest}"]
        if word == "lacks":
            return [f"holds {rest!r}"] if rest.encode() in data else []
        if word == "ascii":
            return [] if head.isascii() else [f"the header is not ASCII: {head!r}"]
        if word == "decoded":
            name, _, wanted = rest.partition(": ")
            got = [str(email.header.make_header(email.header.decode_header(f.partition(":")[2].strip()))) for f in fields
                   if f.lower().startswith(name.lower() + ":")]
            return [] if [wanted] == got else [f"{name} decodes to {got}, not {wanted!r}"]
        if word == "same":
            name, number = rest.split()
            other = self.servers[1].bodies[int(number) - 1].partition(b"\r\n\r\n")[0].decode().split("\r\n")
            mine, theirs = ([f for f in fs if f.lower().startswith(name.lower() + ":")] for fs in (fields, other))
            return [] if mine == theirs else [f"{name} is {mine}, was {theirs}"]
        if word == "order":
            first, second = rest.split()
            names = [f.partition(":")[0].strip().lower() for f in fields]
            ok = names.index(first.lower()) < names.index(second.lower())
            return [] if ok else [f"{first} comes after {second}"]
        if word == "date-of":
            dates = [f for f in fields if f.lower().startswith("date:")]
            stamp = next(int(s[2] / 1e9) for s in self.messages.values() if s[0] == rest)
            got = email.utils.parsedate_to_datetime(dates[0][5:]).timestamp() if dates else None
            return [] if got == stamp else [f"Date is {dates}, the submission was at {email.utils.formatdate(stamp)}"]
        actual = {"body": body if gap else None, "all": data}.get(word, data)
        wanted = expression(rest)
        if word == "ends":
            return [] if data.endswith(wanted) else [f"ends with {data[-len(wanted) - 20:]!r}, not {wanted!r}"]
        if word not in ("body", "all"):
            raise ValueError(f"no expectation is called {word}")
        if actual != wanted:
            return [f"{word} is {actual[:600] if actual is not None else None!r}, not {wanted[:600]!r} ({len(actual or b'')}, {len(wanted)} octets)"]
        return []


def compare_dialogue(section, server):
    expected = {1: []}
    number = 1
    for line in section_lines(section):
        if line.startswith("conn "):
            number = int(line[5:])
        expected.setdefault(number, [])
        if not line.startswith("conn "):
            expected[number].append(line)
    problems = []
    for number, lines in expected.items():
        opening = any(line.split(" ")[0] in ("EHLO", "STARTTLS", "AUTH") for line in lines)
        got = server.connections[number - 1].commands if number <= len(server.connections) else []
        skip = {"RSET", "NOOP", "QUIT"} | (set() if opening else {"EHLO", "HELO", "STARTTLS", "AUTH"})
        got = [line for line in got if line.split(" ")[0] not in skip]
        if len(got) != len(lines) or not all(map(command_fits, lines, got)):
            problems.append(f"connection {number} read {[g[:120] for g in got]}, expected {lines}")
    if len(server.connections) > len(expected):
        problems.append(f"{len(server.connections)} connections were made, expected {len(expected)}")
    return problems


def command_fits(expected, actual):
    match = re.fullmatch(r"((?:MAIL FROM|RCPT TO):<.*?>)((?: \S+)*)", expected)
    if not match:
        return glob(expected, actual)
    path, _, parameters = actual.partition("> ")
    if not glob(match[1], path if path.endswith(">") else path + ">"):
        return False
    have = parameters.split()
    for wanted in match[2].split():
        if wanted.startswith("!"):
            if any(p.partition("=")[0].upper() == wanted[1:] for p in have):
                return False
        elif not any(glob(wanted, p) for p in have):
            return False
    return True
