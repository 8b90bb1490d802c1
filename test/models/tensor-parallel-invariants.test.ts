/** What holds for a model on one device holds for one on a group, with shares that are not equal. */
import { goldens } from "../helpers/golden";
import { GroupHarness } from "../helpers/group-harness";
import { describeInvariants } from "../helpers/invariants";

const models = goldens.filter(({ name }) => name !== "storyteller-6m");

describe.each(models)("$name on 3 ranks", (golden) => {
  describeInvariants(golden, "cpu", (dtype, options) => GroupHarness.load(golden.modelDir, dtype, 3, options));
});
