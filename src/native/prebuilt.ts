/** Packages that hold the addon built, one for each kind of machine; they are optional dependencies of this one. */
export interface PrebuiltPackage {
  readonly name: string;
  readonly os: string;
  readonly cpu: string;
}

/** The first that is installed is taken. The one with CUDA holds the addon and the CUDA backend beside it. */
export const prebuiltPackages: readonly PrebuiltPackage[] = [
  { name: "@mamba-serve/linux-x64-cuda13", os: "linux", cpu: "x64" },
  { name: "@mamba-serve/linux-x64", os: "linux", cpu: "x64" },
  { name: "@mamba-serve/linux-arm64", os: "linux", cpu: "arm64" },
];

export const ADDON_FILE = "mamba_serve.node";

/** Names of the packages that run on such a machine, the best first. */
export function prebuiltFor(os: string, cpu: string): string[] {
  return prebuiltPackages.filter((row) => row.os === os && row.cpu === cpu).map(({ name }) => name);
}

/** The addons of the packages that are installed here, the best first. */
export function prebuiltAddons(): string[] {
  return prebuiltFor(process.platform, process.arch).flatMap((name) => {
    try {
      return [require.resolve(`${name}/${ADDON_FILE}`)];
    } catch {
      return []; // an optional dependency that was left out
    }
  });
}

/** What to do on this machine to get an addon. */
export function howToGetAddon(os: string = process.platform, cpu: string = process.arch): string {
  const names = prebuiltFor(os, cpu);
  const build = "`npx mamba-serve build` compiles it here, with CMake and a C++20 compiler";
  if (names.length === 0) return `there is no package of it for ${os}-${cpu}; ${build}`;
  return `install it with \`npm install --include=optional ${names.at(-1)}\`, or ${build}`;
}
