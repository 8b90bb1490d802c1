import { TextDecoder } from "node:util";

// ignoreBOM keeps a U+FEFF that the model wrote.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** The text of `bytes`; each maximal invalid part becomes one U+FFFD, as the WHATWG encoding standard has it. */
export function utf8Text(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/** How many bytes at the end (0 to 3) are the beginning of a character that more bytes could complete. */
export function unfinishedTail(bytes: Uint8Array): number {
  for (let length = 1; length <= 3 && length <= bytes.length; length++) {
    const lead = bytes[bytes.length - length]!;
    if (lead >= 0x80 && lead <= 0xbf) continue;
    if (length >= characterLength(lead)) return 0;
    return length === 1 || canFollow(lead, bytes[bytes.length - length + 1]!) ? length : 0;
  }
  return 0;
}

/** Bytes of the character that `lead` begins; 0 where it begins none. */
function characterLength(lead: number): number {
  if (lead >= 0xc2 && lead <= 0xdf) return 2;
  if (lead >= 0xe0 && lead <= 0xef) return 3;
  if (lead >= 0xf0 && lead <= 0xf4) return 4;
  return 0;
}

/** Whether continuation byte `second` may follow `lead`: not in overlong forms, surrogates or beyond U+10FFFF. */
function canFollow(lead: number, second: number): boolean {
  if (lead === 0xe0) return second >= 0xa0;
  if (lead === 0xed) return second <= 0x9f;
  if (lead === 0xf0) return second >= 0x90;
  if (lead === 0xf4) return second <= 0x8f;
  return true;
}
