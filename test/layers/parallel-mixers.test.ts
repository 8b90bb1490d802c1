import { besideMixer } from "../../src/layers/parallel-mixers";

const mixer = {
  hiddenSize: 64,
  heads: 4,
  headDim: 16,
  groups: 1,
  stateSize: 16,
  convKernel: 4,
  chunkSize: 16,
  inProjBias: false,
  outProjBias: false,
  convBias: true,
  dtMin: 0,
  dtMax: Number.POSITIVE_INFINITY,
  norm: null,
  inputScale: 1.25,
  partScales: { z: 0.5, x: 0.25, b: 2, c: 3, dt: 0.5 },
};
const attention = { heads: 4, kvHeads: 2, headDim: 16, rope: null, scale: 0.25, bias: false, inputScale: 5 };

test("attention beside a mixer makes up for the mixer's factors", () => {
  expect(besideMixer(mixer, attention)).toEqual({ ...attention, givenScale: 8 });
});

test("without factors nothing is left", () => {
  const { inputScale: _, partScales: __, ...plain } = mixer;
  expect(besideMixer(plain, { ...attention, inputScale: 1 })?.givenScale).toBe(1);
});

test.each([
  ["a bias of the mixer", { ...mixer, inProjBias: true }, attention],
  ["a bias of attention", mixer, { ...attention, bias: true }],
  ["an input that is multiplied with 0", { ...mixer, inputScale: 0 }, attention],
  ["factors of two signs", mixer, { ...attention, inputScale: -1 }],
])("%s: no product serves both", (_, ofMixer, ofAttention) => {
  expect(besideMixer(ofMixer, ofAttention)).toBeNull();
});
