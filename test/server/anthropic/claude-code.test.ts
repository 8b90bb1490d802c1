import { serve } from "../../../src/server/serve";
import { FakeLanguageModel } from "../../helpers/fake-language-model";

const script = 'I look.\n<tool_call>\n{"name": "Bash", "arguments": {"command": "ls"}}\n</tool_call>';

it("a turn of Claude Code: its fields, then the result of its call", async () => {
  const model = new FakeLanguageModel({ chatTemplate: "{% if tools %}<tool_call>{% endif %}", script });
  const server = await serve(model, { port: 0, drainTimeoutMs: 0 });
  const cached = { cache_control: { type: "ephemeral" } };
  const turn = {
    model: "fake-mamba",
    max_tokens: 4000,
    stream: true,
    temperature: 1,
    metadata: { user_id: "user_0_account__session_0" },
    system: [
      { type: "text", text: "x-anthropic-billing-header: cc_version=2" },
      { type: "text", text: "You are Claude Code.", ...cached },
    ],
    messages: [
      {
        role: "user",
        content: [
          { type: "text", text: "<system-reminder>" },
          { type: "text", text: "list", ...cached },
        ],
      },
    ],
    tools: [
      {
        name: "Bash",
        description: "Runs",
        input_schema: {
          $schema: "https://json-schema.org/draft/2020-12/schema",
          type: "object",
          properties: { command: { type: "string" } },
          additionalProperties: false,
        },
      },
      { type: "web_search_20250305", name: "web_search", max_uses: 8 },
    ],
    thinking: { type: "adaptive" },
    context_management: { edits: [{ type: "clear_thinking_20251015", keep: "all" }] },
    output_config: { effort: "high" },
  };
  const post = async (body: object) => {
    const headers = {
      "content-type": "application/json",
      "anthropic-version": "2023-06-01",
      "anthropic-beta": "claude-code-20250219",
      authorization: "Bearer x",
    };
    const response = await fetch(`${server.url}/v1/messages?beta=true`, {
      method: "POST",
      headers,
      body: JSON.stringify(body),
    });
    expect(response.status).toBe(200);
    return (await response.text()).split("\n\n").flatMap((frame) => {
      const data = /^event: (\w+)\ndata: (.*)$/m.exec(frame);
      return data === null ? [] : [JSON.parse(data[2]!)];
    });
  };
  const events = await post(turn);
  const use = events.find(({ content_block }) => content_block?.type === "tool_use").content_block;
  expect(events.at(-2)).toMatchObject({ type: "message_delta", delta: { stop_reason: "tool_use" } });
  const next = await post({
    ...turn,
    messages: [
      ...turn.messages,
      {
        role: "assistant",
        content: [
          { type: "text", text: "I look." },
          { ...use, input: { command: "ls" } },
        ],
      },
      {
        role: "user",
        content: [{ tool_use_id: use.id, type: "tool_result", content: "a.txt", is_error: false, ...cached }],
      },
    ],
  });
  expect(next.at(-1)).toEqual({ type: "message_stop" });
  expect(model.calls[1]!.prompt.at(-1)).toEqual({ role: "tool", content: "a.txt", toolCallId: use.id });
  await server.close();
});
