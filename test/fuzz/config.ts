import { readFileSync } from "node:fs";
import { join } from "node:path";
import { loadModelConfig, type Mamba2Config } from "../../src/models/config";
import { huggingFace, stateSpaces } from "../models/config/configs";
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
    const config = loadModelConfig(dir) as Mamba2Config;
    const { vocabSize, normEps, ssm } = config;
    const { heads, headDim, groups, inner, convDim, convKernel, stateSize, dtMin, dtMax } = ssm;
    const sizes = [heads, headDim, groups, inner, convDim, stateSize, vocabSize, config.hiddenSize];
    const state = config.numLayers * (inner * stateSize + (convKernel - 1) * convDim) * 4; // bytes in f32
    const eos = config.eosTokenIds.every((id) => Number.isInteger(id) && id >= 0 && id < vocabSize);
    const sound =
      [...sizes, config.numLayers, ssm.chunkSize, convKernel, state].every(isSize) &&
      inner === heads * headDim &&
      heads % groups === 0 &&
      convDim === inner + 2 * groups * stateSize &&
      normEps > 0 &&
      0 <= dtMin &&
      dtMin <= dtMax &&
      eos;
    if (!sound) throw new Error(`accepted ${JSON.stringify(config)}`);
    const { tieWordEmbeddings, residualInFp32, torchDtype } = config;
    const flags = [ssm.inProjBias, ssm.convBias, tieWordEmbeddings, residualInFp32, ssm.norm !== null];
    return `${flags} ${torchDtype} ${config.eosTokenIds.length} ${Object.keys(config.generationDefaults)} ${Object.keys(config).length}`;
  },
};

const isSize = (value: number) => Number.isSafeInteger(value) && value > 0;
