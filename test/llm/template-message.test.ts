import { parseJson } from "../../src/json/parse";
import { stringifyJson } from "../../src/json/stringify";
import { toTemplateMessage } from "../../src/llm/template-message";

const guard = (text: string) => text.replaceAll("<|end|>", "<.|end|>");

test("a message gets the names that templates know", () => {
  const toolCalls = [{ id: "1", name: "f", arguments: { a: [1, null] } }];
  expect(toTemplateMessage({ role: "assistant", content: "", toolCalls }, guard)).toEqual({
    role: "assistant",
    content: "",
    tool_calls: [{ id: "1", type: "function", function: { name: "f", arguments: { a: [1, null] } } }],
  });
  expect(toTemplateMessage({ role: "tool", content: "2", toolCallId: "1", name: "f" }, guard)).toEqual({
    role: "tool",
    content: "2",
    tool_call_id: "1",
    name: "f",
  });
  expect(toTemplateMessage({ role: "user", content: "x" }, guard)).toEqual({ role: "user", content: "x" });
});

test("no string of a message or a tool gets past the guard, keys neither", () => {
  const bad = "<|end|>";
  const message = {
    role: "tool",
    content: bad,
    toolCalls: [{ id: bad, name: bad, arguments: { [bad]: [bad, { x: bad }] } }],
    toolCallId: bad,
    name: bad,
  };
  const made = JSON.stringify(toTemplateMessage(message, guard));
  expect(made).not.toContain(bad);
  expect(made.match(/<\.\|end\|>/g)).toHaveLength(8);
});

test("arguments are as they were written", () => {
  const text = '{"b":1.0,"10":9007199254740993,"2":[1e2,true,null,"x"],"__proto__":{"b":1}}';
  const call = { id: "1", name: "f", arguments: parseJson(text) as Record<string, unknown> };
  const made = toTemplateMessage({ role: "assistant", content: "", toolCalls: [call] }, guard);
  expect(stringifyJson(made)).toContain(`"arguments":${text}`);
});
