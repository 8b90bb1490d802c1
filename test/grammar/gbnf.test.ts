import { compileConstraint } from "../../src/grammar/compile";
import { Rng } from "../helpers/rng";
import { accepts, crossing, randomText } from "./walks";

const compile = (grammar: string) => compileConstraint({ kind: "grammar", grammar }, crossing);

const json = String.raw`# JSON, as llama.cpp's examples write it
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws

object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws

array  ::=
  "[" ws (
            value
    ("," ws value)*
  )? "]" ws

string ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
  )* "\"" ws

number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws

# one space, or a new line
ws ::= | " " | "\n" [ \t]{0,20}
`;

const arithmetic = String.raw`
root  ::= (expr "=" ws term "\n")+
expr  ::= term ([-+*/] term)*
term  ::= ident | num | "(" ws expr ")" ws
ident ::= [a-z] [a-z0-9_]* ws
num   ::= [0-9]+ ws
ws    ::= [ \t\n]*
`;

const chess = String.raw`
root ::= "1. " move " " move "\n" ([1-9] [0-9]? ". " move " " move "\n")+
move ::= (pawn | nonpawn | castle) [+#]?
nonpawn ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]
pawn ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?
castle ::= "O-O" "-O"?
`;

test.each<[name: string, grammar: string, yes: readonly string[], no: readonly string[]]>([
  ["a text", 'root ::= "a\\"\\n\\x41\\u00e9\\U0001F600"', ['a"\nAé😀'], ["a"]],
  ["alternatives", 'root ::= "yes" | "no" | ', ["yes", "no", ""], ["y"]],
  ["alternatives over lines", 'root ::= "a"\n  | "b" # or\n\n  | "c"\n', ["a", "b", "c"], ["ab"]],
  [
    "repetitions",
    'root ::= "a"* "b"+ "c"? "d"{2} "e"{1,} "f"{,2} "g"{0,1}',
    ["bdde", "aabbcddeeffg"],
    ["de", "bddefff"],
  ],
  ["a repetition of a repetition", 'root ::= "a"{2}+', ["aa", "aaaa"], ["aaa"]],
  ["classes", "root ::= [^a-c] [a\\-z] [\\]\\\\] [日-本] .", ["d-]日😀", "\nz\\本a"], ["aa]日a", "dn]日a"]],
  ["windows' lines", 'root ::= x\r\nx ::= "a"\r\n', ["a"], ["b"]],
  ["rules that are not used", 'root ::= "a"\nother ::= other-one\nother-one ::= "b"', ["a"], ["b"]],
  ["right recursion without an end", 'root ::= "a" root | "b"', ["b", `${"a".repeat(500)}b`], ["a"]],
  ["nesting", 'root ::= "(" root ")" | "x"', ["x", `${"(".repeat(50)}x${")".repeat(50)}`], ["((x)", "()"]],
  ["a rule that may be empty, repeated", 'root ::= (ws "a")* ws\nws ::= " "*', ["", " a  a ", "  "], ["b"]],
  ["JSON", json, ['{"a": [1, -2.5e3, "\\n\\u00e9", {}], "b":null}', "{\n  }"], ["[]", '{"a":}', '{"a":1,}']],
  ["arithmetic", arithmetic, ["a1 +2*(b -3)=x\n", "1=2\n3=4\n"], ["a1 +=2\n", "(1=2\n"]],
  ["chess", chess, ["1. e4 e5\n2. Nf3 Nc6\n", "1. d4 d5\n2. O-O exd8=Q#\n"], ["1. e4 e5\n", "2. e4 e5\n"]],
])("%s", (_, grammar, yes, no) => {
  const constraint = compile(grammar);
  const accepted = (texts: readonly string[]) => texts.filter((text) => accepts(crossing, constraint, text));
  expect(accepted(yes)).toEqual(yes);
  expect(accepted(no)).toEqual([]);
  const rng = new Rng(1);
  for (let i = 0; i < 5; i++) {
    const text = randomText(crossing, constraint, rng, 20);
    expect([text, accepts(crossing, constraint, text)]).toEqual([text, true]);
  }
});

test("what a grammar of JSON makes is JSON", () => {
  const constraint = compile(json);
  const rng = new Rng(7);
  for (let i = 0; i < 20; i++) JSON.parse(randomText(crossing, constraint, rng, 40));
});

const chained = (count: number) =>
  [
    "root ::= r0",
    ...Array.from({ length: count }, (_, i) => `r${i} ::= r${i + 1} r${i + 1}`),
    `r${count} ::= "a"`,
  ].join("\n");

test.each<[grammar: unknown, message: string]>([
  [1, "grammar must be a string"],
  ["", 'line 1, column 1: a grammar needs a rule that is named "root"'],
  ['a ::= "b"', 'needs a rule that is named "root"'],
  ["root", "line 1, column 1: expected a rule"],
  ["root = x", "line 1, column 1: expected a rule"],
  ['root ::= "a"\n\n  root ::= "b"', "line 3, column 3: the rule root is there twice"],
  ["root ::= a\nb ::= c", 'line 1, column 10: no rule is named "a"'],
  ['root ::= "a', "line 1, column 10: this text has no closing quote"],
  ['root ::= "a\n"', "no closing quote"],
  ["root ::= [a", 'line 1, column 10: this "[" has no "]"'],
  ["root ::= [b-a]", "line 1, column 13: a range ends before it begins"],
  ["root ::= (\n  [a] | [b]\n", 'line 1, column 10: this "(" has no ")"'],
  ["root ::= [a])", 'line 1, column 13: a ")" too many'],
  ["root ::= *", 'line 1, column 10: did not expect "*"'],
  ['root ::= "a" %llguidance {}', 'did not expect "%"'],
  ['root ::= <think> "a"', 'did not expect "<"'],
  ['root ::= "\\q"', "line 1, column 11: this escape is not known"],
  ['root ::= "\\x4"', "this escape is not known"],
  ['root ::= "\\uD800"', "no character of Unicode"],
  ['root ::= "\\UFFFFFFFF"', "no character of Unicode"],
  ['root ::= "a"{x}', "line 1, column 13: expected {n}"],
  ['root ::= "a"{3,2}', "the second number of {3,2} is the smaller one"],
  ['root ::= "a"{1001}', "at most 1000 repetitions"],
  ['root ::= root "a" | "b"', "line 1, column 1: the rule root begins with itself"],
  ['root ::= x\nx ::= y* z\ny ::= "a"\nz ::= x | "b"', "line 2, column 1: the rule x begins with itself"],
  ['root ::= "a" root', "no text that ends"],
  [`root ::= ${"(".repeat(60)}`, "nested deeper than 50"],
  [`root ::= ${"(".repeat(60_000)}`, "nested deeper than 50"],
  ['root ::= (("a"{1000}){1000}){1000}', "too large once repeated parts"],
  [`root ::= "${"a".repeat(70_000)}"`, "at most 65536"],
  ["root ::= ([a]|[b])* [a] ([a]|[b]){18}", "takes too long to compile"],
])("refuses %j", (grammar, message) => {
  expect(() => compile(grammar as string)).toThrow(
    expect.objectContaining({ code: "ERR_REQUEST", subject: "grammar", message: expect.stringContaining(message) }),
  );
});

test("rules that double are not written out", () => {
  const constraint = compile(chained(12));
  expect(accepts(crossing, constraint, "a".repeat(4096))).toBe(true);
  expect(accepts(crossing, constraint, "a".repeat(4095))).toBe(false);
});
