import { planTools } from "../../../../src/server/openai/tools/plan";

const tools = [{ type: "function", function: { name: "f" } }] as const;

const none = { tools: undefined, tool_choice: undefined, parallel_tool_calls: undefined };

test("tools of a model whose format is not known are refused, unless the call is forced or none is wanted", () => {
  const refused = expect.objectContaining({ message: expect.stringContaining("--tool-call-parser") });
  expect(() => planTools({ ...none, tools }, null)).toThrow(refused);
  expect(() => planTools({ ...none, tools, tool_choice: "auto" }, null)).toThrow(refused);
  expect(planTools({ ...none, tools, tool_choice: "none" }, null)).toMatchObject({ parser: null });
  expect(planTools({ ...none, tools, tool_choice: "required" }, null).constraint).toMatchObject({
    kind: "json_schema",
  });
});
