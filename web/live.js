import { ApiError, getJson } from "./api.js";
import { Chart } from "./chart.js";
import { byId } from "./dom.js";
import { cachedShare, noRates, ratesBetween } from "./rates.js";

/**
 * @typedef {import("./rates.js").Stats} Stats
 * @typedef {import("./rates.js").Rates} Rates
 * @typedef {import("./rates.js").Percentiles} Percentiles
 */

const intervalMs = 1000;
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

/** @param {string} id @param {string} text */
function setText(id, text) {
  const node = byId(id, HTMLElement);
  // A live region is read out again when its text is set, also to the same.
  if (node.textContent !== text) node.textContent = text;
}

/** Asks for the engine's figures once a second while the page is seen, and shows them. */
export class LiveView {
  #charts = {
    generated: new Chart(byId("generated-chart", Element), ["decode"]),
    prefilled: new Chart(byId("prefilled-chart", Element), ["prefill"]),
    step: new Chart(byId("step-chart", Element), ["decode", "prefill"]),
  };
  /** @type {{ stats: Stats, at: number } | null} */
  #last = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #isAsking = false;
  #events;

  /**
   * @param {{ onNeedsKey: () => void, onConnected: () => Promise<void> }} events the server asks for a key, and is not asked
   *   again until start(); it answers for the first time, or again after it did not
   */
  constructor(events) {
    this.#events = events;
    document.addEventListener("visibilitychange", () => this.start());
  }

  start() {
    clearTimeout(this.#timer);
    if (!this.#isAsking && !document.hidden) void this.#ask();
  }

  async #ask() {
    this.#isAsking = true;
    let isRefused = false;
    try {
      const stats = await getJson("engine/stats");
      if (this.#last === null) await this.#events.onConnected();
      this.#show(stats);
    } catch (error) {
      this.#last = null;
      isRefused = error instanceof ApiError && error.status === 401;
      if (isRefused) {
        this.#state("locked", "Key needed", "this server needs an API key; its field is in the panel");
        this.#events.onNeedsKey();
      } else {
        this.#state("lost", "Unreachable", `${/** @type {Error} */ (error).message}; trying again`);
      }
    }
    this.#isAsking = false;
    if (!isRefused) this.#timer = setTimeout(() => this.start(), intervalMs);
  }

  /** @param {Stats} stats */
  #show(stats) {
    const at = performance.now();
    const rates = this.#last === null ? noRates : ratesBetween(this.#last.stats, stats, (at - this.#last.at) / 1000);
    this.#last = { stats, at };
    this.#showState(stats);
    setText("running", whole.format(stats.running));
    setText("waiting", whole.format(stats.waiting));
    this.#showUse("slots", stats.slots_used, stats.slots_total);
    this.#showUse("pages", stats.pages_used, stats.pages_total);
    for (const id of ["pages-figure", "pages-used"]) byId(id, HTMLElement).hidden = stats.pages_total === 0;
    setText("cached", cachedShare(stats));
    this.#showKept("states", stats.prefix_cache_states_used, stats.prefix_cache_states_total);
    this.#showKept("host-states", stats.prefix_cache_host_states_used, stats.prefix_cache_host_states_total);
    byId("mode-figure", HTMLElement).hidden = !stats.deterministic;
    this.#showRates(rates);
    this.#showLatency("ttft", stats.ttft_ms);
    this.#showLatency("itl", stats.itl_ms);
  }

  /** @param {"slots" | "pages"} what @param {number} used @param {number} total */
  #showUse(what, used, total) {
    setText(what, `${whole.format(used)} / ${whole.format(total)}`);
    byId(`${what}-used`, HTMLProgressElement).value = used / Math.max(1, total);
  }

  /** @param {"states" | "host-states"} what @param {number} used @param {number} total */
  #showKept(what, used, total) {
    setText(what, `${whole.format(used)} / ${whole.format(total)}`);
    byId(`${what}-figure`, HTMLElement).hidden = total === 0;
  }

  /** @param {Stats} stats */
  #showState({ status, message = "", progress }) {
    if (status === "ok") this.#state("ok", "Ready", null);
    else {
      const share = typeof progress === "number" ? ` ${whole.format(progress * 100)} %` : "";
      this.#state(status, `${status[0]?.toUpperCase()}${status.slice(1)}${share}`, message, progress);
    }
  }

  /** @param {Rates} rates */
  #showRates({ generated, prefilled, steps, prefillRows, prefillTokens, decodes }) {
    setText("generated", whole.format(generated));
    setText("prefilled", whole.format(prefilled));
    setText("step", steps === 0 ? "–" : tenths.format(prefillTokens + decodes));
    const prefills = `prefills ${tenths.format(prefillRows)}, their tokens ${tenths.format(prefillTokens)}`;
    const composition = `${whole.format(steps)} steps/s; mean step: decodes ${tenths.format(decodes)}, ${prefills}`;
    setText("composition", steps === 0 ? "No step in the last second" : composition);
    this.#charts.generated.add([generated]);
    this.#charts.prefilled.add([prefilled]);
    this.#charts.step.add([decodes, prefillTokens]);
  }

  /** @param {string} id @param {Percentiles | null} latency */
  #showLatency(id, latency) {
    const cells = byId(id, HTMLElement).querySelectorAll("td");
    const values = latency === null ? [] : [latency.p50, latency.p90, latency.p99];
    for (const [i, cell] of cells.entries()) {
      const value = values[i];
      cell.textContent = value === undefined ? "–" : short.format(value);
    }
  }

  /**
   * @param {string} state
   * @param {string} label
   * @param {string | null} notice shown above the transcript; null = none
   * @param {number | null} [progress]
   */
  #state(state, label, notice, progress = null) {
    byId("engine-state", HTMLElement).dataset.state = state;
    setText("engine-state", label);
    byId("notice", HTMLElement).hidden = notice === null;
    setText("notice-text", notice ?? "");
    const bar = byId("notice-progress", HTMLProgressElement);
    bar.hidden = progress === null;
    bar.value = progress ?? 0;
  }
}
