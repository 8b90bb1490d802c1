import type { LLM } from "../llm/llm";
import type { ServeOptions } from "../server/serve";
import { type Fact, renderFacts } from "./facts";
import { formatBytes, formatCount, formatMagnitude } from "./units";

/** What serve prints once the model is loaded: what runs where, what the memory is used for, and a request to try. */
export async function greeting(llm: LLM, url: string, http: ServeOptions): Promise<string> {
  const { id, parameters, dtype, device } = llm.info;
  const mode = llm.limits?.deterministic ? ", deterministic" : "";
  return `${id}: ${formatMagnitude(parameters)} parameters, ${dtype}, on ${device}${mode}

${renderFacts([memoryFacts(llm)])}
Listening on ${url}

Try it:
${await sampleRequest(llm, url, http)}
`;
}

/** A curl command for this model, ready to paste: a chat, or a completion where there is no chat template. */
async function sampleRequest(llm: LLM, url: string, { apiKeys, socketPath }: ServeOptions): Promise<string> {
  const message = { role: "user", content: "Tell me a story about the king and a ship." };
  const chats = await llm.renderChat([message]).then(
    () => true,
    () => false,
  );
  const model = llm.info.id;
  const [path, body] = chats
    ? ["chat/completions", { model, messages: [message] }]
    : ["completions", { model, prompt: "Once upon a time", max_tokens: 64 }];
  const quoted = JSON.stringify(body).replaceAll("'", "'\\''");
  const target = socketPath === undefined ? url : `--unix-socket '${socketPath}' http://localhost`;
  const key = apiKeys ? " -H 'Authorization: Bearer KEY'" : "";
  return `  curl ${target}/v1/${path} \\\n    -H 'Content-Type: application/json'${key} \\\n    -d '${quoted}'\n`;
}

function memoryFacts(llm: LLM): Fact[] {
  const { memory, limits, info } = llm;
  if (memory === null || limits === null) return [];
  const { weights, workspace, stateBytesPerSeq, kvCache, snapshots, hostSnapshots, free, total } = memory;
  const states = `${formatBytes(limits.maxNumSeqs * stateBytesPerSeq)} for ${limits.maxNumSeqs} sequences at once of up to ${formatCount(info.maxModelLen)} tokens`;
  const { snapshotsTotal, hostSnapshotsTotal } = llm.stats();
  const kept = `${formatBytes(snapshots)} for ${formatCount(snapshotsTotal)} states of prompts' beginnings`;
  const packed = info.prefixCacheHostDtype === "int8" ? ", as integers of 8 bits" : "";
  const onHost = `${formatBytes(hostSnapshots)} for ${formatCount(hostSnapshotsTotal)} more of them${packed}`;
  return [
    ["weights", formatBytes(weights)],
    ["workspace", `${formatBytes(workspace)} for steps of up to ${formatCount(limits.maxNumBatchedTokens)} tokens`],
    ["states", states],
    ...(kvCache === 0 ? [] : [["kv cache", `${formatBytes(kvCache)} for ${pages(llm)}`] satisfies Fact]),
    ...(snapshots === 0 ? [] : [["prefix cache", kept] satisfies Fact]),
    ...(hostSnapshots === 0 ? [] : [["on the host", onHost] satisfies Fact]),
    ...(info.deterministic ? [["mode", "deterministic: a request has the same bits in any batch"] satisfies Fact] : []),
    ["left", `${formatBytes(free)} of ${formatBytes(total)}`],
  ];
}

/** As "1,024 pages of 64 tokens: 65,536 tokens of all sequences together". */
function pages(llm: LLM): string {
  const { pagesTotal } = llm.stats();
  const { pageSize } = llm.info;
  const tokens = formatCount(pagesTotal * pageSize);
  return `${formatCount(pagesTotal)} pages of ${pageSize} tokens: ${tokens} tokens of all sequences together`;
}
