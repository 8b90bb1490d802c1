import type { LayerState } from "../layers/forward";
import type { LayerStateShape, StateDtypes } from "../models/model";
import type { Device } from "../tensor/device";

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
