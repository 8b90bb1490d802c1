// node -r test/helpers/register.js script.ts: runs TypeScript in a process of its own, compiled as jest compiles it.
const { createHash } = require("node:crypto");
const { mkdirSync, readFileSync, renameSync, writeFileSync } = require("node:fs");
const { join } = require("node:path");

const folder = join(__dirname, "..", "..", "node_modules", ".cache", "register");

/** Compiled once for each text of a file: tests start many short processes. */
function compiled(filename) {
  const source = readFileSync(filename, "utf8");
  const cached = join(folder, createHash("sha1").update(filename).update("\0").update(source).digest("hex"));
  try {
    return readFileSync(cached, "utf8");
  } catch {
    const { code } = require("@swc/core").transformSync(source, {
      filename,
      jsc: { parser: { syntax: "typescript" }, target: "es2022" },
      module: { type: "commonjs" },
      swcrc: false,
      sourceMaps: "inline",
    });
    mkdirSync(folder, { recursive: true });
    const part = `${cached}.${process.pid}`;
    writeFileSync(part, code);
    renameSync(part, cached);
    return code;
  }
}

require.extensions[".ts"] = (module, filename) => module._compile(compiled(filename), filename);
