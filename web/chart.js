const width = 60;
const height = 20;

/** A minute of figures as bars in an SVG, one a second, newest at the right; several series are stacked. */
export class Chart {
  /** @type {readonly number[][]} */
  #series;
  /** @type {readonly SVGPathElement[]} */
  #paths;

  /**
   * @param {Element} svg
   * @param {readonly string[]} classes of the series, the lowest first
   */
  constructor(svg, classes) {
    this.#series = classes.map(() => []);
    this.#paths = classes.map((name) => {
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("class", name);
      svg.append(path);
      return path;
    });
  }

  /** @param {readonly number[]} values one for each series */
  add(values) {
    for (const [i, series] of this.#series.entries()) {
      series.push(values[i] ?? 0);
      if (series.length > width) series.shift();
    }
    for (const [i, d] of stackedBars(this.#series).entries()) this.#paths[i]?.setAttribute("d", d);
  }
}

/**
 * A path for each series, scaled so that the highest stack fills the height.
 * @param {readonly (readonly number[])[]} series of equal length
 * @returns {string[]}
 */
export function stackedBars(series) {
  const count = series[0]?.length ?? 0;
  const tops = new Array(count).fill(0);
  for (const values of series) for (const [i, value] of values.entries()) tops[i] += value;
  const scale = height / Math.max(1e-9, ...tops);
  const floors = new Array(count).fill(0);
  return series.map((values) => {
    let path = "";
    for (const [i, value] of values.entries()) {
      if (value > 0) {
        const y = height - (floors[i] + value) * scale;
        path += `M${width - count + i + 0.1} ${y.toFixed(2)}h.8v${(value * scale).toFixed(2)}h-.8z`;
      }
      floors[i] += value;
    }
    return path;
  });
}
