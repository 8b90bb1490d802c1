import { Automaton } from "./automaton";
import type { Budget } from "./budget";
import type { Decimal } from "./decimal";

const [MINUS, POINT, ZERO] = [0x2d, 0x2e, 0x30];
/** Remainders that are told apart at most. */
export const MAX_REMAINDERS = 20_000;

/**
 * Decimal texts without an exponent whose value is a multiple of a positive number, with no more digits after the point
 * than that has. A state is the remainder of the digits so far, and how many of them are after the point.
 */
export function multiplesOf({ units, places }: Decimal, budget: Budget): Automaton {
  const divisor = Number(units);
  // Phases: 0 the start, 1 after the sign, 2 in the whole part, 3 after the point, 4 after the first digit behind it, ...
  const phases: [phase: number, remainder: number][] = [];
  const byKey = new Map<number, number>();
  const stateOf = (phase: number, remainder: number): number => {
    const key = phase * divisor + remainder;
    let state = byKey.get(key);
    if (state === undefined) {
      budget.addState();
      state = phases.push([phase, remainder]) - 1;
      byKey.set(key, state);
    }
    return state;
  };
  const tables = { edgesFrom: [0], low: [] as number[], high: [] as number[], to: [] as number[] };
  const finals: number[] = [];
  const edge = (byte: number, to: number) => {
    tables.low.push(byte);
    tables.high.push(byte);
    tables.to.push(to);
  };
  stateOf(0, 0);
  for (let state = 0; state < phases.length; state++) {
    const [phase, remainder] = phases[state]!;
    const written = Math.max(0, phase - 3);
    const isNumber = phase === 2 || phase > 3;
    finals.push(Number(isNumber && (BigInt(remainder) * 10n ** BigInt(places - written)) % units === 0n));
    if (phase === 0) edge(MINUS, stateOf(1, 0));
    if (phase === 2 && places > 0) edge(POINT, stateOf(3, remainder));
    if (written < places || phase <= 2) {
      for (let digit = 0; digit < 10; digit++) {
        edge(ZERO + digit, stateOf(phase <= 2 ? 2 : phase + 1, (remainder * 10 + digit) % divisor));
      }
      budget.spend(20);
    }
    tables.edgesFrom.push(tables.to.length);
  }
  return new Automaton({ ...tables, finals, calls: new Map() });
}
