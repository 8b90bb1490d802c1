import type { Guess } from "./adaptive-proposer";
import { ON_DEVICE } from "./step-plan";

/** As many guesses as may be, made on the device at the start of the step that checks them. */
export const deviceGuess: Guess = (_, most) => new Array<number>(most).fill(ON_DEVICE);
