// Three projects. "unit" and "text" never load the addon: "unit" is what decides steps and reads files, and runs in seconds;
// "text" is what lies between HTTP and token ids, held to long tables of what other programs make of the same texts. "native"
// needs the built addon.
/** Packages that a worker loads once for all of its test files: a server's took half of the time of a test of it. */
const outside = "(zod|fastify|@fastify/[^/]+|fastify-type-provider-zod|prom-client|commander|@opentelemetry/[^/]+)/";

const base = {
  // A module finds these as it finds its own names; any other global costs ten times as much, in every loop.
  sandboxInjectedGlobals: [
    "Math",
    "Number",
    "Object",
    "Array",
    "Map",
    "Set",
    "Int32Array",
    "Float32Array",
    "Float64Array",
  ],
  transformIgnorePatterns: [`/node_modules/(?!${outside})`],
  testEnvironment: "<rootDir>/test/helpers/environment.js",
  // The web page's scripts are modules, which only a browser reads as they are.
  transform: {
    "(\\.ts|/web/[^/]+\\.js)$": [
      "@swc/jest",
      { jsc: { parser: { syntax: "typescript" }, target: "es2022" }, module: { type: "commonjs" } },
    ],
    [`/node_modules/${outside}`]: "<rootDir>/test/helpers/outside.js",
  },
};

/** A folder is of one project, named here or "native". */
const folders = {
  unit: [
    "architecture",
    "bench/serve",
    "docs",
    "engine",
    "gguf",
    "hub",
    "json",
    "models/config",
    "models/gguf",
    "step",
    "supervisor",
    "web",
    "weights",
  ],
  text: ["grammar", "server", "tokenizer"],
};
const globs = (project) => folders[project].map((dir) => `<rootDir>/test/${dir}/`);
const named = (project) => ({
  ...base,
  displayName: project,
  testMatch: globs(project).map((dir) => `${dir}**/*.test.ts`),
});

module.exports = {
  // By default a machine of two cores has one worker; tests of processes wait for them most of their time.
  maxWorkers: Math.max(3, require("node:os").availableParallelism() - 1),
  testTimeout: 60_000,
  projects: [
    named("unit"),
    named("text"),
    {
      ...base,
      displayName: "native",
      testMatch: ["<rootDir>/test/**/*.test.ts"],
      testPathIgnorePatterns: Object.keys(folders).flatMap(globs),
    },
  ],
};
