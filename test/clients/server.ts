/** Serves two models that need no weights, one that writes words and one that calls a tool; prints where, and ends with its stdin. */
import { serve } from "../../src/server/serve";
import { FakeLanguageModel } from "../helpers/fake-language-model";

const chatTemplate = "{% if tools %}<tool_call>{% endif %}";
const script = 'I look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>';

async function main(): Promise<void> {
  const fields = { chatTemplate, maxModelLen: 8192 };
  const models = [new FakeLanguageModel(fields), new FakeLanguageModel({ ...fields, script })];
  const [words, calls] = await Promise.all(models.map((model) => serve(model, { port: 0 })));
  console.log(JSON.stringify({ words: words!.url, calls: calls!.url }));
  process.stdin.resume().on("end", () => process.exit(0));
}

void main();
