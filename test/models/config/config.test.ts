import { join } from "node:path";
import { loadModelConfig } from "../../../src/models/config";
import { engineError, makeTestDir, type TestDir } from "../../weights/files";
import { huggingFace, loadFrom, stateSpaces, withChanges, withMixer } from "./configs";
import { common, ssm } from "./golden-parts";

const root = join(__dirname, "../../..");

let dir: TestDir;
beforeAll(() => {
  dir = makeTestDir();
});
afterAll(() => dir.remove());

const load = (config: string | object, generation?: string | object) => loadFrom(dir, config, generation);

describe("configs in this repository", () => {
  test("golden, as transformers writes it", () => {
    expect(loadModelConfig(join(root, "test/golden/mamba2"))).toEqual({
      ...common,
      modelType: "mamba2",
      numLayers: 2,
      normEps: 1e-5,
      tieWordEmbeddings: true,
      residualInFp32: true,
      ssm: {
        ...ssm,
        norm: { groups: 1, eps: 1e-5, beforeGate: false },
      },
    });
  });

  test("golden with groups", () => {
    const config = loadModelConfig(join(root, "test/golden/mamba2_groups"));
    expect(config).toMatchObject({
      tieWordEmbeddings: false,
      ssm: { groups: 2, heads: 4, headDim: 32, convDim: 640, norm: { groups: 2 } },
    });
  });

  test("the storyteller, with its generation defaults", () => {
    const config = loadModelConfig(join(root, "models/storyteller-6m"));
    expect(config).toMatchObject({ hiddenSize: 320, numLayers: 7, ssm: { dtMax: 1e38 }, eosTokenIds: [0, 4] });
    expect(config.generationDefaults).toEqual({ temperature: 0.8, topK: 40, topP: 0.95 });
  });

  test.each([
    ["mamba2-130m", { numLayers: 24, hiddenSize: 768, ssm: { heads: 24, convDim: 1792 }, tieWordEmbeddings: true }],
    ["mamba2-2.7b", { numLayers: 64, hiddenSize: 2560, ssm: { heads: 80, convDim: 5376 }, vocabSize: 50288 }],
    [
      "mamba-codestral-7b",
      { numLayers: 64, ssm: { groups: 8, convDim: 10240, norm: { groups: 8 } }, tieWordEmbeddings: false },
    ],
  ])("%s for benchmarks, as published", (name, geometry) => {
    expect(loadModelConfig(join(root, "bench/models", name))).toMatchObject(geometry);
  });
});

describe("dialects", () => {
  test("equal configs of equal models", () => {
    expect(load(stateSpaces)).toEqual(load(huggingFace));
  });

  test("every option of the mixer has its counterpart", () => {
    const mixer = { d_state: 64, d_conv: 3, expand: 4, headdim: 32, ngroups: 2, chunk_size: 128 };
    const more = { bias: true, conv_bias: false, dt_limit: [0.01, 0.5], activation: "silu" };
    const other = { ...withMixer({ ...mixer, ...more }), tie_embeddings: false, residual_in_fp32: false };
    const same = withChanges({
      state_size: 64,
      conv_kernel: 3,
      expand: 4,
      head_dim: 32,
      num_heads: 96,
      n_groups: 2,
      chunk_size: 128,
      use_bias: true,
      use_conv_bias: false,
      time_step_limit: [0.01, 0.5],
      tie_word_embeddings: false,
      residual_in_fp32: false,
    });
    expect(load(other)).toEqual(load(same));
  });

  test("mamba_ssm's defaults: a vocabulary padded to 8, tied embeddings", () => {
    const config = load({ d_model: 2560, n_layer: 64, vocab_size: 50277, ssm_cfg: { layer: "Mamba2" } });
    expect(config).toMatchObject({ vocabSize: 50280, ssm: { heads: 80 }, tieWordEmbeddings: true, torchDtype: null });
  });
});

describe("keys that the reference implementation does not read change nothing", () => {
  test.each<[string, object]>([
    ["norm_before_gate, true in Mamba-Codestral", { norm_before_gate: true }],
    ["rms_norm", { rms_norm: false }],
    ["both", { rms_norm: false, norm_before_gate: true }],
    ["of another type", { rms_norm: "no", norm_before_gate: 1 }],
    ["how dt_bias was drawn", { time_step_min: 0.5, time_step_max: 0.6, time_step_floor: 0.4, time_step_rank: "auto" }],
    ["older names of that", { time_step_scale: 2, time_step_init_scheme: "constant" }],
    ["an intermediate_size", { intermediate_size: 1 }],
    ["names of the other dialect", { d_model: 1, n_layer: 1, ssm_cfg: { layer: "Mamba1", norm_before_gate: true } }],
    ["training", { initializer_range: 3, rescale_prenorm_residual: true, use_cache: false }],
    ["labels", { id2label: { 0: "LABEL_0" }, label2id: { LABEL_0: 0 }, problem_type: null, is_encoder_decoder: false }],
  ])("transformers' Mamba2: %s", (_, ignored) => {
    expect(load(withChanges(ignored))).toEqual(load(huggingFace));
  });

  test.each<[string, object]>([
    [
      "how dt_bias and A were drawn",
      { dt_min: 0.5, dt_max: 0.6, dt_init_floor: 0.4, A_init_range: [2, 3], conv_init: 1 },
    ],
    ["which kernels run", { use_mem_eff_path: false }],
  ])("mamba_ssm's Mamba2: %s", (_, ignored) => {
    expect(load(withMixer(ignored))).toEqual(load(stateSpaces));
  });

  test("mamba_ssm's model: how norms are fused, attention without layers", () => {
    const ignored = { fused_add_norm: false, attn_cfg: { num_heads: 8 }, norm_epsilon: 1 };
    expect(load({ ...stateSpaces, ...ignored })).toEqual(load(stateSpaces));
  });
});

