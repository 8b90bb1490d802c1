// Two projects: "unit" never loads the addon and runs in seconds; "native" needs the built addon.
const base = {
  testEnvironment: "<rootDir>/test/helpers/environment.js",
  // The web page's scripts are modules, which only a browser reads as they are.
  transform: {
    "(\\.ts|/web/[^/]+\\.js)$": [
      "@swc/jest",
      { jsc: { parser: { syntax: "typescript" }, target: "es2022" }, module: { type: "commonjs" } },
    ],
  },
};

const folders = [
  "architecture",
  "bench/serve",
  "docs",
  "engine",
  "grammar",
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
  testTimeout: 60_000,
  projects: [
    { ...base, displayName: "unit", testMatch: unit.map((dir) => `${dir}**/*.test.ts`) },
    { ...base, displayName: "native", testMatch: ["<rootDir>/test/**/*.test.ts"], testPathIgnorePatterns: unit },
  ],
};
