import type { Sequence } from "./sequence";

/** Puts a sequence into a list that is in order of rank. */
export function insertByRank(list: Sequence[], sequence: Sequence): void {
  let index = list.length;
  while (index > 0 && sequence.outranks(list[index - 1]!)) index -= 1;
  list.splice(index, 0, sequence);
}

/** Takes a sequence out of a list, if it is in it. */
export function remove(list: Sequence[], sequence: Sequence): void {
  const index = list.indexOf(sequence);
  if (index >= 0) list.splice(index, 1);
}
