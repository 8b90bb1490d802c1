import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

const root = join(__dirname, "..", "..");

interface Version {
  readonly manifest: { readonly name: string; readonly version: string };
  readonly tarball: () => Buffer;
}

export interface Registry {
  readonly url: string;
  close(): Promise<void>;
}

/** A tarball as npm makes it: everything is below package/. */
function ofTarball(file: string): Version {
  const text = execFileSync("tar", ["-xzOf", file, "package/package.json"], { encoding: "utf8" });
  return { manifest: JSON.parse(text), tarball: () => readFileSync(file) };
}

/** What is installed here of a dependency. Packages in its own node_modules are packages by themselves. */
function ofFolder(folder: string): Version {
  const args = [
    "-C",
    folder,
    "--exclude=./node_modules",
    "--transform=s,^\\.,package,",
    "-I",
    "gzip -1",
    "-cf",
    "-",
    ".",
  ];
  return {
    manifest: JSON.parse(readFileSync(join(folder, "package.json"), "utf8")),
    tarball: () => execFileSync("tar", args, { maxBuffer: 2 ** 28 }),
  };
}

/** Folders of the packages that an installed mamba-serve needs, as the lock file has them. */
function dependencies(): string[] {
  const lock = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as {
    packages: Record<string, { dev?: true; optional?: true; devOptional?: true }>;
  };
  const entries = Object.entries(lock.packages).filter(([path, { dev, optional, devOptional }]) => {
    return path !== "" && !dev && !optional && !devOptional;
  });
  return entries.map(([path]) => join(root, path));
}

/** An npm registry on loopback with these tarballs, and with what this checkout has installed of their dependencies. */
export async function startRegistry(tarballs: readonly string[]): Promise<Registry> {
  const packages = new Map<string, Map<string, Version>>();
  for (const version of [...tarballs.map(ofTarball), ...dependencies().map(ofFolder)]) {
    const { name, version: number } = version.manifest;
    packages.set(name, (packages.get(name) ?? new Map()).set(number, version));
  }
  let url = "";
  const server = createServer((request, response) => {
    const [name = "", , number] = decodeURIComponent(request.url!.slice(1)).split(/(\/-\/)/);
    const versions = packages.get(name);
    const file = number === undefined ? undefined : versions?.get(number);
    if (file !== undefined) return void response.end(file.tarball());
    if (versions === undefined) return void response.writeHead(404).end("{}");
    const described = [...versions].map(([version, { manifest }]) => {
      return [version, { ...manifest, dist: { tarball: `${url}/${name}/-/${version}` } }] as const;
    });
    response.end(
      JSON.stringify({
        name,
        "dist-tags": { latest: described.at(-1)![0] },
        versions: Object.fromEntries(described),
      }),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, close: () => new Promise((resolve) => void server.close(() => resolve())) };
}
