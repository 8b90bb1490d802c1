import { guardStrings, toTemplateMessage } from "../../src/llm/template-message";

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
  const tools = [
    { type: "function", function: { name: "f", description: bad, parameters: { properties: { [bad]: {} } } } },
  ];
  expect(JSON.stringify(guardStrings(tools, guard))).not.toContain(bad);
});

test("a guarded value is a copy, with everything else as it was", () => {
  const value = JSON.parse('{"a":[1,true,null,"x"],"__proto__":{"b":1}}');
  const copy = guardStrings(value, guard);
  expect(JSON.stringify(copy)).toBe(JSON.stringify(value));
  expect(copy).not.toBe(value);
});
