import { lstat, unlink } from "node:fs/promises";
import { connect } from "node:net";
import { EngineError } from "../../errors";

function isAnswering(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}

/** A socket's path has at most so many on Linux; Node would listen at the path cut off there. */
const maxPathBytes = 107;

/** Throws ERR_IO for a path that is longer than the operating system takes. */
export function checkSocketPath(path: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes <= maxPathBytes) return;
  const message = `cannot listen: the path of the Unix socket has ${bytes} bytes; at most ${maxPathBytes} are possible`;
  throw new EngineError("ERR_IO", message, { subject: "uds" });
}

/**
 * Removes the socket of a server that was killed, so that its path can be used again. Throws ERR_IO when a server answers there,
 * or the path is something other than a socket.
 */
export async function removeStaleSocket(path: string): Promise<void> {
  const entry = await lstat(path).catch(() => undefined);
  if (entry === undefined) return;
  const refuse = (reason: string) => new EngineError("ERR_IO", `cannot listen: ${path} ${reason}`, { subject: "uds" });
  if (!entry.isSocket()) throw refuse("exists and is not a socket; choose another path");
  if (await isAnswering(path)) throw refuse("is in use; stop the other server or choose another path");
  await unlink(path);
}
