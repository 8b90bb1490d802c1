"""Keeps slurs and the vocabulary of degrading stereotypes out of the training text.

`unwanted.rot13` holds one regular expression a line under the heading of its category. It is in ROT13, so that nobody
reads it by accident. Patterns match whole words of lower-case text. The list is wide on purpose: it has words that are
harmless elsewhere, because the books use them to degrade and a model of this size learns tone, not context. Most names of
peoples are not in it.
"""

import codecs
import collections
import os
import re
from re import _constants as opcodes
from re import _parser as parser

PATTERNS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "unwanted.rot13")
# A book that would lose more than this part of its characters is left out as a whole.
MOST_LOST = 0.2


def longest_literal(pattern):
    """The longest text that each match of `pattern` contains."""
    best = run = ""
    for opcode, value in parser.parse(pattern):
        run = run + chr(value) if opcode is opcodes.LITERAL else ""
        best = max(best, run, key=len)
    return best


class PassageFilter:
    def __init__(self, path=PATTERNS):
        # (category, a text that all matches contain, expression): a plain search for the text is much the quickest.
        self.entries = []
        with open(path, encoding="utf8") as file:
            lines = codecs.decode(file.read(), "rot13").splitlines()
        category = None
        for line in filter(None, lines):
            if line.startswith("["):
                category = line.strip("[]")
            else:
                expression = re.compile(rf"(?<!\w)(?:{line})(?!\w)")
                self.entries.append((category, longest_literal(line), expression))

    def find(self, text):
        """(category, matched text) of each match."""
        text = text.lower()
        return [
            (category, match.group())
            for category, literal, expression in self.entries
            if literal in text
            for match in expression.finditer(text)
        ]

    def counts(self, paragraphs):
        """Matches by category."""
        return collections.Counter(category for paragraph in paragraphs for category, _ in self.find(paragraph))

    def keep(self, paragraphs):
        """Runs of paragraphs, each readable on its own, without those that match and their neighbours.

        No run at all where too little would be left of a book.
        """
        unwanted = [index for index, paragraph in enumerate(paragraphs) if self.find(paragraph)]
        dropped = {neighbour for index in unwanted for neighbour in (index - 1, index, index + 1)}
        runs = [[]]
        for index, paragraph in enumerate(paragraphs):
            if index in dropped:
                runs.append([])
            else:
                runs[-1].append(paragraph)
        kept = sum(len(paragraph) for run in runs for paragraph in run)
        total = sum(len(paragraph) for paragraph in paragraphs)
        return [run for run in runs if run] if kept >= (1 - MOST_LOST) * total else []
