// Jest runs tests in their own realm; the addon and Node's built-ins live in the outer one. Sharing these constructors
// keeps `instanceof` and `toThrow(TypeError)` true across the two.
const { join } = require("node:path");
const { TestEnvironment } = require("jest-environment-node");

const shared = [
  "ArrayBuffer",
  "Float32Array",
  "Float64Array",
  "Int8Array",
  "Int16Array",
  "Int32Array",
  "Uint8Array",
  "Uint16Array",
  "Uint32Array",
  "BigInt64Array",
  "BigUint64Array",
  "Error",
  "TypeError",
  "RangeError",
  "SyntaxError",
];

module.exports = class extends TestEnvironment {
  async setup() {
    await super.setup();
    for (const name of shared) this.global[name] = globalThis[name];
    this.global.requireOutside = require; // see outside.js
    // Processes that the tested sources start run from their sources, too.
    this.global.process.execArgv = ["-r", join(__dirname, "register.js")];
  }
};
