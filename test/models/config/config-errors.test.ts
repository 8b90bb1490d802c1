import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { EngineError, type ErrorCode } from "../../../src/errors";
import { knownModelTypes, loadModelConfig, type Mamba2Config } from "../../../src/models/config";
import { engineError, makeTestDir, type TestDir } from "../../weights/files";
import { huggingFace, loadFrom, stateSpaces, withChanges, withMixer } from "./configs";

let dir: TestDir;
beforeAll(() => {
  dir = makeTestDir();
});
afterAll(() => dir.remove());

const known = knownModelTypes.join(", ");

describe("rejects", () => {
  const rows: [string, ErrorCode, string | Uint8Array | object, string][] = [
    ["an empty file", "ERR_CONFIG", "", "expected JSON"],
    ["a trailing comma", "ERR_CONFIG", '{"model_type": "mamba2",}', "expected JSON"],
    ["invalid UTF-8", "ERR_CONFIG", Buffer.from([0x7b, 0xff, 0x7d]), "cannot be read"],
    ["more than 16 MB", "ERR_CONFIG", " ".repeat(16_777_217), "at most 16777216 bytes, got 16777217"],
    ["1 MB of quotes and backslashes", "ERR_CONFIG", '"\\'.repeat(500_000), "expected JSON"],
    ["deep nesting", "ERR_CONFIG", "[".repeat(500_000), "expected JSON"],
    ["null", "ERR_CONFIG", "null", "expected an object, got null"],
    ["a list of lists", "ERR_CONFIG", "[[1], 2]", "expected an object, got [an array, 2]"],
    [
      "{}",
      "ERR_CONFIG",
      {},
      `model_type: expected one of ${known}, or a state-spaces config with d_model, got nothing`,
    ],
    ["a number for model_type", "ERR_CONFIG", { model_type: 2 }, `model_type: expected one of ${known}`],
    ["another model", "ERR_MODEL_UNSUPPORTED", { model_type: "llama" }, `expected one of ${known}, got "llama"`],
    ["Mamba-1", "ERR_MODEL_UNSUPPORTED", { model_type: "mamba" }, `expected one of ${known}, got "mamba"`],
    ["a name of objects", "ERR_MODEL_UNSUPPORTED", '{"model_type":"__proto__"}', 'got "__proto__"'],
    [
      "only model_type",
      "ERR_CONFIG",
      { model_type: "mamba2" },
      "vocab_size: expected an integer from 1 to 16777216, got nothing",
    ],
  ];
  const changed: [ErrorCode, object, string][] = [
    ["ERR_CONFIG", { hidden_size: 0 }, "hidden_size: expected an integer from 1 to 1048576, got 0"],
    ["ERR_CONFIG", { hidden_size: -1 }, "hidden_size: expected an integer from 1 to 1048576, got -1"],
    ["ERR_CONFIG", { hidden_size: 1e12 }, "hidden_size: expected an integer from 1 to 1048576, got 1000000000000"],
    ["ERR_CONFIG", { hidden_size: 767.5 }, "hidden_size: expected an integer"],
    ["ERR_CONFIG", { hidden_size: "768" }, 'got "768"'],
    ["ERR_CONFIG", { hidden_size: [768] }, "got [768]"],
    ["ERR_CONFIG", { hidden_size: { a: 1 } }, "got an object"],
    ["ERR_CONFIG", { hidden_size: null }, "got null"],
    ["ERR_CONFIG", { hidden_size: "x".repeat(1000) }, `"${"x".repeat(60)}..."`],
    ["ERR_CONFIG", { vocab_size: 0 }, "vocab_size"],
    ["ERR_CONFIG", { num_hidden_layers: 0 }, "num_hidden_layers"],
    ["ERR_CONFIG", { state_size: 0 }, "state_size"],
    [
      "ERR_CONFIG",
      { num_heads: 23 },
      "num_heads: expected heads of 64 that make up expand * hidden size = 1536, got 23",
    ],
    ["ERR_CONFIG", { head_dim: 63 }, "num_heads: expected heads of 63"],
    ["ERR_CONFIG", { expand: 3 }, "= 2304, got 24"],
    ["ERR_CONFIG", { expand: 0 }, "expand: expected a number above 0"],
    ["ERR_CONFIG", { n_groups: 0 }, "n_groups"],
    ["ERR_CONFIG", { n_groups: 5 }, "n_groups: expected a divisor of the 24 heads, got 5"],
    ["ERR_CONFIG", { conv_kernel: 0 }, "conv_kernel: expected an integer from 1"],
    ["ERR_MODEL_UNSUPPORTED", { conv_kernel: 1 }, "conv_kernel: expected a width from 2 to 4, got 1"],
    ["ERR_MODEL_UNSUPPORTED", { conv_kernel: 5 }, "conv_kernel: expected a width from 2 to 4, got 5"],
    ["ERR_CONFIG", { chunk_size: 0 }, "chunk_size"],
    ["ERR_CONFIG", { layer_norm_epsilon: 0 }, "layer_norm_epsilon: expected a number above 0"],
    ["ERR_CONFIG", { use_bias: "no" }, 'use_bias: expected true or false, got "no"'],
    ["ERR_CONFIG", { tie_word_embeddings: 1 }, "tie_word_embeddings: expected true or false, got 1"],
    ["ERR_MODEL_UNSUPPORTED", { hidden_act: "gelu" }, 'hidden_act: expected silu or swish, got "gelu"'],
    [
      "ERR_MODEL_UNSUPPORTED",
      { quantization_config: { bits: 4 } },
      "quantization_config.quant_method: expected one of fp8, modelopt, compressed-tensors, gptq, awq, auto-round, got nothing",
    ],
    ["ERR_CONFIG", { dtype: "int8" }, 'dtype: expected one of float32, bfloat16, float16, got "int8"'],
    ["ERR_CONFIG", { mamba_ssm_cache_dtype: 16 }, "mamba_ssm_cache_dtype: expected one of float32"],
    ["ERR_CONFIG", { bos_token_id: 50288 }, "bos_token_id: expected token ids below vocab_size 50288, got 50288"],
    [
      "ERR_CONFIG",
      { eos_token_id: [0, 50288] },
      "eos_token_id: expected token ids below vocab_size 50288, got [0, 50288]",
    ],
    ["ERR_CONFIG", { eos_token_id: -1 }, "eos_token_id: expected a token id or a list"],
    ["ERR_CONFIG", { eos_token_id: [[0]] }, "got [an array]"],
    ["ERR_CONFIG", { eos_token_id: Array(2000).fill(0) }, "got an array of 2000"],
    [
      "ERR_CONFIG",
      { time_step_limit: [1, 0] },
      "time_step_limit: expected two numbers [min, max] with 0 <= min <= max",
    ],
    ["ERR_CONFIG", { time_step_limit: [0] }, "got [0]"],
    ["ERR_CONFIG", { time_step_limit: 1 }, "time_step_limit: expected two numbers"],
    ["ERR_CONFIG", { time_step_limit: [-1, 1] }, "got [-1, 1]"],
    ["ERR_CONFIG", { time_step_limit: [0, null] }, "got [0, null]"],
  ];
  for (const [code, changes, fragment] of changed) {
    rows.push([JSON.stringify(changes).slice(0, 60), code, withChanges(changes), fragment]);
  }
  for (const [key, value] of [
    ["hidden_size", "Infinity"],
    ["hidden_size", "NaN"],
    ["layer_norm_epsilon", "-Infinity"],
  ]) {
    const text = JSON.stringify(huggingFace).replace(new RegExp(`"${key}":[^,]*`), `"${key}":${value}`);
    rows.push(
      [`${value} for ${key}`, "ERR_CONFIG", text, `${key}: expected`],
      [`${value}, shown`, "ERR_CONFIG", text, `got ${value}`],
    );
  }
  for (const limit of ["[0, NaN]", "[Infinity, Infinity]", "[-Infinity, 1]"]) {
    const text = JSON.stringify(huggingFace).replace("{", `{"time_step_limit":${limit},`);
    rows.push([`a limit of ${limit}`, "ERR_CONFIG", text, `got ${limit}`]);
  }
  const original: [ErrorCode, object, string][] = [
    ["ERR_CONFIG", { ...stateSpaces, n_layer: undefined }, "n_layer: expected an integer from 1 to 4096, got nothing"],
    ["ERR_CONFIG", { ...stateSpaces, d_model: -1 }, "d_model"],
    ["ERR_CONFIG", { ...stateSpaces, pad_vocab_size_multiple: 0 }, "pad_vocab_size_multiple"],
    ["ERR_CONFIG", { ...stateSpaces, ssm_cfg: 1 }, "ssm_cfg: expected an object, got 1"],
    ["ERR_CONFIG", withMixer({ d_state: 0 }), "ssm_cfg.d_state: expected an integer from 1 to 4096, got 0"],
    [
      "ERR_CONFIG",
      withMixer({ headdim: 50 }),
      "ssm_cfg.headdim: expected a divisor of expand * d_model = 1536, got 50",
    ],
    ["ERR_CONFIG", withMixer({ ngroups: 7 }), "ssm_cfg.ngroups: expected a divisor of the 24 heads, got 7"],
    ["ERR_CONFIG", withMixer({ dt_limit: "none" }), "ssm_cfg.dt_limit: expected two numbers [min, max]"],
    ["ERR_MODEL_UNSUPPORTED", { ...stateSpaces, ssm_cfg: {} }, 'ssm_cfg.layer: expected "Mamba2"'],
    ["ERR_MODEL_UNSUPPORTED", { ...stateSpaces, ssm_cfg: null }, 'ssm_cfg.layer: expected "Mamba2"'],
    ["ERR_MODEL_UNSUPPORTED", withMixer({ layer: "Mamba1" }), 'got "Mamba1"'],
    [
      "ERR_MODEL_UNSUPPORTED",
      { ...stateSpaces, attn_layer_idx: [9, 18] },
      "attn_layer_idx: expected no attention layers, got [9, 18]",
    ],
    ["ERR_MODEL_UNSUPPORTED", { ...stateSpaces, d_intermediate: 2048 }, "d_intermediate: expected 0"],
    ["ERR_MODEL_UNSUPPORTED", { ...stateSpaces, rms_norm: false }, "rms_norm: expected true"],
    ["ERR_MODEL_UNSUPPORTED", withMixer({ D_has_hdim: true }), "ssm_cfg.D_has_hdim: expected false"],
    ["ERR_MODEL_UNSUPPORTED", withMixer({ d_ssm: 512 }), "ssm_cfg.d_ssm: expected expand * d_model"],
    ["ERR_MODEL_UNSUPPORTED", withMixer({ d_conv: 8 }), "ssm_cfg.d_conv: expected a width from 2 to 4, got 8"],
    ["ERR_MODEL_UNSUPPORTED", withMixer({ activation: "relu" }), "ssm_cfg.activation: expected silu or swish"],
  ];
  for (const [code, config, fragment] of original)
    rows.push([`mamba_ssm's ${fragment.slice(0, 40)}`, code, config, fragment]);

  test.each(rows)("%s", (_, code, config, fragment) => {
    const { message } = engineError(code, () => loadFrom(dir, config));
    expect(message).toContain("config.json: ");
    expect(message).toContain(fragment);
  });

  test("a directory that is not there", () => {
    const path = join(dir.path, "none");
    expect(engineError("ERR_MODEL_NOT_FOUND", () => loadModelConfig(path)).message).toContain(path);
  });

  test.each([
    ["weights.gguf", "ERR_WEIGHTS", "expected a file in GGUF, got"],
    ["model.safetensors", "ERR_MODEL_NOT_FOUND", "got another file; give the path of a directory with config.json"],
  ] as const)("%s in place of a directory", (name, code, message) => {
    expect(engineError(code, () => loadModelConfig(dir.write(name, "x"))).message).toContain(message);
  });

  test("a directory without config.json, and one with a folder of that name", () => {
    dir.write("bare/readme", "");
    dir.write("folder/config.json/readme", "");
    const load = (name: string) => () => loadModelConfig(join(dir.path, name));
    expect(engineError("ERR_CONFIG", load("bare")).message).toContain(
      "config.json: expected this file, got no such file",
    );
    expect(engineError("ERR_CONFIG", load("folder")).message).toContain("expected a regular file");
  });
});

