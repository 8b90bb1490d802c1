import { availableParallelism } from "node:os";
import { EngineError } from "../errors";
import { Device, deviceKinds } from "../tensor/device";
import type { EngineOptions } from "./policy/config";

/**
 * Opens the device that was asked for. "auto" takes the first that is built and works; why another one could not be used is
 * told to `onMessage`, unless it is just not part of this build. Throws ERR_NOT_BUILT or ERR_NO_DEVICE for one asked for by
 * name.
 */
export function openDevice(
  { device = "auto", threads = 0, deterministic = false }: Pick<EngineOptions, "device" | "threads" | "deterministic">,
  onMessage: (message: string) => void = () => {},
): Device {
  if (device !== "auto") {
    if (!deviceKinds.includes(device)) {
      const message = `device must be auto, ${deviceKinds.join(" or ")}, got ${device}`;
      throw new EngineError("ERR_ARGUMENT", message, { subject: "device" });
    }
    return Device.open({ kind: device, threads, deterministic });
  }
  try {
    return Device.open({ kind: "cuda", threads, deterministic });
  } catch (error) {
    if (!EngineError.is(error) || (error.code !== "ERR_NOT_BUILT" && error.code !== "ERR_NO_DEVICE")) throw error;
    if (error.code === "ERR_NO_DEVICE") onMessage(`runs on the CPU: ${error.message}`);
  }
  return Device.open({ kind: "cpu", threads, deterministic });
}

/** Ranks of a group at most: more would be no mistake of this project's. */
const MOST_RANKS = 64;

/**
 * The devices of a model's ranks, joined; one where it is not parted. GPUs are taken from the first one on. Throws as openDevice does,
 * and ERR_ARGUMENT.
 */
export function openDevices(
  options: Pick<EngineOptions, "device" | "threads" | "deterministic" | "tensorParallelSize">,
  onMessage: (message: string) => void = () => {},
): Device[] {
  const { tensorParallelSize: ranks = 1, threads = availableParallelism() } = options;
  if (!(Number.isInteger(ranks) && ranks >= 1 && ranks <= MOST_RANKS)) {
    const message = `tensorParallelSize must be a whole number from 1 to ${MOST_RANKS}, got ${ranks}`;
    throw new EngineError("ERR_ARGUMENT", message, { subject: "tensorParallelSize" });
  }
  if (ranks === 1) return [openDevice(options, onMessage)];
  const own = Math.max(1, Math.floor(threads / ranks));
  const { deterministic = false } = options;
  const first = openDevice({ ...options, threads: own }, onMessage);
  const devices = [first];
  const { kind } = first;
  try {
    for (let rank = 1; rank < ranks; rank++) {
      devices.push(Device.open({ kind, threads: own, deterministic, index: kind === "cuda" ? rank : 0 }));
    }
    Device.join(devices);
    return devices;
  } catch (error) {
    for (const device of devices) device.close();
    throw error;
  }
}
