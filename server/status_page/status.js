// Asks for /status.json and /metrics every two seconds and shows what happened in between.
"use strict";

const ASK_MILLISECONDS = 2000;
const KEPT_ANSWERS = 90; // three minutes
const PARTS = { tables: "tables", scales: "scales", row_maps: "row maps", vocabulary: "dictionaries", network: "network" };
const MOVED = { score: 0.25, dense: 0.25, unknown_ids: 0.05 }; // the limits of the alert
const MOST_MOVED = 5;
const history = [];
let before = null;

const element = (name, text = "", className = "") => {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
};
const show = (id, ...children) => document.getElementById(id).replaceChildren(...children);

const number = (value, digits = 3) =>
  Number.isFinite(value) ? value.toLocaleString("en", { maximumSignificantDigits: Math.max(digits, String(Math.floor(Math.abs(value))).length) }) : "–";
const bytes = (value) => {
  if (!Number.isFinite(value)) return "–";
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; Math.abs(value) >= 1000 && unit < units.length - 1; unit++) value /= 1000;
  return `${number(value)} ${units[unit]}`;
};
const milliseconds = (seconds) => (Number.isFinite(seconds) ? `${number(seconds * 1000)} ms` : "–");
const since = (seconds) => {
  if (seconds < 120) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
};

