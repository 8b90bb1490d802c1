import { InvalidArgumentError } from "commander";

type Parse = (text: string) => number;

/** Parses an option's value; commander puts the option's name before the message. */
export function wholeNumber(least: number, most: number = Number.MAX_SAFE_INTEGER): Parse {
  const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`;
  return (text) => {
    const value = /^[+-]?\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(`Expected a whole number ${range}.`);
  };
}

/** Like wholeNumber, for any number; `open` leaves `least` itself out. */
export function realNumber(least: number, most: number, { open = false } = {}): Parse {
  const range = open ? `above ${least}, at most ${most}` : `from ${least} to ${most}`;
  return (text) => {
    const value = text.trim() === "" ? Number.NaN : Number(text);
    if ((open ? value > least : value >= least) && value <= most) return value;
    throw new InvalidArgumentError(`Expected a number ${range}.`);
  };
}
