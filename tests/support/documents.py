"""What the documents hold: code blocks, links."""

import dataclasses
import re
import subprocess

from support.agent import ROOT


@dataclasses.dataclass
class Block:
    file: str       # relative to the checkout
    line: int       # of its first line, from 1
    language: str   # "" where none is said; "indented" for what is set in by four blanks
    text: str

    def commands(self):
        """[(line, command)] of a block of shell: continued lines are one; comments and blank lines are none."""
        found, held, start = [], "", 0
        for offset, line in enumerate(self.text.splitlines()):
            start = start if held else self.line + offset
            held += line.strip() if held else line
            if held.endswith(("\\", "|", "&&")):
                held = held.removesuffix("\\") + " "
                continue
            if held.strip() and not held.lstrip().startswith("#"):
                found.append((start, held.strip()))
            held = ""
        return found


def documents():
    """Every Markdown file of the checkout that is tracked."""
    names = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False)
    if names.returncode == 0 and names.stdout:
        return sorted(names.stdout.split())
    return sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.md")
                  if not {"node_modules", "build"} & set(path.relative_to(ROOT).parts))


def blocks(file):
    """Code blocks of a document in order."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        fence = re.fullmatch(r"( *)```(\w*)\s*", lines[at])
        if fence:
            end = next(i for i in range(at + 1, len(lines)) if lines[i].strip() == "```")
            indent = len(fence[1])
            yield Block(file, at + 2, fence[2], "\n".join(line[indent:] for line in lines[at + 1:end]))
            at = end + 1
        elif lines[at].startswith("    ") and (at == 0 or not lines[at - 1].strip()):
            end = at
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            yield Block(file, at + 1, "indented", "\n".join(line[4:] for line in lines[at:end]).rstrip())
            at = end
        else:
            at += 1
