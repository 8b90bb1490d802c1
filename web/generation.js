import { postForEvents } from "./api.js";

/**
 * @typedef {{ prompt: string, answer: string, error: string | null, finish: string | null, tokens: number,
 *   firstMs: number | null, perSecond: number | null }} Turn
 * A prompt and what came of it. firstMs: from request to first token; perSecond: tokens after the first.
 */

/**
 * @param {string} prompt
 * @returns {Turn}
 */
export const newTurn = (prompt) => ({
  prompt,
  answer: "",
  error: null,
  finish: null,
  tokens: 0,
  firstMs: null,
  perSecond: null,
});

/**
 * The conversation up to and with the prompt of its last turn. Turns that failed without an answer are left out.
 * @param {readonly Turn[]} turns
 * @param {string} system
 */
export function toMessages(turns, system) {
  const messages = system.trim() === "" ? [] : [{ role: "system", content: system }];
  for (const [i, { prompt, answer }] of turns.entries()) {
    const isLast = i === turns.length - 1;
    if (!isLast && answer === "") continue;
    messages.push({ role: "user", content: prompt });
    if (!isLast) messages.push({ role: "assistant", content: answer });
  }
  return messages;
}

/**
 * Runs a request and writes into `turn` what comes. Reasoning is shown before the answer and is no part of it: it is not sent back.
 * @param {Turn} turn
 * @param {string} path
 * @param {object} body without `stream`
 * @param {AbortSignal} signal
 * @param {(piece: string) => void} onText
 */
export async function generate(turn, path, body, signal, onText) {
  const streaming = { stream: true, stream_options: { include_usage: true, continuous_usage_stats: true } };
  const start = performance.now();
  let first = start;
  let firstTokens = 0;
  let isThinking = false;
  try {
    for await (const { choices, usage } of postForEvents(path, { ...body, ...streaming }, signal)) {
      const tokens = usage?.completion_tokens ?? turn.tokens;
      if (tokens > turn.tokens) {
        const now = performance.now();
        if (turn.firstMs === null) {
          turn.firstMs = now - start;
          first = now;
          firstTokens = tokens;
        } else {
          turn.perSecond = (1000 * (tokens - firstTokens)) / (now - first);
        }
        turn.tokens = tokens;
      }
      const [choice] = choices;
      if (choice === undefined) continue;
      turn.finish = choice.finish_reason ?? turn.finish;
      const piece = choice.text ?? choice.delta?.content ?? "";
      const thought = choice.delta?.reasoning_content ?? "";
      if (thought !== "") onText(thought);
      isThinking ||= thought !== "";
      if (piece === "") continue;
      turn.answer += piece;
      onText(isThinking ? `\n\n${piece}` : piece);
      isThinking = false;
    }
  } catch (error) {
    if (signal.aborted) turn.finish = "stopped";
    else turn.error = /** @type {Error} */ (error).message;
    if (!signal.aborted) throw error;
  }
}
