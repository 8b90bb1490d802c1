// node scripts/pack.js OUT PLATFORM=FOLDER...: the tarballs of this version, ready for `npm publish`.
//
// OUT/mamba-serve-VERSION.tgz is the package itself, with its sources and without a binary. For each PLATFORM, such as
// linux-x64=build/Release, there is the package @mamba-serve/PLATFORM with the binaries in FOLDER. The first names all
// platform packages as optional dependencies: npm installs those whose os, cpu and libc are the machine's. The repository's
// own package.json does not, because a lock file cannot hold what has not been published yet.
const { execFileSync } = require("node:child_process");
const { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } = require("node:fs");
const { tmpdir } = require("node:os");
const { join, resolve } = require("node:path");

const root = join(__dirname, "..");
const manifest = require("../package.json");

/** The oldest versions of the system's libraries that binaries may ask for: those of RHEL 9, Ubuntu 22.04 and Debian 12. */
const oldest = { GLIBC: "2.34", GLIBCXX: "3.4.29", CXXABI: "1.3.13", GCC: "9.0.0" };

const addon = "mamba_serve.node";
const backend = "mamba_serve_cuda.so";

/** Binaries of each platform's package, and the program that strips them. */
const platforms = {
  "linux-x64": { cpu: "x64", files: [addon], strip: "strip" },
  "linux-arm64": { cpu: "arm64", files: [addon], strip: "aarch64-linux-gnu-strip" },
  "linux-x64-cuda13": { cpu: "x64", files: [addon, backend], strip: "strip" },
};

const parts = (version) => version.split(".").map(Number);

function isNewer(a, b) {
  const [left, right] = [parts(a), parts(b)];
  const at = left.findIndex((part, i) => part !== (right[i] ?? 0));
  return at >= 0 && left[at] > (right[at] ?? 0);
}

/** Symbol versions in the output of `objdump -T` that are newer than the oldest system that is supported has. */
function tooNew(symbols) {
  const named = [...symbols.matchAll(/\b(GLIBC|GLIBCXX|CXXABI|GCC)_(\d+(?:\.\d+)*)\)?\s+(\S+)/g)];
  return named.flatMap(([, library, version, symbol]) =>
    isNewer(version, oldest[library]) ? [`${symbol} needs ${library}_${version}`] : [],
  );
}

/** Packs what `fill` puts into a folder. */
function pack(out, fill) {
  const folder = mkdtempSync(join(tmpdir(), "mamba-serve-pack-"));
  try {
    fill(folder);
    const args = ["pack", folder, "--pack-destination", out, "--json", "--ignore-scripts"];
    const [{ filename, size }] = JSON.parse(execFileSync("npm", args, { encoding: "utf8", cwd: out }));
    process.stdout.write(`${filename}\t${size} bytes\n`);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function write(folder, content) {
  writeFileSync(join(folder, "package.json"), `${JSON.stringify(content, null, 2)}\n`);
}

function fillPlatform(folder, name, binaries) {
  const { cpu, files, strip } = platforms[name];
  const missing = files.filter((file) => !existsSync(join(binaries, file)));
  if (missing.length > 0) {
    throw new Error(`${name}: expected ${files.join(" and ")} in ${binaries}, got no ${missing.join(" and no ")}`);
  }
  for (const file of files) {
    const target = join(folder, file);
    copyFileSync(join(binaries, file), target);
    execFileSync(strip, ["--strip-unneeded", target]);
    const problems = tooNew(execFileSync("objdump", ["-T", target], { encoding: "utf8", maxBuffer: 2 ** 26 }));
    if (problems.length > 0)
      throw new Error(`${name}: ${file} runs on fewer systems than stated: ${problems.join(", ")}`);
  }
  copyFileSync(join(root, "LICENSE"), join(folder, "LICENSE"));
  writeFileSync(join(folder, "README.md"), `# @mamba-serve/${name}\n\nThe native part of mamba-serve; install that.\n`);
  write(folder, {
    name: `@mamba-serve/${name}`,
    version: manifest.version,
    description: `The native part of mamba-serve for ${name}`,
    license: manifest.license,
    main: addon,
    files,
    os: ["linux"],
    cpu: [cpu],
    libc: ["glibc"],
    engines: manifest.engines,
    publishConfig: { access: "public" },
  });
}

function fillMain(folder) {
  for (const name of [...manifest.files.filter((file) => !file.startsWith("!")), "README.md", "LICENSE"]) {
    cpSync(join(root, name), join(folder, name), { recursive: true });
  }
  const { scripts, devDependencies, ...published } = manifest;
  const names = Object.keys(platforms).map((name) => `@mamba-serve/${name}`);
  write(folder, {
    ...published,
    optionalDependencies: Object.fromEntries(names.map((name) => [name, manifest.version])),
  });
}

function main([given, ...chosen]) {
  if (given === undefined) throw new Error("usage: node scripts/pack.js OUT PLATFORM=FOLDER...");
  const out = resolve(given);
  mkdirSync(out, { recursive: true });
  for (const row of chosen) {
    const [name, folder] = row.split("=");
    if (platforms[name] === undefined) throw new Error(`${name} is none of ${Object.keys(platforms).join(", ")}`);
    pack(out, (target) => fillPlatform(target, name, resolve(folder ?? "")));
  }
  pack(out, fillMain);
}

module.exports = { oldest, platforms, tooNew };
if (require.main === module) main(process.argv.slice(2));
