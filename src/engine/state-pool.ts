import type { LayerState } from "../layers/forward";
import type { LayerStateShape } from "../models/model";
import type { Device } from "../tensor/device";
import { type DType, sizeOf } from "../tensor/dtype";
import { elementsOf } from "../tensor/shape";

export interface StateDtypes {
  readonly conv: DType;
  readonly ssm: DType;
}

/** Bytes of one slot over all layers. */
export function stateBytesPerSlot(shapes: readonly LayerStateShape[], dtypes: StateDtypes): number {
  return shapes.reduce(
    (sum, { conv, ssm }) => sum + elementsOf(conv) * sizeOf(dtypes.conv) + elementsOf(ssm) * sizeOf(dtypes.ssm),
    0,
  );
}

/** Every layer's states for `slots` sequences. A slot's content is undefined until a first chunk has run on it. */
export function createStatePool(
  device: Device,
  shapes: readonly LayerStateShape[],
  dtypes: StateDtypes,
  slots: number,
): LayerState[] {
  return shapes.map(({ conv, ssm }) => ({
    conv: device.tensor(dtypes.conv, [slots, ...conv]),
    ssm: device.tensor(dtypes.ssm, [slots, ...ssm]),
  }));
}