// Prometheus' text: a list of {name, labels, value}.
function parseMetrics(text) {
  const samples = [];
  for (const line of text.split("\n")) {
    const match = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!match) continue;
    const labels = {};
    for (const [, label, value] of (match[2] || "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g))
      labels[label] = value.replace(/\\(.)/g, (_, escaped) => (escaped === "n" ? "\n" : escaped));
    samples.push({ name: match[1], labels, value: match[3] === "+Inf" ? Infinity : Number(match[3]) });
  }
  return samples;
}

// A look at the metrics: sums over labels, and the same since the look before.
class Look {
  constructor(samples, time) {
    this.samples = samples;
    this.time = time;
  }
  sum(name, wanted = {}) {
    let total = 0;
    for (const sample of this.samples)
      if (sample.name === name && Object.entries(wanted).every(([label, value]) => sample.labels[label] === value))
        total += sample.value;
    return total;
  }
  rate(earlier, name, wanted) {
    const seconds = (this.time - earlier.time) / 1000;
    return Math.max(0, this.sum(name, wanted) - earlier.sum(name, wanted)) / seconds;
  }
  // The share of a histogram's values since `earlier` that is at most so large, interpolated in its bucket.
  quantile(earlier, name, share, wanted = {}) {
    const bounds = new Map();
    for (const [look, sign] of [[this, 1], [earlier, -1]])
      for (const { name: found, labels, value } of look.samples)
        if (found === `${name}_bucket` && Object.entries(wanted).every(([label, is]) => labels[label] === is))
          bounds.set(labels.le, (bounds.get(labels.le) || 0) + sign * value);
    const buckets = [...bounds].map(([le, count]) => [le === "+Inf" ? Infinity : Number(le), count]).sort((a, b) => a[0] - b[0]);
    const total = buckets.length ? buckets[buckets.length - 1][1] : 0;
    if (!(total > 0)) return NaN;
    let lower = 0, below = 0;
    for (const [bound, count] of buckets) {
      if (count >= share * total)
        return bound === Infinity ? lower : lower + (bound - lower) * (share * total - below) / Math.max(count - below, 1e-9);
      lower = bound;
      below = count;
    }
    return lower;
  }
}

function showTiles(now, earlier) {
  const tiles = [];
  const tile = (term, value, note = "") => {
    const pair = element("div");
    const figure = element("dd", value);
    if (note) figure.append(" ", element("small", note));
    pair.append(element("dt", term), figure);
    tiles.push(pair);
  };
  const start = earlier || now;
  const rate = (name, wanted) => (earlier ? now.rate(earlier, name, wanted) : NaN);
  tile("Calls a second", number(rate("tablefold_calls_total")));
  tile("Rows a second", number(rate("tablefold_rows_total")));
  tile("Latency p50", milliseconds(now.quantile(start, "tablefold_call_seconds", 0.5)));
  tile("Latency p99", milliseconds(now.quantile(start, "tablefold_call_seconds", 0.99)));
  tile("Queue p50", milliseconds(now.quantile(start, "tablefold_queue_seconds", 0.5)));
  const batches = rate("tablefold_batch_rows_count");
  tile("Rows a batch", batches > 0 ? number(rate("tablefold_batch_rows_sum") / batches) : "–");
  tile("Rows that wait", number(now.sum("tablefold_queue_rows")));
  tile("Bytes in flight", bytes(now.sum("tablefold_inflight_bytes")), `of ${bytes(now.sum("tablefold_inflight_max_bytes"))}`);
  tile("Refused a second", number(rate("tablefold_refusals_total")));
  tile("Memory", bytes(now.sum("tablefold_process_proportional_bytes")));
  const gpu = now.sum("tablefold_gpu_total_bytes");
  const held = now.sum("tablefold_process_gpu_bytes");
  if (gpu) tile("GPU memory", held ? bytes(held) : "–", `${bytes(now.sum("tablefold_gpu_free_bytes"))} of ${bytes(gpu)} free`);
  show("tiles", ...tiles);
}

// What a version meets beside what it met in training; null where the manifest does not say.
function driftOf(version, now) {
  const mine = (name) => now.samples.filter((one) => one.name === name && one.labels.model === version.model && one.labels.version === version.version);
  const of = (name, feature) => (mine(name).find((one) => one.labels.feature === feature) || { value: NaN }).value;
  const indices = mine("tablefold_drift_psi").map(({ labels, value }) => ({ ...labels, value, share: value / MOVED[labels.of] }));
  if (!indices.length) return null;
  indices.sort((one, other) => other.share - one.share);
  const moved = indices.filter((one) => one.share > 1);
  const name = (one) => (one.of === "score" ? "scores" : one.of === "dense" ? `values of ${one.feature}` : `unknown ids of ${one.feature}`);
  if (!moved.length) return element("p", `as in training (moved most: ${name(indices[0])}, index ${number(indices[0].value, 2)})`, "soft drift");
  const list = element("ul", "", "drift");
  for (const one of moved.slice(0, MOST_MOVED)) {
    const share = of("tablefold_sampled_unknown_ids_total", one.feature) / of("tablefold_sampled_ids_total", one.feature);
    const then = of("tablefold_training_unknown_ids_ratio", one.feature);
    const shares = one.of === "unknown_ids" ? `: ${number(100 * share, 2)} % since the start, ${number(100 * then, 2)} % in training` : "";
    list.append(element("li", `${name(one)} moved since training, index ${number(one.value, 2)}${shares}`));
  }
  if (moved.length > MOST_MOVED) list.append(element("li", `and ${moved.length - MOST_MOVED} more`));
  return list;
}

// What a version takes of the GPU; null where there is none, or its driver does not tell.
function onGpu({ model, version }, now) {
  const sum = (name, wanted) => now.sum(name, { model, version, ...wanted });
  const peak = sum("tablefold_model_gpu_peak_bytes");
  if (!peak) return null;
  const [weights, work] = ["weights", "work"].map((part) => bytes(sum("tablefold_model_gpu_bytes", { part })));
  return element("p", `on the GPU: weights ${weights}, work memory ${work}, at most ${bytes(peak)} so far`, "soft gpu");
}

function showModels(status, now, earlier) {
  const largest = Math.max(1, ...status.versions.map((one) => (one.footprint ? one.footprint.baseline_fp32 : 0)));
  const cards = status.versions.map((one) => {
    const card = element("article", "", "model");
    const title = element("h3", one.version ? `${one.model} ${one.version}` : one.model);
    const good = one.state === "READY";
    title.append(element("span", one.state.toLowerCase(), `chip ${good ? "good" : one.state === "UNAVAILABLE" ? "bad" : ""}`));
    for (const label of one.labels) title.append(element("span", label, "chip"));
    if (one.default) title.append(element("span", "default", "chip"));
    card.append(title);
    if (one.reason) card.append(element("p", one.reason));
    if (!one.footprint) return card;
    const { parts, baseline_fp32: baseline } = one.footprint;
    const total = Object.values(parts).reduce((sum, size) => sum + size, 0);
    const rows = earlier ? `${number(now.rate(earlier, "tablefold_rows_total", { model: one.model }))} rows/s (all versions) · ` : "";
    card.append(element("p", `${rows}${one.method} · ${bytes(total)} in all; the uncompressed table alone takes ${bytes(baseline)}: ${number(baseline / total)} times as much`, "soft"));
    const bar = element("div", "", "bar");
    const legend = element("p", "", "soft legend");
    bar.setAttribute("role", "img");
    bar.setAttribute("aria-label", "bytes by part beside the uncompressed table");
    for (const [part, text] of Object.entries(PARTS)) {
      const piece = element("i", "", part);
      piece.style.width = `${(100 * parts[part]) / Math.max(total, baseline)}%`;
      if (parts[part]) bar.append(piece);
      const entry = element("span");
      entry.append(element("i", "", part), `${text} ${bytes(parts[part])}`);
      if (parts[part]) legend.append(entry);
    }
    card.append(bar, legend);
    const gpu = onGpu(one, now);
    if (gpu) card.append(gpu);
    const drift = driftOf(one, now);
    if (drift) card.append(drift);
    return card;
  });
  if (status.hidden) cards.push(element("p", `and ${number(status.hidden)} more versions`, "soft"));
  show("models", ...(cards.length ? cards : [element("p", "none", "soft")]));
}

function showRefusals(now, earlier) {
  const counted = now.samples.filter((sample) => sample.name === "tablefold_refusals_total" && sample.value > 0);
  if (!counted.length) return show("refusals", element("p", "none since the start", "soft"));
  const table = element("table");
  const line = (kind, ...texts) => {
    const row = element("tr");
    row.append(...texts.map((text) => element(kind, text)));
    table.append(row);
  };
  line("th", "Reason", "A second", "In all");
  for (const { labels, value } of counted.sort((a, b) => b.value - a.value))
    line("td", labels.reason.replaceAll("_", " "), earlier ? number(now.rate(earlier, "tablefold_refusals_total", labels)) : "–", number(value));
  return show("refusals", table);
}

function showChart(id, values, text) {
  const chart = document.getElementById(id);
  const highest = Math.max(1e-9, ...values.filter(Number.isFinite));
  const caption = highest > 1e-9 ? `at most ${text(highest)}` : "none";
  const make = (name, attributes, content = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.textContent = content;
    return made;
  };
  const width = chart.clientWidth || 300, height = 80;
  const points = values.map((value, index) => {
    const x = width - (values.length - 1 - index) * (width / (KEPT_ANSWERS - 1));
    return `${x.toFixed(1)},${(height - 2 - (height - 20) * ((Number.isFinite(value) ? value : 0) / highest)).toFixed(1)}`;
  });
  chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
  chart.setAttribute("aria-label", caption);
  chart.replaceChildren(make("text", { x: 0, y: 11 }, caption), make("polyline", { points: points.join(" ") }));
}

async function ask() {
  const state = document.getElementById("state");
  try {
    const [answer, metrics, ready] = await Promise.all([fetch("status.json"), fetch("metrics"), fetch("readyz")]);
    const now = new Look(parseMetrics(await metrics.text()), performance.now());
    const text = (await ready.text()).trim();
    state.textContent = text;
    state.className = `chip ${text === "ready" ? "good" : ""}`;
    if (answer.ok) {
      const status = await answer.json();
      const workers = now.sum("tablefold_workers") || 1;
      document.getElementById("version").textContent = status.tablefold;
      document.getElementById("server").textContent =
        `${status.device} · front ${status.front} · ${number(workers)} ${workers === 1 ? "process" : "processes"} · up ${since(Date.now() / 1000 - status.started)}`;
      showModels(status, now, before);
      showTiles(now, before);
    }
    showRefusals(now, before);
    if (before) {
      history.push({ calls: now.rate(before, "tablefold_calls_total"), p99: now.quantile(before, "tablefold_call_seconds", 0.99) });
      if (history.length > KEPT_ANSWERS) history.shift();
      showChart("calls-chart", history.map((one) => one.calls), number);
      showChart("latency-chart", history.map((one) => one.p99), milliseconds);
    }
    before = now;
  } catch (error) {
    state.textContent = "no answer";
    state.className = "chip bad";
  }
  setTimeout(ask, ASK_MILLISECONDS);
}
ask();
