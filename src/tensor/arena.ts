import type { ArenaHandle, DeviceHandle } from "../native/abi";
import { addon } from "../native/load";
import { codeOf, type DType } from "./dtype";
import { fourOf, type Shape } from "./shape";
import { Tensor } from "./tensor";

/** Memory for temporaries: allocation is a pointer bump, and a scope's tensors are freed together when it ends. */
export class Arena {
  private readonly handle: ArenaHandle;

  private constructor(device: DeviceHandle, bytes: number) {
    this.handle = addon().createArena(device, bytes);
  }

  static create(device: DeviceHandle, bytes: number): Arena {
    return new Arena(device, bytes);
  }

  /** An arena without memory, for a capture that only measures (see highWater). */
  static measuring(device: DeviceHandle): Arena {
    return new Arena(device, 0);
  }

  /** Uninitialised. Throws ERR_ARENA_FULL. */
  tensor(dtype: DType, shape: Shape): Tensor {
    return new Tensor(addon().arenaTensor(this.handle, codeOf(dtype), shape.length, ...fourOf(shape)), dtype, shape);
  }

  /** Runs `body`; tensors made in it die when it returns. */
  scope<T>(body: () => T): T {
    addon().openArenaScope(this.handle);
    try {
      return body();
    } finally {
      addon().closeArenaScope(this.handle);
    }
  }

  /** Bytes in use at the fullest moment so far. */
  get highWater(): number {
    return addon().arenaHighWater(this.handle);
  }

  free(): void {
    addon().freeArena(this.handle);
  }
}
