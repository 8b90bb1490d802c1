import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "./run";

const dir = mkdtempSync(join(tmpdir(), "mamba-serve-"));
afterAll(() => rmSync(dir, { recursive: true }));

function file(name: string, content: unknown): string {
  const path = join(dir, name);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

async function settings(args: string[], env: NodeJS.ProcessEnv = {}) {
  const { code, stdout, stderr } = await run(["serve", "--print-config", ...args], { env });
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return JSON.parse(stdout) as Record<string, { value: unknown; from: string }>;
}

test("a flag wins over the environment, that over the file, that over the default", async () => {
  const config = file("serve.json", {
    port: 1,
    host: "::1",
    "max-num-seqs": 3,
    model: "from-file",
    "api-key": ["a", "b"],
  });
  const env = {
    MAMBA_SERVE_PORT: "2",
    MAMBA_SERVE_HOST: "10.0.0.1",
    MAMBA_SERVE_ALLOWED_ORIGIN: "https://x.example,https://y.example:81",
  };
  const found = await settings(["--config", config, "--port", "3"], env);
  expect(found).toMatchObject({
    model: { value: "from-file", from: config },
    port: { value: 3, from: "cli" },
    host: { value: "10.0.0.1", from: "MAMBA_SERVE_HOST" },
    "allowed-origin": { value: ["https://x.example", "https://y.example:81"], from: "MAMBA_SERVE_ALLOWED_ORIGIN" },
    "max-num-seqs": { value: 3, from: config },
    "drain-timeout": { value: 30, from: "default" },
    "api-key": { value: "***", from: config },
  });
  expect(found).not.toHaveProperty("config");
});

test("a flag that switches something off is on where it is set", async () => {
  const off = { value: true, from: "MAMBA_SERVE_NO_UI" };
  expect((await settings([]))["no-ui"]).toEqual({ value: false, from: "default" });
  expect((await settings([], { MAMBA_SERVE_NO_UI: "1" }))["no-ui"]).toEqual(off);
  expect((await settings(["--config", file("off.json", { "no-ui": true })]))["no-ui"]).toMatchObject({ value: true });
  expect((await settings(["--no-ui"]))["no-ui"]).toEqual({ value: true, from: "cli" });
});

test("the file and the model can be named in the environment; MODEL on the command line wins", async () => {
  const env = { MAMBA_SERVE_CONFIG: file("named.json", { "log-level": "info" }), MAMBA_SERVE_MODEL: "m" };
  expect(await settings([], env)).toMatchObject({
    "log-level": { value: "info" },
    model: { value: "m", from: "MAMBA_SERVE_MODEL" },
  });
  expect((await settings(["storyteller-6m"], env)).model).toEqual({ value: "storyteller-6m", from: "cli" });
});

test.each<[string, string[], NodeJS.ProcessEnv, RegExp]>([
  ["an unknown key", ["--config", file("1.json", { prot: 1 })], {}, /1\.json: "prot" is no setting/],
  ["a value out of range", ["--config", file("2.json", { port: 70_000 })], {}, /2\.json: "port": .*0 to 65535/],
  ["another choice", ["--config", file("3.json", { "log-level": "loud" })], {}, /"log-level": .*silent/],
  ["a wrong type", ["--config", file("4.json", { host: { a: 1 } })], {}, /"host": expected a string or a number/],
  ["a list for a single value", ["--config", file("5.json", { port: [1, 2] })], {}, /"port": expected a string or/],
  ["a list of wrong things", ["--config", file("6.json", { "api-key": [null] })], {}, /"api-key": expected/],
  ["no object", ["--config", file("7.json", "[]")], {}, /expected a JSON object/],
  ["no JSON", ["--config", file("8.json", "{port: 1}")], {}, /8\.json: .*JSON/],
  ["no file", ["--config", join(dir, "none.json")], {}, /none\.json/],
  [
    "a list with a bad value",
    ["--config", file("9.json", { "allowed-origin": ["https://a.example", "b"] })],
    {},
    /an origin as/,
  ],
  [
    "a bad value among others",
    [],
    { MAMBA_SERVE_ALLOWED_ORIGIN: "*,x" },
    /MAMBA_SERVE_ALLOWED_ORIGIN: "\*,x" is invalid. Expected an origin/,
  ],
  [
    "a bad variable",
    [],
    { MAMBA_SERVE_PORT: "tcp://10.0.0.1:80" },
    /MAMBA_SERVE_PORT: "tcp:\/\/10.0.0.1:80" is invalid. Expected a whole number/,
  ],
  ["a bad switch", [], { MAMBA_SERVE_STRICT: "" }, /MAMBA_SERVE_STRICT: expected true or false, got ""/],
])("refuses %s", async (_, args, env, message) => {
  const { code, stdout, stderr } = await run(["serve", "--print-config", ...args], { env });
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toMatch(message);
  expect(stderr).not.toContain("unexpected");
});

test("tells of a variable that is no setting", async () => {
  const env = { MAMBA_SERVE_MAX_SEQS: "4", MAMBA_SERVE_CPU_ISA: "auto", MAMBA_SERVE_NO_UI: "false" };
  const { code, stderr } = await run(["serve", "--print-config"], { env });
  expect({ code, stderr }).toEqual({
    code: 0,
    stderr: "note: the environment has MAMBA_SERVE_MAX_SEQS, which is no setting of serve\n",
  });
});

test.each<[string[], RegExp]>([
  [["--allowed-origin", "app.example"], /an origin as/],
  [["--allowed-origin", "https://app.example/path"], /an origin as/],
  [["--allowed-origin", "https://app.example", "--allowed-origin", "x"], /an origin as/],
  [["--model-name", ""], /letters, digits/],
  [["--model-name", "a b"], /letters, digits/],
  [["--model-name", "a/"], /letters, digits/],
  [["--model-name", "x".repeat(257)], /256 letters/],
  [["--allowed-host", "https://app.example"], /a name as/],
  [["--allowed-host", "app.example:80"], /a name as/],
])("serve refuses %j", async (args, message) => {
  const { code, stderr } = await run(["serve", "--print-config", ...args]);
  expect(code).toBe(1);
  expect(stderr).toMatch(message);
});

test.each<[string, string[], RegExp]>([
  ["a file without keys", ["--api-key-file", file("none.txt", "# none yet\n\n")], /holds no key/],
  ["a file that is not there", ["--api-key-file", join(dir, "nope")], /--api-key-file: ENOENT/],
  ["an empty key", ["--api-key", ""], /an API key is empty/],
  ["a key with a space", ["--api-key", "a b"], /an API key is empty or has spaces/],
  ["half of TLS", ["--tls-cert", "x.pem"], /go together/],
])("serve refuses %s before it loads a model", async (_, args, message) => {
  const { code, stderr } = await run(["serve", "no-such-model", ...args]);
  expect(code).toBe(1);
  expect(stderr).toMatch(message);
});
