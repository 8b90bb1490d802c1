// Two projects: "unit" never loads the addon and runs in seconds; "native" needs the built addon.
/** Packages that a worker loads once for all of its test files: a server's took half of the time of a test of it. */
const outside = "(zod|fastify|@fastify/[^/]+|fastify-type-provider-zod|prom-client|commander)/";

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

const folders = [
  "architecture",
  "bench/serve",
  "docs",
  "engine",
  "grammar",
  "hub",
  "json",
  "tokenizer",
  "server",
  "step",
  "supervisor",
  "web",
  "weights",
];
const unit = folders.map((dir) => `<rootDir>/test/${dir}/`);

module.exports = {
  // By default a machine of two cores has one worker.
  maxWorkers: Math.max(2, require("node:os").availableParallelism() - 1),
  testTimeout: 60_000,
  projects: [
    { ...base, displayName: "unit", testMatch: unit.map((dir) => `${dir}**/*.test.ts`) },
    { ...base, displayName: "native", testMatch: ["<rootDir>/test/**/*.test.ts"], testPathIgnorePatterns: unit },
  ],
};
