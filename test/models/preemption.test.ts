import { Engine } from "../../src/engine/engine";
import type { EngineConfig } from "../../src/engine/policy/config";
import { PAGE_SIZE } from "../../src/engine/policy/kv-pages";
import { greedyRequest } from "../../src/engine/policy/request";
import type { ScheduledBatch } from "../../src/engine/policy/step-plan";
import { type PreparedRunner, prepareRunner } from "../../src/engine/prepare-runner";
import { loadWeights } from "../../src/llm/load-weights";
import { loadModelConfig } from "../../src/models/config";
import { Device } from "../../src/tensor/device";
import { testDevices } from "../helpers/backends";
import { goldens } from "../helpers/golden";

const kind = testDevices[0]!;
/** Tokens of the preempted answer before the other request comes. */
const BEFORE = 3;

/** A sequence loses its state and its pages to one that goes before, and computes them again: the reference's tokens all the same. */
describe.each(goldens)("$name", (golden) => {
  const modelConfig = loadModelConfig(golden.modelDir);
  let device: Device;
  let prepared: PreparedRunner;

  beforeAll(async () => {
    device = Device.open({ kind, threads: 2 });
    const { model } = await loadWeights(golden.modelDir, modelConfig, device, { dtype: "float32" });
    const options = { maxNumSeqs: 2, maxNumBatchedTokens: 64, maxModelLen: 512, prefixCache: false };
    prepared = await prepareRunner([{ device, model }], modelConfig, options);
  });
  afterAll(() => device.close());

  const prompts = [golden.ids("input_ids.1"), golden.ids("input_ids.0")] as const;
  const wanted = [golden.ids("greedy.1"), golden.ids("greedy.0")] as const;
  const requestOf = (i: 0 | 1) => ({ ...greedyRequest(`${i}`, prompts[i], wanted[i].length), priority: 1 - i });

  /** What both get, which ended first, and whether an answer that had begun was computed from its beginning again. */
  async function serve(config: EngineConfig) {
    const { runner } = prepared;
    let recomputed = false;
    const watched = {
      transfer: runner.transfer.bind(runner),
      step: (batch: ScheduledBatch) => {
        const prefills = batch.rows.slice(0, batch.numPrefills);
        recomputed ||= prefills.some(({ sequence, start }) => start === 0 && sequence.numGenerated > 0);
        return runner.step(batch);
      },
    };
    const engine = new Engine(watched, config, () => {});
    const order: number[] = [];
    const tokens: [number[], number[]] = [[], []];
    const read = async (i: 0 | 1) => {
      for await (const { id } of engine.submit(requestOf(i))) {
        tokens[i].push(id);
        if (i === 0 && tokens[0].length === BEFORE) urgent = read(1);
      }
      order.push(i);
    };
    let urgent: Promise<void> | undefined;
    await read(0);
    await urgent;
    await engine.close();
    return { order, tokens, recomputed };
  }

  const outcome = { order: [1, 0], tokens: wanted, recomputed: true };

  test("for want of a slot", async () => {
    expect(await serve({ ...prepared.config, maxNumSeqs: 1 })).toEqual(outcome);
  });

  test("for want of pages", async () => {
    if (prepared.config.numPages === 0) return expect(golden.name).toMatch(/^mamba2|^storyteller/); // no attention
    const numPages = Math.ceil((prompts[0].length + wanted[0].length) / PAGE_SIZE);
    expect(await serve({ ...prepared.config, numPages })).toEqual(outcome);
  });
});
