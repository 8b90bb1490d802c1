import { readFileSync } from "node:fs";
import os from "node:os";
import { EngineError } from "../errors";
import { addonPath, addon as nativeAddon } from "../native/load";
import { Device, type DeviceDescription, type DeviceKind, deviceKinds } from "../tensor/device";
import { packageVersion } from "../version";
import { gitCommit } from "./package-info";

/** CPU features that some kernel is written for, as Linux names them. */
const cpuFlags = ["avx2", "fma", "f16c", "avx512f", "avx512_bf16"] as const;

const products: Readonly<Record<DeviceKind, string>> = { cuda: "cuBLASLt and own kernels", cpu: "own kernels" };

const variables = ["MAMBA_SERVE_ADDON", "MAMBA_SERVE_CPU_ISA", "NODE_OPTIONS", "TRACE"];

export interface AddonFacts {
  /** The file that is loaded; null where none was found. */
  readonly path: string | null;
  /** Why it cannot be loaded, in the loader's words; null where it can. */
  readonly error: string | null;
}

export interface DeviceFacts {
  readonly kind: DeviceKind;
  readonly description: DeviceDescription | null;
  /** What computes matrix products on it. */
  readonly products: string;
  /** Set where the device cannot be opened; ERR_NOT_BUILT is no fault of the machine. */
  readonly error: { readonly code: string; readonly message: string } | null;
}

/** This package and the machine it runs on, as a bug report needs them. */
export interface Environment {
  readonly version: string;
  readonly commit: string | null;
  readonly node: string;
  readonly os: string;
  readonly libc: string;
  readonly cpu: {
    readonly model: string;
    readonly cores: number;
    /** Cores that this process may use. */
    readonly usableCores: number;
    readonly flags: Readonly<Record<string, boolean>>;
  };
  readonly memory: { readonly total: number; readonly free: number };
  readonly variables: Readonly<Record<string, string>>;
  readonly addon: AddonFacts;
  readonly devices: readonly DeviceFacts[];
}

export function readEnvironment(): Environment {
  const addon = addonFacts();
  return {
    version: packageVersion(),
    commit: gitCommit(),
    node: `${process.version} (modules ${process.versions.modules}, N-API ${process.versions.napi})`,
    os: `${distribution()}, ${os.type()} ${os.release()} ${os.machine()}`,
    libc: libc(),
    cpu: {
      model: os.cpus()[0]?.model.trim() ?? "unknown",
      cores: os.cpus().length,
      usableCores: os.availableParallelism(),
      flags: flagsOf(firstLine("/proc/cpuinfo", /^(?:flags|Features)\s*:\s*(.*)$/m) ?? ""),
    },
    memory: { total: os.totalmem(), free: os.freemem() },
    variables: Object.fromEntries(variables.flatMap((name) => entryOf(name, process.env[name]))),
    addon,
    devices: addon.error === null ? deviceKinds.map(deviceFacts) : [],
  };
}

function addonFacts(): AddonFacts {
  const path = addonPath() ?? null;
  try {
    nativeAddon();
    return { path, error: null };
  } catch (error) {
    return { path, error: error instanceof Error ? error.message : String(error) };
  }
}

function deviceFacts(kind: DeviceKind): DeviceFacts {
  let device: Device | undefined;
  try {
    // The addon says itself what it was built without.
    device = Device.open({ kind });
    return { kind, description: device.describe(), products: products[kind], error: null };
  } catch (error) {
    if (!EngineError.is(error)) throw error;
    return { kind, description: null, products: products[kind], error: { code: error.code, message: error.message } };
  } finally {
    device?.close();
  }
}

function distribution(): string {
  return firstLine("/etc/os-release", /^PRETTY_NAME="?([^"\n]*)"?$/m) ?? os.platform();
}

function libc(): string {
  if (process.platform !== "linux") return "the system's";
  const report = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
  const version = report.header.glibcVersionRuntime;
  return version === undefined ? "not glibc (musl?)" : `glibc ${version}`;
}

function flagsOf(line: string): Record<string, boolean> {
  const present = new Set(line.split(" "));
  return Object.fromEntries(cpuFlags.map((flag) => [flag, present.has(flag)]));
}

/** The first group of `pattern` in a file; undefined where the file or the match is missing. */
function firstLine(path: string, pattern: RegExp): string | undefined {
  try {
    return pattern.exec(readFileSync(path, "utf8"))?.[1];
  } catch {
    return undefined; // another operating system
  }
}

function entryOf(name: string, value: string | undefined): [string, string][] {
  return value === undefined ? [] : [[name, value]];
}
