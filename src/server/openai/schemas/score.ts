import { z } from "zod";
import { type BodyRules, bodyOf, field, optional } from "./field";

/** A text, or up to 1,024 of them. */
const maxTexts = 1024;

const texts = field(
  (input, reject): readonly string[] => {
    const list: readonly unknown[] = Array.isArray(input) ? input : [input];
    if (list.length === 0 || list.length > maxTexts) return reject({ message: `expected 1 to ${maxTexts} texts` });
    return list.map((text, i) => {
      if (typeof text === "string" && text !== "") return text;
      return reject({ message: "expected a text that is not empty", path: list === input ? [i] : [] });
    });
  },
  { anyOf: [{ type: "string" }, { type: "array", items: { type: "string" }, minItems: 1, maxItems: maxTexts }] },
);

/** Body of POST /v1/score: one text before each of several, or as many before as after. */
export const scoreRequest = ({ strict }: BodyRules) =>
  bodyOf({ model: optional(z.string()), text_1: texts, text_2: texts }, strict).superRefine((body, context) => {
    const [first, second] = [body.text_1.length, body.text_2.length];
    if (first === 1 || first === second) return;
    const message = `expected ${first} texts, one for each of text_1, got ${second}`;
    context.addIssue({ code: "custom", path: ["text_2"], message });
  });