describe("keys that mamba_ssm reads", () => {
  test("without rmsnorm there is no gated norm", () => {
    expect(load(withMixer({ rmsnorm: false }))).toMatchObject({ modelType: "mamba2", ssm: { norm: null } });
  });

  test("norm_before_gate orders a norm, and nothing where there is none", () => {
    expect(load(withMixer({ norm_before_gate: true }))).toMatchObject({ ssm: { norm: { beforeGate: true } } });
    expect(load(withMixer({ rmsnorm: false, norm_before_gate: true }))).toMatchObject({ ssm: { norm: null } });
  });
});

describe("values", () => {
  test.each<[string, object, object]>([
    [
      "nulls are defaults",
      { chunk_size: null, use_bias: null, eos_token_id: null },
      { ssm: { chunkSize: 256 }, eosTokenIds: [] },
    ],
    ["a list of end tokens, once each", { eos_token_id: [2, 0, 2] }, { eosTokenIds: [2, 0] }],
    ["no special tokens", { bos_token_id: null }, { eosTokenIds: [] }],
    [
      "initial time steps are no clamps",
      { time_step_min: 0.001, time_step_max: 0.1 },
      { ssm: { dtMin: 0, dtMax: Infinity } },
    ],
    ["swish is silu", { hidden_act: "swish" }, { hiddenSize: 768 }],
    ["old name of the dtype", { torch_dtype: "float16" }, { torchDtype: "float16" }],
    ["new name of the dtype", { dtype: "float32", torch_dtype: "float16" }, { torchDtype: "float32" }],
    ["dtype with a prefix", { dtype: "torch.bfloat16" }, { torchDtype: "bfloat16" }],
    ["dtype of the state", { mamba_ssm_cache_dtype: "float32" }, { mambaSsmCacheDtype: "float32" }],
    ["no quantisation", { quantization_config: null }, { hiddenSize: 768 }],
    ["a method that is read", { quantization_config: { quant_method: "gptq", bits: 4 } }, { hiddenSize: 768 }],
  ])("%s", (_, changes, expected) => {
    expect(load(withChanges(changes))).toMatchObject(expected);
  });

  test("absent ids are absent keys", () => {
    const config = load(withChanges({ pad_token_id: -1 }));
    for (const key of ["bosTokenId", "padTokenId", "mambaSsmCacheDtype"]) expect(config).not.toHaveProperty(key);
  });

  test.each(["[0, Infinity]", "[0.0, 1e999]", '[0.0, {"__float__": "Infinity"}]'])(
    "time_step_limit %s has no upper bound",
    (limit) => {
      const text = JSON.stringify(huggingFace).replace(
        "{",
        `{"time_step_limit":${limit},"_name":"an Infinity \\" NaN",`,
      );
      expect(load(text)).toMatchObject({ ssm: { dtMin: 0, dtMax: Number.POSITIVE_INFINITY } });
    },
  );

  test("a byte order mark", () => {
    expect(load(`\ufeff${JSON.stringify(huggingFace)}`).hiddenSize).toBe(768);
  });
});

describe("generation_config.json", () => {
  test.each<[string, object, object, number[]]>([
    ["nothing", {}, {}, [5]],
    ["do_sample false is greedy", { do_sample: false, temperature: 0.7 }, { temperature: 0 }, [5]],
    [
      "sampling without do_sample",
      { temperature: 0.7, top_k: 0, min_p: 0.1 },
      { temperature: 0.7, topK: 0, minP: 0.1 },
      [5],
    ],
    ["a repetition penalty", { repetition_penalty: 1.1 }, { repetitionPenalty: 1.1 }, [5]],
    ["one end token more", { eos_token_id: 7 }, {}, [5, 7]],
    ["end tokens that are known", { eos_token_id: [5, 6] }, {}, [5, 6]],
    ["nulls", { top_p: null, eos_token_id: null }, {}, [5]],
  ])("%s", (_, generation, defaults, eos) => {
    const config = load(withChanges({ eos_token_id: 5 }), generation);
    expect(config.generationDefaults).toEqual(defaults);
    expect(config.eosTokenIds).toEqual(eos);
  });

  test.each<[string, object | string, string]>([
    ["a negative temperature", { temperature: -1 }, "temperature: expected a number from 0 to 100, got -1"],
    ["an infinite temperature", '{"temperature": Infinity}', "got Infinity"],
    ["a fraction for top_k", { top_k: 1.5 }, "top_k: expected an integer from 0, got 1.5"],
    ["top_p over 1", { top_p: 2 }, "top_p: expected a number above 0 and at most 1, got 2"],
    [
      "a repetition_penalty of 0",
      { repetition_penalty: 0 },
      "repetition_penalty: expected a number above 0 and at most 100, got 0",
    ],
    ["top_p of 0", { top_p: 0 }, "top_p"],
    ["min_p as text", { min_p: "0.1" }, 'min_p: expected a number from 0 to 1, got "0.1"'],
    ["do_sample as a number", { do_sample: 1 }, "do_sample: expected true or false, got 1"],
    ["an end token beyond the vocabulary", { eos_token_id: 50288 }, "below the vocabulary size 50288, got 50288"],
    ["a list", "[]", "expected an object, got []"],
  ])("rejects %s", (_, generation, fragment) => {
    const { message } = engineError("ERR_CONFIG", () => load(huggingFace, generation));
    expect(message).toContain("generation_config.json: ");
    expect(message).toContain(fragment);
  });
});
