// Loaded into a process with -r: measures how late its event loop is between the messages "begin" and "end" of its parent,
// and answers "end" with LoopDelay. Any process with an IPC channel can be measured, whatever it runs.
import { monitorEventLoopDelay } from "node:perf_hooks";

/** All in milliseconds. */
export interface LoopDelay {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** A timer of this many milliseconds measures; its own period is in what the histogram holds. */
const RESOLUTION_MS = 1;

function measureOnRequest(): void {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  const milliseconds = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS);
  process.on("message", (message) => {
    if (message === "begin") {
      histogram.reset();
      histogram.enable();
    } else if (message === "end") {
      histogram.disable();
      const [p50, p99] = [50, 99].map((percent) => milliseconds(histogram.percentile(percent)));
      process.send?.({ p50, p99, max: milliseconds(histogram.max) });
    }
  });
  // Waiting for messages keeps no process alive.
  process.channel?.unref();
}

// Children of the measured process inherit the option, and their channel is not ours.
if (process.env.LOOP_DELAY_PARENT === `${process.ppid}`) measureOnRequest();
