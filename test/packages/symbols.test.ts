/** Which systems the packed binaries run on, by the versions of the symbols that they ask for. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";

const root = join(__dirname, "..", "..");
const { oldest, platforms, tooNew } = require("../../scripts/pack.js") as {
  oldest: Record<string, string>;
  platforms: Record<string, { cpu: string }>;
  tooNew(symbols: string): string[];
};
const { prebuiltPackages } = require("../../src/native/prebuilt") as typeof import("../../src/native/prebuilt");

test("the addon asks for nothing newer than what the packages state", () => {
  const symbols = execFileSync("objdump", ["-T", join(root, "build", "Release", "mamba_serve.node")], {
    encoding: "utf8",
    maxBuffer: 2 ** 26,
  });
  expect(symbols).toContain("GLIBC_2.");
  expect(tooNew(symbols)).toEqual([]);
});

const row = (version: string) => `0000  DF *UND*  0000 (${version}) some_symbol`;

test.each([
  ["GLIBC_2.34", []],
  ["GLIBC_2.4", []],
  ["GLIBC_2.35", ["some_symbol needs GLIBC_2.35"]],
  ["GLIBCXX_3.4", []],
  ["GLIBCXX_3.4.30", ["some_symbol needs GLIBCXX_3.4.30"]],
  ["CXXABI_1.3.9", []],
  ["GLIBC_3", ["some_symbol needs GLIBC_3"]],
])("a symbol of %s", (version, problems) => {
  expect(tooNew(row(version))).toEqual(problems);
});

test("the page on installation states the versions, and the loader knows the packages", () => {
  expect(Object.keys(oldest)).toEqual(["GLIBC", "GLIBCXX", "CXXABI", "GCC"]);
  const loaded = prebuiltPackages.map(({ name, cpu }) => [name.replace("@mamba-serve/", ""), cpu]);
  expect(Object.fromEntries(loaded)).toEqual(
    Object.fromEntries(Object.entries(platforms).map(([name, { cpu }]) => [name, cpu])),
  );
});
