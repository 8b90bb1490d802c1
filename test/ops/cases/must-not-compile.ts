/** Calls that the compiler refuses: `npm run check` fails where one of these lines compiles. Nothing runs this. */
import { addon } from "../../../src/native/load";
import { linear, rmsNorm } from "../../../src/ops";
import type { Stream } from "../../../src/tensor/stream";
import type { Tensor } from "../../../src/tensor/tensor";

export function mustNotCompile(stream: Stream, a: Tensor, b: Tensor, c: Tensor): void {
  // @ts-expect-error tensors in an order, where one could be taken for another
  rmsNorm(stream, a, b, c, 1e-5);
  // @ts-expect-error one is missing
  rmsNorm(stream, { out: a, x: b, eps: 1e-5 });
  // @ts-expect-error no such argument
  rmsNorm(stream, { out: a, input: b, x: b, weight: c, eps: 1e-5 });
  // @ts-expect-error a handle is no tensor
  linear(stream, { out: a.handle, x: b, weight: c });
  // @ts-expect-error the tensor's handle where the device's belongs
  addon().rmsNorm(a.handle, a.handle, b.handle, 0, c.handle, 1e-5, 0, -1);
  // @ts-expect-error a number is no handle, since arithmetic on handles is a mistake
  addon().freeTensor(a.handle + 1);
}
