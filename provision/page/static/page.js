// Puts new parts in the place of old ones as they come, says times in the reader's zone, and draws series.
// Whatever comes is HTML that the server made of escaped text; the Content-Security-Policy lets no script stand in it.
"use strict";

const say = (text, gone) => {
  const line = document.getElementById("line");
  if (line.textContent !== text) line.textContent = text;
  line.classList.toggle("gone", Boolean(gone));
};

const zone = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const dress = (within) => {
  for (const each of within.querySelectorAll("time[datetime]")) each.textContent = zone.format(new Date(each.dateTime));
  for (const each of within.querySelectorAll("[data-chart]")) draw(each);
};

// --- Series ---------------------------------------------------------------------------------------------------------
const charts = new Map();
const colour = (number) => getComputedStyle(document.documentElement).getPropertyValue(`--lane-${number % 3}`).trim();
const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function draw(place) {
  if (typeof uPlot === "undefined") return;
  const told = JSON.parse(place.dataset.chart);
  const names = [...new Set(told.lines.map((line) => line.lane))];
  const series = told.lines.map((line) => ({
    label: line.name,
    stroke: colour(names.indexOf(line.lane)),
    width: 2,
    dash: [[], [6, 4], [2, 3]][(names.indexOf(line.lane) + (line.name.endsWith("p95") ? 1 : 0)) % 3],
    points: { show: true, size: 4 },
    value: (_, value) => (value == null ? "–" : `${Number(value.toPrecision(3))} ${told.unit}`),
  }));
  const data = [told.at, ...told.lines.map((line) => line.values)];
  if (told.limit != null) {
    series.push({ label: told.says, stroke: ink("--bad"), width: 1, dash: [8, 3], points: { show: false } });
    data.push(told.at.map(() => told.limit));
  }
  const axis = { stroke: ink("--dim"), grid: { stroke: ink("--line"), width: 1 }, ticks: { stroke: ink("--line") } };
  const made = new uPlot({
    width: Math.max(place.clientWidth, 200), height: 170, scales: { y: { range: (_, low, high) => [Math.min(0, low ?? 0), (high || 1) * 1.1] } },
    axes: [{ ...axis }, { ...axis, size: 56 }], series: [{}, ...series],
  }, data, place);
  charts.set(place, made);
}
addEventListener("resize", () => {
  for (const [place, made] of charts) {
    if (place.isConnected) made.setSize({ width: Math.max(place.clientWidth, 200), height: 170 });
  }
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const [place, made] of [...charts]) {
    made.destroy();
    draw(place);
  }
});

// --- Parts ----------------------------------------------------------------------------------------------------------
const FRESH_MS = 1200;
function replace(id, html) {
  const made = document.createElement("template");
  made.innerHTML = html;
  const part = made.content.firstElementChild;
  const old = document.getElementById(id);
  if (!part) return null;
  const scrolled = old ? [...old.querySelectorAll(".scrolled")].map((each) => each.scrollLeft) : [];
  const focused = old && old.contains(document.activeElement) && document.activeElement;
  const focusable = "a, button, [tabindex]";
  const number = focused ? [...old.querySelectorAll(focusable)].indexOf(focused) : -1;
  if (old) {
    old.replaceWith(part);
    part.classList.add("fresh");
    setTimeout(() => part.classList.remove("fresh"), FRESH_MS);
  }
  dress(part);
  for (const place of charts.keys()) if (!place.isConnected && !part.contains(place)) charts.delete(place);
  [...part.querySelectorAll(".scrolled")].forEach((each, at) => { each.scrollLeft = scrolled[at] || 0; });
  if (number >= 0) [...part.querySelectorAll(focusable)][number]?.focus({ preventScroll: true });
  return part;
}

function take(message) {
  const made = new Map(Object.entries(message.html).map(([id, html]) => [id, replace(id, html)]));
  for (const region of message.order ? document.querySelectorAll("[data-region]") : []) {
    const order = message.order[region.dataset.region] || [];
    const wanted = new Set(order);
    for (const each of [...region.children]) if (!wanted.has(each.id)) each.remove();
    order.forEach((id, at) => {
      const part = document.getElementById(id) || made.get(id);
      if (part && region.children[at] !== part) {
        region.insertBefore(part, region.children[at] || null);
        // A curve is as wide as its place, which it has only now.
        for (const each of part.querySelectorAll("[data-chart]")) charts.get(each)?.setSize({ width: Math.max(each.clientWidth, 200), height: 170 });
      }
    });
  }
  document.body.dataset.version = message.version;
  find();
}

// A browser keeps six connections to one place: a page that nobody sees gives its own back.
function follow(address, heard) {
  let source = null;
  const open = () => {
    source = new EventSource(address());
    source.onopen = () => say("live");
    source.onmessage = (event) => heard(JSON.parse(event.data));
    source.onerror = () => {
      say("no answer: has deploy ui ended?", true);
      if (source.readyState === EventSource.CLOSED) setTimeout(() => { if (!document.hidden) open(); }, 5000);
    };
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) source?.close();
    else if (!source || source.readyState === EventSource.CLOSED) open();
  });
  if (!document.hidden) open();
}

// --- Search ---------------------------------------------------------------------------------------------------------
const box = document.getElementById("find");
function find() {
  if (!box) return;
  const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  const all = document.querySelectorAll("[data-find]");
  for (const each of all) {
    const text = words.length ? each.textContent.toLowerCase() : "";
    each.hidden = !words.every((word) => text.includes(word));
    shown += each.hidden ? 0 : 1;
  }
  document.getElementById("found").textContent = words.length ? `${shown} of ${all.length}` : "";
}
box?.addEventListener("input", find);
box?.form.addEventListener("submit", (event) => event.preventDefault());
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.closest("input, select")) return;
  event.preventDefault();
  (box || document.getElementById("filter"))?.focus();
});

// --- Logs -----------------------------------------------------------------------------------------------------------
const MOST_LINES = 5000;
function logs(log) {
  const filter = document.getElementById("filter");
  const stay = document.getElementById("follow");
  let last = 0;
  const judge = (line) => { line.hidden = !line.textContent.toLowerCase().includes(filter.value.toLowerCase()); };
  follow(() => log.dataset.lines, (lines) => {
    for (const [number, host, service, text] of lines) {
      if (number && number <= last) continue;
      last = Math.max(last, number);
      const line = document.createElement("div");
      const whose = document.createElement("b");
      whose.textContent = [host, service].filter(Boolean).join(" ");
      line.append(whose, whose.textContent ? " " : "", text);
      judge(line);
      log.append(line);
    }
    while (log.childElementCount > MOST_LINES) log.firstElementChild.remove();
    if (stay.checked) log.scrollTop = log.scrollHeight;
  });
  filter.addEventListener("input", () => { for (const each of log.children) judge(each); });
  document.getElementById("copy").addEventListener("click", async () => {
    const text = [...log.children].filter((each) => !each.hidden).map((each) => each.textContent).join("\n");
    await navigator.clipboard.writeText(text);
    say("copied");
  });
}

dress(document);
if (document.body.dataset.live) follow(() => `${document.body.dataset.live}?since=${document.body.dataset.version}`, take);
const log = document.querySelector("[data-lines]");
if (log) logs(log);
