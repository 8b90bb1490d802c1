/** Rules for the text of any file: how long it may be and what must not be in it. */
import { type Files, ofType, readFiles, withFile } from "./files";

const files = readFiles(
  "src",
  "web",
  "native",
  "test",
  "scripts",
  "bench",
  ".ci",
  "models",
  "docs",
  "deploy",
  "README.md",
  "CONTRIBUTING.md",
  "CMakeLists.txt",
  "binding.gyp",
  "package.json",
  "jest.config.js",
  "biome.json",
);
const code = ofType(files, "ts", "js", "h", "cpp", "inl", "cu", "cuh", "sh", "py");

/** Lines at most; above it a file does two things. Ladders of kernels (native/lab) hold many versions, and are free. */
const ceilings: Readonly<Record<string, number>> = {
  ts: 300,
  js: 300,
  sh: 150,
  h: 500,
  cpp: 500,
  inl: 500,
  cu: 500,
  cuh: 500,
};

function tooLong(all: Files): string[] {
  return [...all].flatMap(([path, text]) => {
    const lines = text.split("\n").length - 1;
    const ceiling = path.startsWith("native/lab/") ? undefined : ceilings[path.slice(path.lastIndexOf(".") + 1)];
    return ceiling !== undefined && lines > ceiling ? [`${path} has ${lines} lines of ${ceiling}`] : [];
  });
}

it("no file is longer than its ceiling", () => {
  expect(tooLong(files)).toEqual([]);
});

it("a file of 301 lines would be refused", () => {
  expect(tooLong(withFile(files, "src/long.ts", "\n".repeat(301)))).toEqual(["src/long.ts has 301 lines of 300"]);
});

// Written in parts, so that this file does not break its own rules.
const forbidden: readonly (readonly [what: string, pattern: RegExp])[] = [
  ["an unfinished note", new RegExp(`\\b(${["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"].join("|")})\\b`)],
  [
    "a switched-off test",
    new RegExp(`\\b(it|test|describe)\\.(${["on" + "ly", "to" + "do"].join("|")})\\b|\\bx(it|describe)\\(`),
  ],
  ["a test skipped unconditionally", new RegExp(`^\\s*(it|test|describe)\\.${"sk" + "ip"}\\b`, "m")],
];
const machinePath = new RegExp(`(?<![\\w.~-])/(${["home", "root", "Users", "mnt", "work", "scratch"].join("|")})/\\w`);

function forbiddenText(all: Files): string[] {
  return [...all].flatMap(([path, text]) =>
    forbidden.filter(([, pattern]) => pattern.test(text)).map(([what]) => `${path} has ${what}`),
  );
}

const machinePaths = (all: Files) => [...all].filter(([, text]) => machinePath.test(text)).map(([path]) => path);

it("no code has unfinished notes or switched-off tests", () => {
  expect(forbiddenText(code)).toEqual([]);
});

it.each(["// TO" + "DO: later", "it.on" + 'ly("x", f)', "it.sk" + 'ip("x", f)', "xi" + 't("x", f)'])(
  "%s would be found",
  (text) => {
    expect(forbiddenText(new Map([["src/a.ts", text]]))).toHaveLength(1);
  },
);

it("no file names a folder of somebody's machine", () => {
  expect(machinePaths(files)).toEqual([]);
});

it("a path below a home folder would be found", () => {
  expect(machinePaths(new Map([["a.md", `see /${"home"}/me/notes`]]))).toEqual(["a.md"]);
});

/** Only the command line prints; a library's users decide what their terminal shows. */
const printing = (all: Files) =>
  [...all]
    .filter(([path, text]) => /^src\/(?!cli\/)/.test(path) && /\bconsole\.\w+\(/.test(text))
    .map(([path]) => path);

it("only the command line prints", () => {
  expect(printing(files)).toEqual([]);
});

it("a stray print would be found", () => {
  expect(printing(new Map([["src/engine/engine.ts", "console.log(1)"]]))).toEqual(["src/engine/engine.ts"]);
});

/** A comment is a sentence, or names the thing: one that begins with "Of" makes the reader look for what it belongs to. */
const fragments = (all: Files) =>
  [...all].flatMap(([path, text]) => (/(?:\/\*\*|\/\/|^\s*\*) Of [a-z]/m.test(text) ? [path] : []));

it("no comment opens with a genitive", () => {
  expect(fragments(code)).toEqual([]);
});

it.each(["/** O" + "f the step. */", "  // O" + "f a row.", " * O" + "f all tokens."])("%s would be found", (text) => {
  expect(fragments(new Map([["src/a.ts", text]]))).toEqual(["src/a.ts"]);
});
