import type { Model } from "./model";
import type { MtpHead } from "./mtp-head";

/**
 * What guesses a model's next tokens on the device: a head of its own, or a smaller model. Its layers are built with the model's, so
 * that what they keep of a sequence is among the model's caches and goes where those go.
 */
export type Drafter =
  | { readonly kind: "mtp"; readonly head: MtpHead }
  | { readonly kind: "draft_model"; readonly model: Pick<Model, "forward" | "logits"> };
