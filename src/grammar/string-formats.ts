/**
 * What `format` may ask for, as regular expressions. Some are narrower than their standards and none is wider: what they
 * match, ajv's and Python's checks of the format accept.
 */

const commonDay = String.raw`(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)`;
const leapYear = String.raw`(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][48]|[13579][26]|[2468]0)00)`;
const date = String.raw`(?:\d{4}-${commonDay}|${leapYear}-02-29)`;
const time = String.raw`(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)`;

const number = String.raw`\d{1,9}`;
const dateParts = `(?:${number}Y(?:${number}M(?:${number}D)?)?|${number}M(?:${number}D)?|${number}D)`;
const timeParts = `(?:${number}H(?:${number}M(?:${number}S)?)?|${number}M(?:${number}S)?|${number}S)`;
const duration = `P(?:${number}W|${dateParts}(?:T${timeParts})?|T${timeParts})`;

const byte = String.raw`(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)`;
const ipv4 = String.raw`${byte}\.${byte}\.${byte}\.${byte}`;
const group = "[0-9A-Fa-f]{1,4}";
/** Eight groups, or fewer with one "::" among them. */
const ipv6 = [
  `(?:${group}:){7}${group}`,
  `(?:${group}:){1,7}:`,
  ...[1, 2, 3, 4, 5, 6].map((after) => `(?:${group}:){1,${7 - after}}(?::${group}){${after}}`),
  `:(?::${group}){1,7}`,
  "::",
].join("|");

/** A part of a host's name: seven of them have at most 253 characters. */
const label = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?";
const hostname = String.raw`${label}(?:\.${label}){0,6}`;
const email = String.raw`[A-Za-z0-9_+-]{1,32}(?:\.[A-Za-z0-9_+-]{1,32}){0,3}@${label}(?:\.${label}){1,4}`;

const character = "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})";
const path = `(?:/${character}*)*`;
const query = `(?:\\?(?:${character}|[/?])*)?(?:#(?:${character}|[/?])*)?`;
// Without a host only before a path, as in "file:///etc".
const authority = String.raw`//(?:${hostname}(?::\d{1,4})?|/${character}+)${path}`;
const uri = `[A-Za-z][A-Za-z0-9+-]*:(?:${authority}|${character}+${path})${query}`;
const uriReference = `${uri}|/${character}*${path}${query}|[A-Za-z0-9._~-]+${path}${query}`;
const variable = String.raw`\{[+#./;?&]?[A-Za-z0-9_]+(?:,[A-Za-z0-9_]+)*\}`;
const uriTemplate = `(?:[A-Za-z0-9._~!$&()*+,;=:@/?#-]|${variable})*`;

const pointer = "(?:/(?:[^~/]|~[01])*)*";
const base64 = "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?";

export const stringFormats: ReadonlyMap<string, string> = new Map([
  ["date", date],
  ["time", time],
  ["date-time", `${date}T${time}`],
  ["duration", duration],
  ["uuid", "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"],
  ["ipv4", ipv4],
  ["ipv6", ipv6],
  ["hostname", hostname],
  ["idn-hostname", hostname],
  ["email", email],
  ["idn-email", email],
  ["uri", uri],
  ["iri", uri],
  ["uri-reference", uriReference],
  ["iri-reference", uriReference],
  ["uri-template", uriTemplate],
  ["json-pointer", pointer],
  ["relative-json-pointer", `(?:0|[1-9]\\d{0,8})(?:#|${pointer})`],
  ["base64", base64],
  ["byte", base64],
  ["base64url", "[A-Za-z0-9_-]*"],
]);
