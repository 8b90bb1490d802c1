import { readFileSync } from "node:fs";
import { join } from "node:path";
import { loadModelConfig } from "../../src/models/config";
import { huggingFace, stateSpaces } from "../weights/configs";
import type { Target } from "./fuzz";

const root = join(__dirname, "..", "..");

/** Sizes that everything after it takes for granted. */
export const configTarget: Target = {
  name: "config",
  codes: ["ERR_CONFIG", "ERR_MODEL_UNSUPPORTED"],
  seeds: () => {
    const file = (...path: string[]) => readFileSync(join(root, ...path));
    const bundled = ["models", "storyteller-6m"];
    const json = (value: object) => Buffer.from(JSON.stringify(value));
    return [
      new Map([["config.json", file("test", "golden", "mamba2", "config.json")]]),
      new Map([
        ["config.json", file(...bundled, "config.json")],
        ["generation_config.json", file(...bundled, "generation_config.json")],
      ]),
      new Map([["config.json", file("bench", "models", "mamba-codestral-7b", "config.json")]]),
      new Map([["config.json", json(huggingFace)]]),
      new Map([
        ["config.json", json(stateSpaces)],
        [
          "generation_config.json",
          json({ do_sample: true, temperature: 0.7, top_k: 4, top_p: 0.9, eos_token_id: [0] }),
        ],
      ]),
    ];
  },
  run: (dir) => {
    const config = loadModelConfig(dir);
    const { numHeads, headDim, numGroups, dInner, convDim, stateSize, vocabSize, normEps, dtMin, dtMax } = config;
    const sizes = [numHeads, headDim, numGroups, dInner, convDim, stateSize, vocabSize, config.hiddenSize];
    const state = config.numLayers * (dInner * stateSize + (config.convKernel - 1) * convDim) * 4; // bytes in f32
    const eos = config.eosTokenIds.every((id) => Number.isInteger(id) && id >= 0 && id < vocabSize);
    const sound =
      [...sizes, config.numLayers, config.chunkSize, config.convKernel, state].every(isSize) &&
      dInner === numHeads * headDim &&
      numHeads % numGroups === 0 &&
      convDim === dInner + 2 * numGroups * stateSize &&
      normEps > 0 &&
      0 <= dtMin &&
      dtMin <= dtMax &&
      eos;
    if (!sound) throw new Error(`accepted ${JSON.stringify(config)}`);
    const { useBias, useConvBias, tieWordEmbeddings, residualInFp32, rmsNorm, torchDtype } = config;
    const flags = [useBias, useConvBias, tieWordEmbeddings, residualInFp32, rmsNorm];
    return `${flags} ${torchDtype} ${config.eosTokenIds.length} ${Object.keys(config.generationDefaults)} ${Object.keys(config).length}`;
  },
};

const isSize = (value: number) => Number.isSafeInteger(value) && value > 0;
