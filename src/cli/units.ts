const steps = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

/** 12507152 as "11.9 MiB". */
export function formatBytes(bytes: number): string {
  const step = Math.min(steps.length - 1, bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** step;
  return `${step === 0 ? value : value.toFixed(1)} ${steps[step]}`;
}

/** 4096 as "4,096". */
export function formatCount(count: number): string {
  return count.toLocaleString("en-US");
}

/** 6245970 as "6.2 M"; small numbers as they are. */
export function formatMagnitude(count: number): string {
  if (count >= 1e9) return `${(count / 1e9).toFixed(1)} B`;
  return count >= 1e6 ? `${(count / 1e6).toFixed(1)} M` : formatCount(count);
}

/** 12.3456 as "12.3", 1234.5 as "1,235": three digits are enough for a measurement. */
export function formatMeasure(value: number): string {
  return value >= 100 ? formatCount(Math.round(value)) : value.toFixed(value >= 10 ? 1 : 2);
}
