import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ConfigFile } from "../../../src/models/config/json-file";
import { ropeOf } from "../../../src/models/config/rope";
import { readRope } from "../../../src/models/config/rope-parameters";
import { engineError, makeTestDir, type TestDir } from "../../weights/files";

interface Case {
  readonly name: string;
  readonly config: object;
  readonly headDim: number;
  readonly rotaryDim: number;
  readonly attentionFactor: number;
  readonly invFreq: readonly number[];
}

/** Written by scripts/golden/make_rope.py. */
const golden = JSON.parse(readFileSync(join(__dirname, "../../golden/rope.json"), "utf8")) as {
  readonly maxPositions: number;
  readonly cases: readonly Case[];
};

let dir: TestDir;
beforeAll(() => {
  dir = makeTestDir();
});
afterAll(() => dir.remove());

function read(config: object, headDim: number, partialRotaryFactor: number | "all" = 1) {
  dir.write("config.json", config);
  const file = ConfigFile.read(join(dir.path, "config.json"));
  return readRope(file, { headDim, maxPositions: golden.maxPositions, partialRotaryFactor });
}

/** Two units in the last place of a float32: numpy's power is not correctly rounded. */
const TOLERANCE = 2.4e-7;

test.each(golden.cases)("$name", ({ config, headDim, rotaryDim, attentionFactor, invFreq }) => {
  const rope = read(config, headDim);
  expect(rope.rotaryDim).toBe(rotaryDim);
  expect(rope.attentionFactor).toBeCloseTo(attentionFactor, 12);
  expect(rope.invFreq).toHaveLength(invFreq.length);
  for (const [i, want] of invFreq.entries()) {
    expect(Math.abs(rope.invFreq[i]! - want)).toBeLessThanOrEqual(TOLERANCE * want);
  }
});

test("a share that config.json does not state is the family's", () => {
  expect(read({ rope_theta: 1e4 }, 64, 0.5).rotaryDim).toBe(32);
  expect(read({ rope_parameters: { partial_rotary_factor: 0.25 } }, 64, 0.5).rotaryDim).toBe(16);
});

test("a family without a share rotates all of a head", () => {
  expect(
    read({ partial_rotary_factor: 0.5, rope_parameters: { partial_rotary_factor: 0.25 } }, 64, "all").rotaryDim,
  ).toBe(64);
});

test("dynamic scaling stretches theta beyond the positions that the model allows, and only there", () => {
  const parameters = { type: "dynamic", theta: 10_000, partialRotaryFactor: 1, factor: 4, maxPositions: 1024 } as const;
  const plain = ropeOf({ type: "default", theta: 10_000, partialRotaryFactor: 1 }, 64, 2048);
  expect(ropeOf(parameters, 64, 1024).invFreq).toEqual(plain.invFreq);
  const stretched = ropeOf({ type: "default", theta: 10_000 * 5 ** (64 / 62), partialRotaryFactor: 1 }, 64, 2048);
  expect(ropeOf(parameters, 64, 2048).invFreq).toEqual(stretched.invFreq);
});

test("YaRN's ramp ends at the last channel, however long the original context was", () => {
  const [theta, dim, factor] = [100, 16, 4];
  const parameters = {
    ...({ type: "yarn", theta, partialRotaryFactor: 1, factor, originalMaxPositions: 1e6, truncate: true } as const),
    ...{ attentionFactor: 1, mscale: null, mscaleAllDim: null },
    // From channel 0 on: those that turn less than so often are stretched the more, the further they are.
    ...{ betaFast: 1e5, betaSlow: 1 },
  };
  const { invFreq } = ropeOf(parameters, dim, 1e6);
  for (const [i, frequency] of invFreq.entries()) {
    const ramp = i / (dim - 1);
    expect(frequency).toBeCloseTo((1 - ramp + ramp / factor) / theta ** ((2 * i) / dim), 6);
  }
});

describe("rejects", () => {
  const scaling = (changes: object) => ({ rope_scaling: { rope_type: "yarn", factor: 4, ...changes } });

  test.each<[string, object, string]>([
    ["a theta of 0", { rope_theta: 0 }, "rope_theta: expected a number above 0, got 0"],
    ["a share above 1", { partial_rotary_factor: 2 }, "partial_rotary_factor: expected a number above 0 and at most 1"],
    ["scaling that is no object", { rope_scaling: "yarn" }, 'rope_scaling: expected an object, got "yarn"'],
    ["a factor as text", scaling({ factor: "4" }), 'rope_scaling.factor: expected a number above 0, got "4"'],
    [
      "linear without a factor",
      { rope_parameters: { type: "linear" } },
      "rope_parameters.factor: expected a number above 0",
    ],
    [
      "theta inside",
      { rope_parameters: { rope_theta: -1 } },
      "rope_parameters.rope_theta: expected a number above 0, got -1",
    ],
    [
      "too few factors",
      { rope_scaling: { type: "longrope", short_factor: [1], long_factor: [1] } },
      "rope_scaling.short_factor: expected 32 numbers, one for each pair of channels, got [1]",
    ],
  ])("%s", (_, config, fragment) => {
    expect(engineError("ERR_CONFIG", () => read(config, 64)).message).toContain(fragment);
  });

  test.each<[string, object, string]>([
    ["another type", { rope_scaling: { type: "su" } }, "rope_scaling.type: expected one of default, linear"],
    [
      "a name of objects",
      { rope_parameters: { rope_type: "constructor" } },
      "rope_parameters.rope_type: expected one of",
    ],
    [
      "an odd number of channels",
      { partial_rotary_factor: 0.05 },
      "partial_rotary_factor: expected a share of the 64 channels",
    ],
  ])("what is not implemented: %s", (_, config, fragment) => {
    expect(engineError("ERR_MODEL_UNSUPPORTED", () => read(config, 64)).message).toContain(fragment);
  });
});
