import { extname, join } from "node:path";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { generateLoad, type LoadPlan, type LoadProgress, type LoadResult } from "./load";

/**
 * generateLoad() in a thread of its own: that has its own event loop and heap, so neither the terminal nor garbage of the
 * caller delays the reading of the clock. A process of its own would give no more, and would have to be watched.
 */
export function generateLoadInThread(
  plan: LoadPlan,
  onProgress: (progress: LoadProgress) => void,
): Promise<LoadResult> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(join(__dirname, `load-thread${extname(__filename)}`), { workerData: plan });
    worker.on("message", (message: LoadProgress | LoadResult) => {
      if ("outcomes" in message) resolve(message);
      else onProgress(message);
    });
    worker.on("error", reject);
    worker.on("exit", (code) => reject(new Error(`the load generator's thread ended with ${code}`)));
  });
}

async function main(): Promise<void> {
  const port = parentPort!;
  port.postMessage(await generateLoad(workerData as LoadPlan, (progress) => port.postMessage(progress)));
}

if (!isMainThread && require.main === module) void main();
