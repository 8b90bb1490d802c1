"""Writes test/golden/jinja: what Python's Jinja2 makes of templates, with the settings of transformers.

Needs jinja2 3.1. Run in the repository root: python3 scripts/golden/make_jinja.py
"""

import json
import pathlib
from datetime import datetime

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from jinja_cases import CASES, CONTEXT, UNSUPPORTED

HERE = pathlib.Path(__file__).parent
OUT = HERE.parent.parent / "test" / "golden" / "jinja"
NOW = datetime(2026, 3, 7, 9, 5, 3, 41000)


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_write"), [], [], body).set_lineno(line)

    def _write(self, caller):
        return caller()


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


def render(template, variables):
    try:
        return {"text": environment().from_string(template).render(**variables)}
    except Exception as error:
        return {"error": type(error).__name__}


def write(name, value):
    (OUT / name).write_text(json.dumps(value, ensure_ascii=True, indent=0) + "\n")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    variables = json.loads(CONTEXT)
    cases = [{"template": template, **render(template, variables)} for template in dict.fromkeys(CASES)]
    write(
        "constructs.json",
        {"now": NOW.isoformat(), "context": CONTEXT, "cases": cases, "unsupported": [list(row) for row in UNSUPPORTED]},
    )
    chats = []
    for path in sorted((OUT / "templates").glob("*.jinja")):
        template = path.read_text()
        for conversation in sorted((OUT / "conversations").glob("*.json")):
            text = conversation.read_text()
            result = render(template, json.loads(text))
            chats.append({"template": path.name, "conversation": conversation.name, **result})
    write("chats.json", chats)
    print(f"{len(cases)} constructs, {len(chats)} chats")


if __name__ == "__main__":
    main()
