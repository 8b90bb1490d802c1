import fc from "fast-check";
import { mayThink, ReasoningSplitter } from "../../../../src/server/openai/tools/reasoning";

function split(promptEnd: string, pieces: readonly string[]): { reasoning: string; text: string } {
  const splitter = new ReasoningSplitter(promptEnd);
  const whole = { reasoning: "", text: "" };
  for (const { kind, text } of [...pieces.flatMap((piece) => splitter.push(piece)), ...splitter.end()]) {
    whole[kind] += text;
  }
  return whole;
}

const inside = "<|im_start|>assistant\n<think>\n";
const answering = "<|im_start|>assistant\n<think>\n\n</think>\n\n";
const before = "<|im_start|>assistant\n";

const cases: readonly [name: string, promptEnd: string, output: string, reasoning: string, text: string][] = [
  ["a prompt that ends in reasoning", inside, "a  b\n</think>\n\nc d\n", "a  b", "c d\n"],
  ["a prompt behind reasoning", answering, "c <think> d", "", "c <think> d"],
  ["an output that begins with it", before, "<think>\na\n</think>\n\nc", "a", "c"],
  ["an output that begins with it behind white space", before, "\n <think>a</think>c", "a", "c"],
  ["no reasoning", before, " c </think> d", "", " c </think> d"],
  ["reasoning of nothing", inside, "\n</think>\n\nc", "", "c"],
  ["reasoning without an end", inside, "a b", "a b", ""],
  ["half a mark at the end", inside, "a </thi", "a </thi", ""],
  ["a mark in the answer", inside, "a</think>b</think>c", "a", "b</think>c"],
  ["half a mark at the start", before, "<thi", "", "<thi"],
  ["nothing", inside, "", "", ""],
];

test.each(cases)("%s", (_, promptEnd, output, reasoning, text) => {
  expect(split(promptEnd, [output])).toEqual({ reasoning, text });
});

test("how the output is cut does not matter", () => {
  fc.assert(
    fc.property(fc.constantFrom(...cases), fc.array(fc.nat(30), { maxLength: 8 }), ([, end, output], cuts) => {
      const ends = [...new Set([...cuts, output.length])].sort((a, b) => a - b);
      const pieces = ends.map((to, i) => output.slice(ends[i - 1] ?? 0, to));
      expect(split(end, pieces)).toEqual(split(end, [output]));
    }),
  );
});

test("models that think have a template that knows the mark", () => {
  expect(mayThink("{% if enable_thinking %}<think>{% else %}<think></think>{% endif %}")).toBe(true);
  expect(mayThink("{{ messages }}")).toBe(false);
  expect(mayThink(null)).toBe(false);
});
