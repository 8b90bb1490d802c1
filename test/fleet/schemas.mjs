/**
 * node test/fleet/schemas.mjs MODULES [CRDS]: checks the Kubernetes manifests of deploy/ against the schemas of the npm packages
 * kubernetes-models, @kubernetes-models/gateway-api and @kubernetes-models/prometheus-operator in the folder MODULES; other kinds
 * against the CustomResourceDefinitions in the folder CRDS. It says which it had no schema for, and ends with 1 where one is not met.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import Ajv from "ajv";
import { parseAllDocuments } from "yaml";

const [modules, crdFolder] = process.argv.slice(2);
const packages = ["kubernetes-models", "@kubernetes-models/gateway-api", "@kubernetes-models/prometheus-operator"];
const folder = join(import.meta.dirname, "..", "..", "deploy");
const read = (path) => parseAllDocuments(readFileSync(path, "utf8")).map((document) => document.toJS());

/** An openAPIV3Schema takes no field that it does not name, unless it says so. */
function closed(schema) {
  if (Array.isArray(schema)) return schema.map(closed);
  if (schema === null || typeof schema !== "object") return schema;
  const all = Object.fromEntries(Object.entries(schema).map(([name, value]) => [name, closed(value)]));
  const isOpen = all["x-kubernetes-preserve-unknown-fields"] || "additionalProperties" in all;
  return all.type === "object" && all.properties && !isOpen ? { ...all, additionalProperties: false } : all;
}

function crds() {
  if (crdFolder === undefined) return [];
  return readdirSync(crdFolder)
    .filter((name) => name.endsWith(".yaml"))
    .flatMap((name) => read(join(crdFolder, name)))
    .filter((document) => document?.kind === "CustomResourceDefinition")
    .flatMap(({ spec }) => spec.versions.map(({ name, schema }) => ({ spec, version: name, schema })));
}

async function ofPackage(group, version, kind) {
  for (const name of packages) {
    const path = join(modules, name, group, version, kind);
    const file = [`${path}.mjs`, `${path}.js`].find(existsSync);
    if (file === undefined) continue;
    const Model = (await import(pathToFileURL(file)))[kind];
    return (document) => new Model(document).validate();
  }
}

function ofCrd(group, version, kind) {
  const found = crds().find(
    ({ spec, version: name }) => spec.group === group && spec.names.kind === kind && name === version,
  );
  if (found === undefined) return undefined;
  const schema = closed(found.schema.openAPIV3Schema);
  const validate = new Ajv({ strict: false, allErrors: true, validateFormats: false }).compile(schema);
  return (document) => {
    if (!validate(document)) throw new Error(JSON.stringify(validate.errors, null, 2));
  };
}

let failed = 0;
const manifests = readdirSync(folder, { recursive: true }).filter((name) =>
  /^(kubernetes\/.*|kserve)\.yaml$/.test(name),
);
for (const name of manifests.sort()) {
  for (const document of read(join(folder, name))) {
    const { apiVersion, kind } = document;
    const [version, group = ""] = apiVersion.split("/").reverse();
    const validate =
      (await ofPackage(group, version, kind)) ??
      (await ofPackage(group.replace(/\.k8s\.io$/, ""), version, kind)) ??
      ofCrd(group, version, kind);
    let result = "ok";
    try {
      if (validate === undefined) result = "no schema at hand";
      else await validate(document);
    } catch (error) {
      result = `FAILED: ${error.message}`;
      failed += 1;
    }
    console.log(`${name}  ${apiVersion} ${kind}: ${result}`);
  }
}
process.exit(failed > 0 ? 1 : 0);
