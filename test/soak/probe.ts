/** What a process of the soak tells about itself: one JSON line for each connection to a Unix socket. */
import { once } from "node:events";
import { createConnection, createServer } from "node:net";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

export interface Sample {
  /** JavaScript's objects and the buffers they own; only what is alive where garbage was collected first. */
  readonly heapBytes: number;
  /** How late the event loop was since the sample before, in milliseconds. */
  readonly loopDelay: { readonly p50: number; readonly p99: number; readonly max: number };
}

/** "now" leaves the process as it is; "settled" collects garbage first, for samples of an idle process. */
export type SampleKind = "now" | "settled";

/** A timer of this many milliseconds measures the delay; its own period is in what the histogram holds. */
const RESOLUTION_MS = 2;

/** Answers samples at `path` as long as the process lives, each with what `more` returns. */
export function answerSamples(path: string, more: () => object): void {
  setFlagsFromString("--expose-gc");
  const collectGarbage = runInNewContext("gc") as () => void;
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  histogram.enable();
  const milliseconds = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS);
  const sample = (kind: SampleKind): Sample => {
    if (kind === "settled") collectGarbage();
    const { heapUsed, external } = process.memoryUsage();
    const [p50, p99] = [50, 99].map((percent) => milliseconds(histogram.percentile(percent)));
    const loopDelay = { p50: p50!, p99: p99!, max: milliseconds(histogram.max) };
    histogram.reset();
    return { heapBytes: heapUsed + external, loopDelay, ...more() };
  };
  createServer((socket) => {
    socket.on("error", () => {}); // who asks may leave
    socket.once("data", (kind) => socket.end(JSON.stringify(sample(String(kind) as SampleKind))));
  })
    .listen(path)
    .unref();
}

/** A sample of the process that answers at `path`. */
export async function readSample<T extends Sample>(path: string, kind: SampleKind): Promise<T> {
  const socket = createConnection(path);
  socket.setEncoding("utf8");
  let text = "";
  socket.on("data", (piece) => {
    text += String(piece);
  });
  socket.write(kind);
  await once(socket, "close");
  return JSON.parse(text) as T;
}
