/** Links of the pages lead somewhere. */
import { existsSync } from "node:fs";
import { join, posix } from "node:path";
import { type Files, ofType, readFiles, withFile } from "./files";

const root = join(__dirname, "..", "..");
const pages = ofType(
  readFiles(
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs",
    "src",
    "native",
    "test",
    "bench",
    "deploy",
    "models",
  ),
  "md",
);

/** As GitHub makes them of headings. */
const anchorsOf = (page: string) =>
  [...page.matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
    title!
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\- _]/gu, "")
      .replaceAll(" ", "-"),
  );

/** Every link to what is not there, as "page: link". */
function deadLinks(all: Files): string[] {
  return [...all].flatMap(([page, text]) =>
    [...text.matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, link]) => link!)
      .filter((link) => !/^[a-z]+:/.test(link))
      .filter((link) => {
        const [file, anchor] = link.split("#") as [string, string?];
        const target = file === "" ? page : posix.join(posix.dirname(page), file);
        if (!all.has(target) && !existsSync(join(root, target))) return true;
        return anchor !== undefined && !anchorsOf(all.get(target) ?? "").includes(anchor);
      })
      .map((link) => `${page}: ${link}`),
  );
}

it("every link of a page leads to a file, and to a heading that it has", () => {
  expect(pages.size).toBeGreaterThan(15);
  expect(deadLinks(pages)).toEqual([]);
});

it.each(["none.md", "../src/none/", "models.md#none", "#none"])("a link to %s would be found", (link) => {
  const page = withFile(pages, "docs/new.md", `# New\n\n[this](#new), [that](models.md#gguf) and [nothing](${link})`);
  expect(deadLinks(page)).toEqual([`docs/new.md: ${link}`]);
});

/** Tests that the last column of the table of faults names and that are not there. */
const missingTests = (table: string) =>
  [...table.matchAll(/^\|.*\|([^|]*)\|$/gm)]
    .flatMap(([, cell]) => [...cell!.matchAll(/`([a-z][\w/-]+)`/g)].map(([, name]) => name!))
    .filter((name) => [".test.ts", ".ts"].every((end) => !existsSync(join(root, "test", name + end))));

it("every test that the table of faults names is there", () => {
  const table = pages.get("test/server/FAULTS.md")!;
  expect(missingTests(table)).toEqual([]);
  expect(missingTests(`${table}| a fault | 400 | \`server/none\` |\n`)).toEqual(["server/none"]);
});