describe("whatever config.json holds, it is a config that fits together or an error with a code", () => {
  const run = (config: string | Uint8Array | object) => {
    dir.write("random/config.json", config);
    try {
      const { heads, headDim, inner, groups, convDim } = (loadModelConfig(join(dir.path, "random")) as Mamba2Config)
        .ssm;
      expect(heads * headDim).toBe(inner);
      expect(heads % groups).toBe(0);
      expect(Number.isSafeInteger(convDim)).toBe(true);
    } catch (error) {
      if (!EngineError.is(error) || !["ERR_CONFIG", "ERR_MODEL_UNSUPPORTED"].includes(error.code)) throw error;
    }
  };

  test.each([
    ["transformers", huggingFace],
    ["mamba_ssm", { ...stateSpaces, ...stateSpaces.ssm_cfg }],
  ])("values of %s replaced", (_, base) => {
    const value = fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.integer(), fc.constantFrom(0, -1, 1e12, "Infinity", 2, 4));
    const changes = fc.dictionary(fc.constantFrom(...Object.keys(base)), value, { maxKeys: 3 });
    fc.assert(
      fc.property(changes, (replaced) => run({ ...base, ...replaced })),
      { numRuns: 300 },
    );
  });

  test("bytes of a golden changed", () => {
    const valid = readFileSync(join(__dirname, "../../golden/mamba2/config.json"));
    const edit = fc.tuple(fc.nat(valid.length - 1), fc.nat(255));
    const property = fc.property(fc.array(edit, { minLength: 1, maxLength: 5 }), (edits) => {
      const bytes = Buffer.from(valid);
      for (const [at, byte] of edits) bytes[at] = byte;
      run(bytes);
    });
    fc.assert(property, { numRuns: 300 });
  });
});
