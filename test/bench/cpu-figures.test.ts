import { figuresOf } from "../../bench/cpu-figures";
import { models } from "../../bench/cpu-models";
import type { FormatRates } from "../../bench/cpu-rates";

const model = models.find(({ name }) => name === "mamba2-130m")!;
const linear = ["130m in_proj", "130m out_proj"].map((shape) => ({
  ...{ bench: "linear", shape, m: 512, n: 768, k: 768, gflops: 300, peer_gflops: 400, gbps: 34 },
}));
const yardsticks = { gbps: 34, linear };
const rates = (decode: number, peer: number | null): FormatRates => ({
  own: { prefill: 1500, decode },
  peer: peer === null ? null : { prefill: 600, decode: peer },
  loopDelayMs: 2,
  device: "cpu",
});

function shown(name: string, own: FormatRates) {
  const format = model.formats.find((each) => each.name === name)!;
  const figures = figuresOf(model, format, own, rates(100, 60), yardsticks);
  return Object.fromEntries(figures.map(({ figure, wanted, met }) => [figure, met === null ? wanted : [wanted, met]]));
}

test("bf16 is judged by the floor, oneDNN and llama.cpp", () => {
  expect(shown("bf16", rates(100, 60))).toEqual({
    decode: "",
    "decode, share of the bandwidth floor": [">= 60", true],
    "decode, llama.cpp": "",
    "decode, ratio": [">= 1.5", true],
    prefill: "",
    "prefill, matrix rate": "",
    "oneDNN on the same shapes": "",
    "prefill, share of oneDNN's rate": [">= 50", true],
    "prefill, llama.cpp": "",
    "prefill, ratio": [">= 2", true],
    "event-loop delay p99, 2000-token prefill": ["< 10", true],
  });
});

test.each([
  ["int8", 169, false],
  ["int8", 171, true],
  ["int4", 249, false],
  ["int4", 251, true],
])("%s with a decode of %d to bf16's 100: %p", (name, decode, met) => {
  expect(shown(name, rates(decode, null))).toEqual({
    decode: "",
    "decode, times bf16's": [name === "int8" ? ">= 1.7" : ">= 2.5", met],
    prefill: "",
    "event-loop delay p99, 2000-token prefill": ["< 10", true],
  });
});

test.each(["Q8_0", "Q4_K_S"])("%s is judged by llama.cpp with the same file", (name) => {
  expect(shown(name, rates(200, 140))).toEqual({
    decode: "",
    "decode, times bf16's": "",
    "decode, llama.cpp": "",
    "decode, ratio": [">= 1.5", false],
    prefill: "",
    "prefill, llama.cpp": "",
    "prefill, ratio": [">= 2", true],
    "event-loop delay p99, 2000-token prefill": ["< 10", true],
  });
});
