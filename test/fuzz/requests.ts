import fc from "fast-check";
import type { StatusLine } from "../../src/cli/status-line";
import { LLM } from "../../src/llm/llm";
import { buildApp } from "../../src/server/app";
import { postRoutes, sendBody } from "./answers";
import { requestBody } from "./request-bodies";

/** Bodies for all routes in turn, over the bundled model with a short context; the smallest that fails is the finding. */
export async function fuzzRequests(seconds: number, seed: number, line: StatusLine) {
  const llm = await LLM.load(undefined, { device: "cpu", maxNumSeqs: 16, maxModelLen: 64 });
  const app = buildApp(llm);
  const routes = await postRoutes(app);
  const outcomes: Record<string, number> = {};
  let executions = 0;
  /** Time ends in the middle of it, and the model stays until it is answered. */
  let last: Promise<unknown> = Promise.resolve();
  const end = performance.now() + 1000 * seconds;
  const property = fc.asyncProperty(fc.constantFrom(...routes), requestBody, async (route, body) => {
    const sent = sendBody(app, route, body);
    last = sent.catch(() => {});
    const status = await sent;
    outcomes[status] = (outcomes[status] ?? 0) + 1;
    executions += 1;
    if (executions % 100 === 0) {
      line.show(`${Math.max(0, Math.ceil((end - performance.now()) / 1000))} s left  ${executions} executions`);
    }
  });
  const limit = { interruptAfterTimeLimit: 1000 * seconds, markInterruptAsFailure: false };
  const result = await fc.check(property, { seed, numRuns: 2 ** 31 - 1, ...limit });
  line.clear();
  await last;
  await app.close();
  await llm.close();
  const findings = result.failed ? [{ what: fc.defaultReportMessage(result) ?? "", dir: "(no files)" }] : [];
  return { target: "requests", seed, executions, outcomes, findings };
}
