// node -r test/helpers/register.js script.ts: runs TypeScript in a process of its own, compiled as jest compiles it.
const { transformFileSync } = require("@swc/core");

require.extensions[".ts"] = (module, filename) => {
  const { code } = transformFileSync(filename, {
    jsc: { parser: { syntax: "typescript" }, target: "es2022" },
    module: { type: "commonjs" },
    swcrc: false,
    sourceMaps: "inline",
  });
  module._compile(code, filename);
};
