/** What deploy/ and docs/ name has to be there: flags, environment variables, routes, metrics, files and scripts. */
import "../helpers/allow-inject";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { Command } from "commander";
import { parse, parseAllDocuments } from "yaml";
import { defineServe } from "../../src/cli/serve";
import { buildApp } from "../../src/server/app";
import { dashboardQueries } from "../fleet/queries";
import { FakeLanguageModel } from "../helpers/fake-language-model";

const root = join(__dirname, "..", "..");
const read = (path: string) => readFileSync(join(root, path), "utf8");
const deployed = readdirSync(join(root, "deploy"), { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => relative(root, join(entry.parentPath, entry.name)));
const pages = ["docs/clients.md", "docs/deployment.md", "docs/installation.md", "docs/server.md"];
const all = [...deployed, ...pages];
const linking = [
  "README.md",
  "docs/api.md",
  "docs/deployment.md",
  "docs/models.md",
  "docs/performance.md",
  "docs/server.md",
];

/** Flags of other programs that these files show. */
const foreign = [
  "--build-arg",
  "--no-install-recommends",
  "--no-audit",
  "--no-fund",
  "--omit",
  "--from",
  "--model",
  "--tasks",
];
const ofContainers = ["--stop-timeout", "--device nvidia.com/gpu=all", "--gpus all"];

const serve = new Command("serve");
defineServe(serve);
const flags = serve.options.map(({ long }) => long!);
const variables = ["MODEL", "ADDON", ...flags.map((flag) => flag.slice(2).replaceAll("-", "_").toUpperCase())];

function unknownFlags(text: string): string[] {
  const own = ofContainers.reduce((rest, flag) => rest.replaceAll(flag, ""), text);
  const named = [...own.matchAll(/(?<![\w-])--[a-z][a-z-]*/g)].map(([flag]) => flag);
  const set = [...own.matchAll(/MAMBA_SERVE_(\w+)/g)].filter(([, name]) => !variables.includes(name!));
  return [...named.filter((flag) => ![...flags, ...foreign].includes(flag)), ...set.map(([name]) => name)];
}

const app = buildApp(new FakeLanguageModel());
afterAll(() => app.close());

async function unknownMetrics(text: string): Promise<string[]> {
  const { body } = await app.inject("/metrics");
  const known = [...body.matchAll(/^# TYPE (\S+) (\w+)$/gm)].flatMap(([, name, type]) =>
    type === "histogram" ? [name, `${name}_bucket`, `${name}_sum`, `${name}_count`] : [name],
  );
  const ofServer = [...text.matchAll(/mamba_serve(?::|_(?=num_))(\w+)/g)].map(([, name]) => `mamba_serve:${name}`);
  const ofProcess = [...text.matchAll(/\b(?:process|nodejs)_\w+/g)].map(([name]) => name);
  return [...ofServer, ...ofProcess].filter((name) => !known.includes(name));
}

async function unknownRoutes(text: string): Promise<string[]> {
  const { endpoints } = (await app.inject({ url: "/", headers: { accept: "application/json" } })).json() as {
    endpoints: string[];
  };
  const known = endpoints.map((line) => line.split(" ").at(-1));
  const probed = [...text.matchAll(/\bpath: (\/(?!spec\/)[\w/]*)/g), ...text.matchAll(/location = (\/\w+)/g)].map(
    ([, path]) => path!,
  );
  const named = [...text.matchAll(/`(\/(?:health|ready|metrics|v1|engine|version)[\w/]*)`/g)].map(([, path]) => path!);
  return [...probed, ...named].filter((path) => !known.includes(path));
}

describe.each(all)("%s", (path) => {
  const text = read(path);

  it("names flags, metrics and routes that there are", async () => {
    expect(unknownFlags(text)).toEqual([]);
    expect(await unknownMetrics(text)).toEqual([]);
    expect(await unknownRoutes(text)).toEqual([]);
  });
});

it("finds what there is not", async () => {
  expect(unknownFlags("--drain-time 5, MAMBA_SERVE_POTR=1")).toEqual(["--drain-time", "MAMBA_SERVE_POTR"]);
  expect(await unknownMetrics("mamba_serve:num_waiting, mamba_serve_num_x, nodejs_lag")).toHaveLength(3);
  expect(await unknownRoutes("httpGet: { path: /healthz }, `/readyz`")).toEqual(["/healthz", "/readyz"]);
});

interface Document {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec: { readonly template: { readonly spec: Pod } };
}
interface Pod {
  readonly terminationGracePeriodSeconds: number;
  readonly containers: {
    readonly args: string[];
    readonly lifecycle: { readonly preStop: { readonly exec: { readonly command: string[] } } };
  }[];
}

const documents = (path: string) =>
  parseAllDocuments(read(path), { strict: true, uniqueKeys: true }).map((document) => {
    expect([...document.errors, ...document.warnings]).toEqual([]);
    return document.toJS() as Document;
  });

it.each(deployed.filter((path) => path.endsWith(".yaml")))("%s is YAML", (path) => {
  expect(documents(path).length).toBeGreaterThan(0);
});

it("the pod's Deployment takes arguments that the program parses, and has time to drain", () => {
  const { spec } = documents("deploy/kubernetes/base/workload.yaml").find(({ kind }) => kind === "Deployment")!;
  const pod = spec.template.spec;
  const { args, lifecycle } = pod.containers[0]!;
  expect(args[0]).toBe("serve");
  const { operands, unknown } = serve.parseOptions(args.slice(1));
  expect({ operands, unknown }).toEqual({ operands: ["/models/my-model"], unknown: [] });
  const drain = Number(args.find((arg) => arg.startsWith("--drain-timeout="))!.split("=")[1]);
  const wait = Number(lifecycle.preStop.exec.command[1]);
  expect(pod.terminationGracePeriodSeconds).toBeGreaterThan(wait + drain + 2);
});

it.each(deployed.filter((path) => path.endsWith("kustomization.yaml")))("%s names what there is", (path) => {
  const { resources } = documents(path)[0] as unknown as { resources: string[] };
  const folder = join(root, dirname(path));
  expect(resources.filter((name) => !existsSync(join(folder, name)))).toEqual([]);
  const beside = readdirSync(folder).filter((name) => name !== "kustomization.yaml");
  expect(resources).toEqual(expect.arrayContaining(beside));
});

it("the pool's patch takes away the argument that it names", () => {
  const [{ patches }] = documents("deploy/kubernetes/inference-pool/kustomization.yaml") as unknown as [
    { patches: { patch: string }[] },
  ];
  const [test, remove] = parse(patches[0]!.patch) as { op: string; path: string; value?: string }[];
  const deployment = documents("deploy/kubernetes/base/workload.yaml").find(({ kind }) => kind === "Deployment")!;
  const found = test!.path
    .split("/")
    .slice(1)
    .reduce<unknown>((at, key) => (at as Record<string, unknown>)[key], deployment);
  expect(found).toBe(test!.value);
  expect(remove).toEqual({ op: "remove", path: test!.path });
});

it("KServe's runtime takes arguments that the program parses, and answers where it is probed", () => {
  const { spec } = documents("deploy/kserve.yaml").find(({ kind }) => kind === "ServingRuntime")!;
  const { args } = (spec as unknown as Pod).containers[0]!;
  expect(args[0]).toBe("serve");
  // KServe puts the name of the service in.
  const filled = args.slice(1).map((arg) => arg.replace("{{.Name}}", "my-model"));
  expect(serve.parseOptions(filled)).toEqual({ operands: ["/mnt/models"], unknown: [] });
});

it("the dashboard asks for each query once, and its variables are replaced", () => {
  const queries = dashboardQueries("1m").map(({ expr }) => expr);
  expect(queries.length).toBeGreaterThan(20);
  expect(new Set(queries).size).toBe(queries.length);
  for (const expr of queries) expect(expr).not.toContain("$");
});

it("the unit has time to drain", () => {
  const unit = read("deploy/mamba-serve.service");
  const drain = Number(/DRAIN_TIMEOUT=(\d+)/.exec(unit)![1]);
  expect(Number(/TimeoutStopSec=(\d+)/.exec(unit)![1])).toBeGreaterThan(drain + 2);
});

it("the proxies close idle connections before the server does", () => {
  expect(Number(/keepalive_timeout (\d+)s/.exec(read("deploy/nginx.conf"))![1])).toBeLessThan(75);
  expect(
    Number(/common_http_protocol_options: \{ idle_timeout: (\d+)s/.exec(read("deploy/envoy.yaml"))![1]),
  ).toBeLessThan(75);
});

it.each(linking)("links of %s lead somewhere", (path) => {
  const links = [...read(path).matchAll(/\]\((?!https?:)([^)#]+)/g)].map(([, link]) =>
    normalize(join(dirname(path), link!)),
  );
  expect(links.filter((link) => !existsSync(join(root, link)))).toEqual([]);
  expect(links.length).toBeGreaterThan(0);
});

it("the page explains each file and each alert", () => {
  const page = read("docs/deployment.md");
  for (const path of deployed) expect(page).toContain(`(../${path})`);
  const alerts = [...read("deploy/prometheus/alerts.yaml").matchAll(/alert: (\w+)/g)].map(([, name]) => name!);
  expect(alerts.length).toBeGreaterThan(3);
  for (const name of alerts) expect(page).toContain(`| \`${name}\` |`);
});
