import { unsupported } from "./values";

const days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const months = "January February March April May June July August September October November December".split(" ");

const DAY_MS = 86_400_000;

/** Days since the year began. */
function dayOfYear(date: Date): number {
  const midnight = Date.UTC(date.getFullYear(), date.getMonth(), date.getDate());
  return Math.round((midnight - Date.UTC(date.getFullYear(), 0, 1)) / DAY_MS);
}

/** The year and the number of the week that ISO 8601 counts the day in. */
function isoWeek(date: Date): [year: number, week: number] {
  const thursday = new Date(date.getFullYear(), date.getMonth(), date.getDate() + 3 - ((date.getDay() + 6) % 7));
  return [thursday.getFullYear(), Math.floor(dayOfYear(thursday) / 7) + 1];
}

interface Field {
  readonly value: (date: Date) => string | number;
  /** Digits of a number. */
  readonly width?: number;
  /** What a number is padded with. */
  readonly pad?: string;
}

const number = (value: (date: Date) => number, width = 2, pad = "0"): Field => ({ value, width, pad });
const text = (value: (date: Date) => string): Field => ({ value });
const composed = (format: string) => text((date) => strftime(date, format));
const hour12 = (date: Date) => date.getHours() % 12 || 12;

/** The conversions of the C locale. */
const fields: Readonly<Record<string, Field>> = {
  a: text((date) => days[date.getDay()]!.slice(0, 3)),
  A: text((date) => days[date.getDay()]!),
  b: text((date) => months[date.getMonth()]!.slice(0, 3)),
  B: text((date) => months[date.getMonth()]!),
  c: composed("%a %b %e %H:%M:%S %Y"),
  C: number((date) => Math.floor(date.getFullYear() / 100)),
  d: number((date) => date.getDate()),
  D: composed("%m/%d/%y"),
  e: number((date) => date.getDate(), 2, " "),
  F: composed("%Y-%m-%d"),
  g: number((date) => isoWeek(date)[0] % 100),
  G: number((date) => isoWeek(date)[0], 4),
  h: text((date) => months[date.getMonth()]!.slice(0, 3)),
  H: number((date) => date.getHours()),
  I: number(hour12),
  j: number((date) => dayOfYear(date) + 1, 3),
  k: number((date) => date.getHours(), 2, " "),
  l: number(hour12, 2, " "),
  m: number((date) => date.getMonth() + 1),
  M: number((date) => date.getMinutes()),
  n: text(() => "\n"),
  p: text((date) => (date.getHours() < 12 ? "AM" : "PM")),
  P: text((date) => (date.getHours() < 12 ? "am" : "pm")),
  r: composed("%I:%M:%S %p"),
  R: composed("%H:%M"),
  s: text((date) => String(Math.floor(date.getTime() / 1000))),
  S: number((date) => date.getSeconds()),
  t: text(() => "\t"),
  T: composed("%H:%M:%S"),
  u: number((date) => date.getDay() || 7, 1),
  U: number((date) => Math.floor((dayOfYear(date) + 7 - date.getDay()) / 7)),
  V: number((date) => isoWeek(date)[1]),
  w: number((date) => date.getDay(), 1),
  W: number((date) => Math.floor((dayOfYear(date) + 7 - ((date.getDay() + 6) % 7)) / 7)),
  x: composed("%m/%d/%y"),
  X: composed("%H:%M:%S"),
  y: number((date) => date.getFullYear() % 100),
  Y: number((date) => date.getFullYear(), 1),
  // datetime.now() knows its microseconds and no time zone.
  f: number((date) => date.getMilliseconds() * 1000, 6),
  z: text(() => ""),
  Z: text(() => ""),
  "%": text(() => "%"),
};

/** `datetime.strftime` of local time, with the flags and widths of glibc. */
export function strftime(date: Date, format: string): string {
  return format.replace(/%([-_0^#]*)(\d*)[EO]?(.|$)/gs, (all, flags: string, width: string, name: string) => {
    const field = fields[name];
    if (field === undefined) throw unsupported(`"${all}" in a format of strftime_now`);
    const value = field.value(date);
    const flag = /[-_0]/.exec([...flags].reverse().join(""))?.[0];
    const isNumber = typeof value === "number";
    const pad = flag === "_" ? " " : flag === "0" ? "0" : isNumber ? field.pad! : " ";
    const digits = width === "" ? (isNumber && flag !== "-" ? field.width! : 0) : Number(width);
    let result = String(value).padStart(digits, pad);
    if (flags.includes("^")) result = result.toUpperCase();
    if (flags.includes("#")) result = name === "p" || name === "Z" ? result.toLowerCase() : result.toUpperCase();
    return result;
  });
}
