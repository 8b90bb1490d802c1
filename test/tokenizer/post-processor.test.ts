import { frameOf } from "../../src/tokenizer/post-processor";

const ids = new Map([
  ["<s>", 1],
  ["</s>", 2],
]);
const frame = (processor: unknown) => frameOf(processor, (token) => ids.get(token), "tokenizer.json");
const text = { Sequence: { id: "A", type_id: 0 } };
const token = (id: string) => ({ SpecialToken: { id, type_id: 0 } });
const template = (...single: object[]) => ({ type: "TemplateProcessing", single, pair: [], special_tokens: {} });

it.each([
  ["none", null, [], []],
  ["ByteLevel", { type: "ByteLevel" }, [], []],
  ["a template", template(token("<s>"), text, token("</s>"), token("</s>")), [1], [2, 2]],
  ["a template of the text alone", template(text), [], []],
  ["BERT's", { type: "BertProcessing", cls: ["<s>", 1], sep: ["</s>", 2] }, [1], [2]],
  ["RoBERTa's", { type: "RobertaProcessing", cls: ["<s>", 1], sep: ["</s>", 2] }, [1], [2]],
  [
    "one after the other, the later outside",
    { type: "Sequence", processors: [template(token("<s>"), text), template(text, token("</s>"))] },
    [1],
    [2],
  ],
  [
    "two around the text, the later outside",
    {
      type: "Sequence",
      processors: [template(token("<s>"), text, token("</s>")), template(token("</s>"), text, token("<s>"))],
    },
    [2, 1],
    [2, 1],
  ],
  [
    "entries of several tokens",
    { ...template(token("x"), text), special_tokens: { x: { tokens: ["<s>", "</s>"] } } },
    [1, 2],
    [],
  ],
])("%s", (_name, processor, prefix, suffix) => {
  expect(frame(processor)).toEqual({ prefix, suffix });
});

it.each([
  ["a token that is not there", template(token("<x>"), text), `adds "<x>", which is not in the vocab`],
  ["no text", template(token("<s>")), "leaves out the text"],
  ["the text twice", template(text, text), "repeats the text"],
  ["a piece of neither kind", template({ Other: 1 }), "a Sequence or a SpecialToken"],
  ["no list", { type: "TemplateProcessing", single: {} }, "single must be a list"],
  ["BERT's without tokens", { type: "BertProcessing" }, "adds undefined"],
])("refuses %s", (_name, processor, message) => {
  expect(() => frame(processor)).toThrow(
    expect.objectContaining({ code: "ERR_TOKENIZER", message: expect.stringContaining(message) }),
  );
});
