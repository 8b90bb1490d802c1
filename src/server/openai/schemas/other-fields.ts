import { z } from "zod";
import { isObject, toNumber } from "../../../json/value";

/** Whether a value asks for nothing: null does always. */
type Neutral = (value: unknown) => boolean;

const never: Neutral = () => false;
const is =
  (...values: readonly unknown[]): Neutral =>
  (value) =>
    values.includes(toNumber(value));
const isEmpty: Neutral = (value) =>
  (Array.isArray(value) ? value : isObject(value) ? Object.keys(value) : [1]).length === 0;
const isFalse = is(false);
const isTrue = is(true);
const isTextOnly: Neutral = (value) => Array.isArray(value) && value.every((one) => one === "text");

/**
 * Fields of OpenAI and of other servers that would change the output if we could obey them: ignoring them would be a lie. Each
 * with the test for values that ask for nothing. To support a field, delete its row and give it a schema.
 */
const changing = {
  // vLLM
  early_stopping: isFalse,
  guided_whitespace_pattern: never,
  kv_transfer_params: never,
  length_penalty: is(1),
  logits_processors: isEmpty,
  lora_request: never,
  mm_processor_kwargs: isEmpty,
  prompt_embeds: never,
  return_tokens_as_token_ids: isFalse,
  spaces_between_special_tokens: isTrue,
  structural_tag: never,
  thinking_token_budget: never,
  use_beam_search: isFalse,
  vllm_xargs: isEmpty,
  // llama.cpp
  dry_multiplier: is(0),
  dynatemp_range: is(0),
  grammar_lazy: isFalse,
  image_data: isEmpty,
  input_extra: isEmpty,
  lora: isEmpty,
  mirostat: is(0),
  multimodal_data: isEmpty,
  n_discard: is(0),
  n_indent: is(0),
  n_predict: is(-1),
  n_probs: is(0),
  penalize_nl: isFalse,
  post_sampling_probs: isFalse,
  repeat_penalty: is(1),
  samplers: never,
  t_max_predict_ms: is(0, -1),
  tfs_z: is(1),
  top_n_sigma: is(-1, 0),
  typical_p: is(1),
  xtc_probability: is(0),
  // SGLang
  custom_logit_processor: is(""),
  custom_params: isEmpty,
  input_embeds: never,
  input_ids: never,
  logit_processor: never,
  lora_path: never,
  min_new_tokens: is(0),
  no_stop_trim: isFalse,
  return_hidden_states: isFalse,
  session_params: isEmpty,
  stop_regex: isEmpty,
  // Text Generation Inference, Transformers, TabbyAPI, Ollama
  adapter_id: never,
  do_sample: isTrue,
  encoder_repetition_penalty: is(1),
  epsilon_cutoff: is(0),
  eta_cutoff: is(0),
  format: is(""),
  guidance_scale: is(1),
  keep: never,
  max_length: never,
  max_new_tokens: never,
  no_repeat_ngram_size: is(0),
  num_beams: is(1),
  num_ctx: never,
  num_predict: is(-1),
  options: isEmpty,
  penalty_alpha: is(0),
  return_full_text: isFalse,
  smoothing_factor: is(0),
  stop_sequences: isEmpty,
  temperature_last: isFalse,
  tfs: is(1),
  top_a: is(0),
  truncate: never,
  typical: is(1),
  watermark: isFalse,
} satisfies Record<string, Neutral>;

/** Fields that change nothing in the text of an answer, or only together with one of those above. */
const harmless = [
  ...[
    "metadata",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
  ],
  ...["user", "priority", "request_id", "detokenize", "include_reasoning", "guided_decoding_backend"],
  ...[
    "cache_prompt",
    "id_slot",
    "slot_id",
    "n_keep",
    "min_keep",
    "repeat_last_n",
    "timings_per_token",
    "return_progress",
  ],
  ...["return_tokens", "response_fields", "t_max_prompt_ms", "mirostat_tau", "mirostat_eta", "dynatemp_exponent"],
  ...["dry_base", "dry_allowed_length", "dry_penalty_last_n", "dry_sequence_breakers", "xtc_threshold"],
  ...[
    "reasoning_format",
    "parse_tool_calls",
    "separate_reasoning",
    "stream_reasoning",
    "rid",
    "return_text_in_logprobs",
  ],
  ...["max_tool_calls", "client_metadata"],
  ...["keep_alive", "details", "decoder_input_details", "top_n_tokens"],
] as const;

const inCompletions = {
  ...changing,
  add_special_tokens: isTrue,
  suffix: is(""),
} satisfies Record<string, Neutral>;

const inChat = {
  ...changing,
  add_special_tokens: isFalse,
  audio: never,
  chat_template: never,
  documents: isEmpty,
  echo: isFalse,
  function_call: is("none", "auto"),
  functions: isEmpty,
  modalities: isTextOnly,
  verbosity: is("medium"),
  web_search_options: never,
} satisfies Record<string, Neutral>;

const inResponses = {
  ...changing,
  allowed_token_ids: never,
  background: isFalse,
  bad_words: isEmpty,
  conversation: never,
  ebnf: never,
  grammar: is(""),
  guided_choice: never,
  guided_grammar: never,
  guided_json: never,
  guided_regex: never,
  previous_response_id: never,
  prompt: never,
  store: isFalse,
} satisfies Record<string, Neutral>;

export const unsupportedCode = "unsupported_parameter";

function refused(neutral: Neutral) {
  const accepted = (value: unknown) => value === undefined || value === null || neutral(value);
  const issue = { error: "not supported", params: { code: unsupportedCode } };
  const description = "Not supported: refused, unless it asks for nothing.";
  return z.unknown().meta({ description }).refine(accepted, issue).optional();
}

/** Describes a field that is read and does nothing. */
export const withoutEffect = { description: "Accepted; it does not change the answer." };
const accepted = z.unknown().meta(withoutEffect).optional();

function toFields<Name extends string>(rows: Readonly<Record<Name, Neutral>>) {
  const fields = {
    ...Object.fromEntries(harmless.map((name) => [name, accepted])),
    ...Object.fromEntries(Object.entries<Neutral>(rows).map(([name, neutral]) => [name, refused(neutral)])),
  };
  return fields as Record<Name, ReturnType<typeof refused>>;
}

export const otherFieldsOfCompletions = toFields(inCompletions);
export const otherFieldsOfChat = toFields(inChat);
export const otherFieldsOfResponses = toFields(inResponses);
