import type { Device } from "../tensor/device";
import { differenceOf, type Words, wordsFor } from "./difference";
import { Inputs } from "./inputs";
import type { KernelCase } from "./kernel-case";
import { Matrices } from "./matrices";

/** Compares what ops write on a device with what the CPU backend writes for the same inputs. */
export class KernelCheck {
  private readonly sides: readonly { readonly device: Device; readonly matrices: Matrices }[];

  constructor(device: Device, reference: Device) {
    this.sides = [device, reference].map((side) => ({ device: side, matrices: new Matrices(side) }));
  }

  /** Null where all agree, else what is wrong. `onCase` hears of each case before it runs. */
  async firstMismatch(cases: readonly KernelCase[], onCase: (done: number, total: number, name: string) => void) {
    const checks = new Map(cases.map((one) => [`${one.op} ${one.checkedName}`, one]));
    let done = 0;
    for (const [name, one] of checks) {
      onCase(done++, checks.size, name);
      const difference = await this.difference(one);
      if (difference !== null) return `${name}: ${difference}`;
    }
    return null;
  }

  free(): void {
    for (const { matrices } of this.sides) matrices.free();
  }

  private async difference(one: KernelCase): Promise<string | null> {
    const [actual, expected] = await Promise.all(
      this.sides.map(({ device, matrices }) => outputsOf(one, device, matrices)),
    );
    for (const [name, { dtype, words }] of actual!) {
      const difference = differenceOf(dtype, words, expected!.get(name)!.words);
      if (difference !== null) return `${name}: ${difference}`;
    }
    return null;
  }
}

async function outputsOf(one: KernelCase, device: Device, matrices: Matrices) {
  const inputs = new Inputs(device, matrices);
  const { launch, outputs } = one.checked(inputs);
  launch();
  const results = Object.entries(outputs).map(([name, tensor]) => {
    const words: Words = wordsFor(tensor.dtype, tensor.elements);
    return { name, dtype: tensor.dtype, words, done: device.stream.download(tensor, words) };
  });
  await Promise.all(results.map(({ done }) => done));
  inputs.free();
  return new Map(results.map((result) => [result.name, result]));
}
