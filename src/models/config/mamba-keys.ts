import { z } from "zod";
import type { GatedNorm } from "../../layers/rms-norm";
import { chunkSize, expansion, flag, orElse, size, text, timeStepLimit } from "./fields";
import { checkSilu, type SsmGeometry, ssmGeometry } from "./geometry";
import type { ConfigFile } from "./json-file";

/** The mixer's keys as Bamba, Granite 4 and Falcon-H1 spell them. */
const schema = z.object({
  mamba_n_heads: size(65_536),
  // Missing, it is the class's "auto".
  mamba_d_head: z.union([z.literal("auto"), size(4096)], { error: 'an integer from 1 to 4096, or "auto"' }).nullish(),
  mamba_n_groups: orElse(size(65_536), 1),
  mamba_d_state: size(4096),
  mamba_d_conv: orElse(size(65_536), 4),
  mamba_d_ssm: size(1_048_576).nullish(),
  mamba_expand: orElse(expansion, 2),
  mamba_chunk_size: orElse(chunkSize, 256),
  mamba_conv_bias: orElse(flag(), true),
  mamba_proj_bias: orElse(flag(), false),
  hidden_act: orElse(text(), "silu"),
  time_step_limit: timeStepLimit.nullish(),
});

export interface MambaKeysOptions {
  readonly hiddenSize: number;
  /** Whether the class sizes the mixer by mamba_d_ssm where that is set. */
  readonly obeysDSsm: boolean;
  /** The bias of out_proj, where mamba_proj_bias is of in_proj only. */
  readonly outProjBias?: boolean;
  readonly norm: (groups: number) => GatedNorm | null;
}

export function readMambaKeys(file: ConfigFile, options: MambaKeysOptions): SsmGeometry {
  const fields = file.fields(schema);
  const expanded = Math.trunc(fields.mamba_expand * options.hiddenSize);
  const own = options.obeysDSsm ? fields.mamba_d_ssm : undefined;
  const inner = own ?? expanded;
  const heads = fields.mamba_n_heads;
  const given = fields.mamba_d_head;
  const headDim = typeof given === "number" ? given : Math.floor(inner / heads);
  const { mamba_n_groups: groups, mamba_d_state: stateSize, mamba_d_conv: convKernel } = fields;
  checkSilu(file, "hidden_act", fields.hidden_act);
  const ssm = {
    heads,
    headDim,
    groups,
    stateSize,
    convKernel,
    chunkSize: fields.mamba_chunk_size,
    inProjBias: fields.mamba_proj_bias,
    outProjBias: options.outProjBias ?? fields.mamba_proj_bias,
    convBias: fields.mamba_conv_bias,
    dtMin: fields.time_step_limit?.min ?? 0,
    dtMax: fields.time_step_limit?.max ?? Number.POSITIVE_INFINITY,
    norm: options.norm(groups),
  };
  const from = typeof own === "number" ? "mamba_d_ssm" : "mamba_expand * hidden_size";
  const keys = { heads: "mamba_n_heads", groups: "mamba_n_groups", convKernel: "mamba_d_conv" };
  return ssmGeometry(file, ssm, { inner, from }, keys);
}
