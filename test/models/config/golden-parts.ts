export const mamba = "mamba" as const;
export const attention = "attention" as const;

/** What the goldens of all families say alike. */
export const common = {
  vocabSize: 256,
  hiddenSize: 64,
  torchDtype: "bfloat16",
  bosTokenId: 0,
  eosTokenIds: [1],
  padTokenId: 0,
  generationDefaults: {},
};

export const ssm = {
  heads: 2,
  headDim: 64,
  groups: 1,
  stateSize: 128,
  convKernel: 4,
  chunkSize: 256,
  inner: 128,
  convDim: 384,
  inProjBias: false,
  outProjBias: false,
  convBias: true,
  dtMin: 0,
  dtMax: Number.POSITIVE_INFINITY,
};
