import { call } from "../native/call";
import type { Stream } from "../tensor/stream";
import type { Tensor } from "../tensor/tensor";

/** out = norm(x) weight; with residual: residual += x first and the norm is of the new residual. All [rows, width], weight f32 [width]; out may be x. */
export function rmsNorm(
  stream: Stream,
  args: { out: Tensor; x: Tensor; residual?: Tensor | undefined; weight: Tensor; eps: number },
): void {
  const { out, x, residual, weight, eps } = args;
  call("rmsNorm", stream.handle, out.handle, x.handle, residual?.handle ?? 0, weight.handle, eps);
}

/** out = norm(x silu(gate)) weight, each run of groupSize channels with its own root mean square. out may be x. */
export function gatedRmsNorm(
  stream: Stream,
  args: { out: Tensor; x: Tensor; gate: Tensor; weight: Tensor; groupSize: number; eps: number },
): void {
  const { out, x, gate, weight, groupSize, eps } = args;
  call("gatedRmsNorm", stream.handle, out.handle, x.handle, gate.handle, weight.handle, groupSize, eps);
}
