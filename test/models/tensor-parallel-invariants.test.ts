/** What holds for a model on one device holds for one on a group: on CPUs with shares that are not equal, else of two GPUs. */
import { testDevices } from "../helpers/backends";
import { goldens } from "../helpers/golden";
import { GroupHarness, mostRanks } from "../helpers/group-harness";
import { describeInvariants } from "../helpers/invariants";

const device = testDevices[0]!;
const ranks = device === "cpu" ? 3 : 2;
const models = goldens.filter(({ name }) => name !== "storyteller-6m");

(ranks <= mostRanks(device) ? describe : describe.skip).each(models)(`$name on ${ranks} ranks`, (golden) => {
  describeInvariants(golden, device, (dtype, options) =>
    GroupHarness.load(golden.modelDir, dtype, ranks, { ...options, device }),
  );
});
