import { testDevices } from "../helpers/backends";
import { goldens } from "../helpers/golden";
import { describeInvariants } from "../helpers/invariants";
import { ModelHarness } from "../helpers/model-harness";

/** Every architecture; with one group and with several. */
const models = goldens.filter(({ name }) => name !== "storyteller-6m");

describe.each(models)("$name", (golden) => {
  describeInvariants(golden, testDevices[0]!, (dtype, options) => ModelHarness.load(golden.modelDir, dtype, options));
});
