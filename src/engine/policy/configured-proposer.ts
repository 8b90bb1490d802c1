import { AdaptiveProposer, type Guess } from "./adaptive-proposer";
import { ngramGuess } from "./ngram-guess";
import type { Proposer } from "./proposer";
import type { SpeculativeConfig } from "./speculative-config";
import { ON_DEVICE } from "./step-plan";
import { suffixGuess } from "./suffix-guess";

/** A sequence with fewer right guesses is not worth what it takes to keep a drafter up with it; some seven wrong ones at its start. */
const LEAST_SHARE_ON_DEVICE = 0.12;

/** As many guesses as may be, made on the device at the start of the step that checks them. */
const deviceGuess: Guess = (_, most) => new Array<number>(most).fill(ON_DEVICE);

/** What a config says is to guess: n-grams or suffixes here, a head or another model on the device. */
export function configuredProposer(config: SpeculativeConfig): Proposer {
  if (config.method === "ngram") return new AdaptiveProposer(ngramGuess(config));
  if (config.method === "suffix") return new AdaptiveProposer(suffixGuess(config));
  return new AdaptiveProposer(deviceGuess, LEAST_SHARE_ON_DEVICE);
}
