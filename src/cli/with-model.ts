import { modelName } from "../llm/bundled-model";
import { LLM } from "../llm/llm";
import type { LoadOptions } from "../llm/load-engine";
import { ensureModels } from "./named-model";
import { ProgressBar } from "./progress";

/** Loads a model with a progress bar; what the engine has to say goes to stderr. */
export async function openModel(model: string, options: LoadOptions): Promise<LLM> {
  await ensureModels(model, options);
  const progress = new ProgressBar(`loading ${options.modelId ?? modelName(model)}`);
  const notes: string[] = [];
  try {
    return await LLM.load(model, {
      ...options,
      onProgress: (bytes, total) => progress.update(bytes, total),
      onMessage: (message) => notes.push(message),
    });
  } finally {
    progress.end();
    for (const note of notes) process.stderr.write(`note: ${note}\n`);
  }
}

/** Runs `use` with a loaded model and closes it afterwards. */
export async function withModel(model: string, options: LoadOptions, use: (llm: LLM) => Promise<void>): Promise<void> {
  const llm = await openModel(model, options);
  try {
    await use(llm);
  } finally {
    await llm.close();
  }
}
