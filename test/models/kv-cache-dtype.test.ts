import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { goldens, relativeError, sameBits } from "../helpers/golden";
import { ModelHarness } from "../helpers/model-harness";
import { engineError, makeTestDir, type TestDir, withLength } from "../weights/files";

/** A code is off by up to 2^-4, and the goldens' sharp attention enlarges it; test/ops holds each code to its rounding. */
const E4M3_TOLERANCE = 0.12;

const hybrids = ["bamba", "granitemoehybrid_attention", "nemotron_h", "falcon_h1"].map(
  (name) => goldens.find((golden) => golden.name === name)!,
);

describe.each(hybrids)("$name with a KV cache of e4m3", (golden) => {
  const prompt = golden.ids("input_ids.2"); // 270 tokens
  let harness: ModelHarness;
  let whole: Float32Array;

  beforeAll(async () => {
    harness = await ModelHarness.load(golden.modelDir, "f32", { kvDtype: "u8" });
    whole = await harness.run(prompt, []);
  });
  afterAll(() => harness.close());

  test("the logits are the reference's within its rounding, and not the same", () => {
    const expected = golden.floats("logits.2").values;
    const error = relativeError(whole.slice(whole.length - expected.length), expected);
    expect(error).toBeLessThan(E4M3_TOLERANCE);
    expect(error).toBeGreaterThan(1e-4);
  });

  test("prefilled in pieces and decoded, they are those of the whole prompt", async () => {
    harness.poison();
    const cuts = [64, 128, 200, 266, 267, 268, 269];
    expect(relativeError(await harness.run(prompt, cuts), whole)).toBeLessThan(2e-5);
  });
});

describe("scales of a calibrated checkpoint", () => {
  const golden = hybrids[1]!;
  const prompt = golden.ids("input_ids.1");
  let dir: TestDir;

  beforeEach(() => {
    dir = makeTestDir();
    cpSync(golden.modelDir, dir.path, { recursive: true });
  });
  afterEach(() => dir.remove());

  /** Adds scalars to the checkpoint, one for each layer. */
  function addScales(name: string, scale: number): void {
    const file = join(dir.path, "model.safetensors");
    const content = readFileSync(file);
    const length = Number(content.readBigUInt64LE());
    const header = JSON.parse(content.toString("utf8", 8, 8 + length)) as Record<string, object>;
    const data = [content.subarray(8 + length)];
    let end = data[0]!.length;
    const layers = Object.keys(header).filter((key) => key.endsWith("self_attn.k_proj.weight"));
    for (const layer of layers) {
      header[layer.replace("k_proj.weight", name)] = { dtype: "F32", shape: [], data_offsets: [end, end + 4] };
      data.push(Buffer.from(Float32Array.of(scale).buffer));
      end += 4;
    }
    const json = Buffer.from(JSON.stringify(header));
    writeFileSync(file, withLength(BigInt(json.length), Buffer.concat([json, ...data])));
  }

  async function logits(options: { kvDtype?: "u8" } = {}): Promise<Float32Array> {
    const harness = await ModelHarness.load(dir.path, "f32", options);
    try {
      return await harness.run(prompt, []);
    } finally {
      harness.close();
    }
  }

  test.each(["k_scale", "k_proj.k_scale", "v_scale", "v_proj.v_scale"])("%s is what codes are times", async (name) => {
    const plain = await logits();
    const unscaled = await logits({ kvDtype: "u8" });
    addScales(name, 2 ** 20);
    expect(sameBits(await logits(), plain)).toBe(true);
    // Every key, or value, is now far below the smallest code.
    expect(relativeError(await logits({ kvDtype: "u8" }), unscaled)).toBeGreaterThan(0.01);
  });

  test.each([0, -1, Number.NaN, Infinity])("one of %d is refused", async (scale) => {
    addScales("v_scale", scale);
    const failure = await logits({ kvDtype: "u8" }).then(
      () => null,
      (error: unknown) => error,
    );
    expect(
      engineError("ERR_WEIGHTS", () => {
        throw failure;
      }).message,
    ).toContain("v_scale: expected a scale above 0");
  });
});
