const POLL_MS = 2000, PLAY_MS = 400, MOST_LINES = 200, KEPT_GRIDS = 60;
const HIDDEN = /^(progress\/|perf\/eta_s|data\/bad_samples)/;
const COLOURS = { running: "good", finished: "good", starting: "good", stalled: "bad", failed: "bad", killed: "bad", unreadable: "bad" };
const at = (id) => document.getElementById(id);

function chosenRun() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch { // an address that was typed, with a % in it
    return location.hash.slice(1);
  }
}

const run = { name: chosenRun(), offset: 0, images: 0, series: new Map(), grids: [], lines: [] };
const images = new Map(); // of grids, object URLs by the number of images
let shown = -1, follows = true, playing = 0, charts = new Map(), changed = true;

// Status

function showStatus(overview) {
  document.title = `${overview.state}: ${overview.name}`;
  at("name").textContent = overview.name;
  const state = at("state");
  state.hidden = false;
  state.textContent = overview.state;
  state.className = `state ${COLOURS[overview.state] ?? ""}`;
  const total = overview.total ? ` of ${count.format(overview.total)}` : "";
  const [a, b] = overview.domains; // their names, if they have any
  const parts = [overview.method, a ? `A is ${a}, B is ${b}` : "", `${count.format(overview.images)}${total} images`];
  if (overview.images_per_s) parts.push(`${short(overview.images_per_s)} images/s`);
  if (overview.left) parts.push(`${overview.left} left`);
  if (overview.best) parts.push(`best ${overview.best[0]} ${overview.best[1].toPrecision(4)} (${overview.best_snapshot})`);
  parts.push(overview.size);
  if (overview.updated) parts.push(`last record ${new Date(1000 * overview.updated).toLocaleString()}`);
  const text = parts.filter(Boolean).join(" · ");
  if (at("progress").textContent !== text) at("progress").textContent = text;
  at("bar").hidden = !overview.total;
  at("bar").value = overview.total ? overview.images / overview.total : 0;
  at("reason").hidden = !overview.reason;
  at("reason").textContent = overview.reason;
}

function showRuns(overviews) {
  at("runs").hidden = overviews.length < 2;
  const rows = overviews.map((one) => {
    const link = element("a", { href: `#${encodeURIComponent(one.name)}` }, one.name);
    const state = element("span", { class: `state ${COLOURS[one.state] ?? ""}` }, one.state);
    const total = one.total ? ` of ${count.format(one.total)}` : "";
    const best = one.best ? `${one.best[0]} ${one.best[1].toPrecision(4)}` : "";
    const row = element("tr", one.name === run.name ? { "aria-current": "true" } : {}, element("td", {}, link), element("td", {}, state), element("td", {}, one.method));
    row.append(element("td", { class: "number" }, count.format(one.images) + total));
    row.append(element("td", { class: "number" }, one.images_per_s ? short(one.images_per_s) : ""));
    row.append(element("td", { class: "number" }, one.left), element("td", {}, best), element("td", { class: "number" }, one.size));
    return row;
  });
  const body = document.querySelector("#runs tbody");
  const focused = body.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  body.replaceChildren(...rows);
  if (focused) [...body.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
}

// Grids

async function loadGrid(nimg) {
  if (!images.has(nimg)) {
    const answer = await fetch(`grid?${new URLSearchParams({ run: run.name, nimg })}`);
    if (!answer.ok) throw new Error((await answer.json()).error);
    images.set(nimg, URL.createObjectURL(await answer.blob()));
    for (const [old, url] of images) {
      if (images.size <= KEPT_GRIDS) break;
      if (old === nimg) continue;
      URL.revokeObjectURL(url);
      images.delete(old);
    }
  }
  return images.get(nimg);
}

async function showGrid(index) {
  const nimg = run.grids[index], text = `after ${count.format(nimg)} images`, name = run.name;
  shown = index;
  at("slider").value = index;
  at("slider").setAttribute("aria-valuetext", `${text}, grid ${index + 1} of ${run.grids.length}`);
  try {
    const url = await loadGrid(nimg);
    if (run.name !== name || run.grids[shown] !== nimg) return; // another has been asked for meanwhile
    at("grid").src = url;
    at("grid").alt = `Grid of samples ${text}: a column for each image, with inputs, translations and reconstructions`;
    at("full").href = url;
    at("caption").textContent = `${text} (${index + 1} of ${run.grids.length})`;
  } catch (error) {
    at("caption").textContent = `${text}: ${error.message}`;
  }
}

function showGrids() {
  at("grids").hidden = run.grids.length === 0;
  if (!run.grids.length) return;
  at("slider").max = run.grids.length - 1;
  if (follows && shown !== run.grids.length - 1) showGrid(run.grids.length - 1);
}

function follow(value) {
  follows = value;
  at("newest").setAttribute("aria-pressed", String(value));
}

function play(value) {
  clearInterval(playing);
  playing = value ? setInterval(() => showGrid((shown + 1) % run.grids.length), PLAY_MS) : 0;
  at("play").textContent = value ? "Pause" : "Play";
  at("play").setAttribute("aria-pressed", String(value));
}

at("slider").addEventListener("input", () => {
  play(false);
  follow(at("slider").valueAsNumber === run.grids.length - 1);
  showGrid(at("slider").valueAsNumber);
});
at("newest").addEventListener("click", () => {
  play(false);
  follow(true);
  showGrid(run.grids.length - 1);
});
at("play").addEventListener("click", () => {
  follow(false);
  play(!playing);
});

// Curves: one chart for what differs in the domain or the direction only

function splitName(name) {
  const found = /^(.*?)_(AB|BA|A|B)$/.exec(name);
  return found ? [`${found[1]} ${found[2].length === 2 ? "AB, BA" : "A, B"}`, found[2]] : [name, ""];
}

const GROUPS = ["Losses", "Evaluation of snapshots", "Speed and learning rates"];
const groups = GROUPS.map((name) => element("details", name === GROUPS[2] ? {} : { open: "" }, element("summary", {}, name), element("div")));
at("charts").append(...groups);

function groupOf(title) {
  return title.startsWith("loss/") ? 0 : /^(perf|lr|data)\//.test(title) ? 2 : 1;
}

function drawCurves() {
  for (const [title, chart] of charts) {
    const smooth = at("smooth").checked && groupOf(title) === 0;
    const lines = chart.names.map((name) => {
      const suffix = splitName(name)[1], points = thinned(run.series.get(name));
      const colour = suffix.startsWith("A") ? "a" : suffix ? "b" : "other";
      return { label: suffix || name.split("/").pop(), points: smooth ? smoothed(points) : points, colour };
    });
    chart.show(lines, Math.max(1, run.images));
  }
}

function showCurves(overview) {
  const titles = new Map();
  for (const name of run.series.keys()) {
    const [title] = splitName(name);
    titles.set(title, [...(titles.get(title) ?? []), name]);
  }
  at("curves").hidden = titles.size === 0;
  const best = overview.best?.[0], before = charts;
  const isBest = (title) => Boolean(best) && title.startsWith(best); // snapshots are compared by it: it comes first
  charts = new Map();
  for (const title of [...titles.keys()].sort((one, other) => isBest(other) - isBest(one))) {
    const chart = before.get(title) ?? new Chart(title);
    chart.names = titles.get(title).sort();
    charts.set(title, chart);
  }
  groups.forEach((group, number) => {
    const nodes = [...charts].filter(([title]) => groupOf(title) === number).map(([, chart]) => chart.node);
    group.hidden = nodes.length === 0;
    const parent = group.lastElementChild;
    const isSame = nodes.length === parent.children.length && nodes.every((node, i) => node === parent.children[i]);
    if (!isSame) parent.replaceChildren(...nodes);
  });
  drawCurves();
}

at("smooth").addEventListener("change", drawCurves);
new ResizeObserver(() => charts.forEach((chart) => chart.draw())).observe(at("charts")); // also when a group is opened

// Log

function showLog() {
  at("log").hidden = run.lines.length === 0;
  const pre = document.querySelector("#log pre");
  const text = run.lines.map(([time, line]) => `${new Date(1000 * time).toLocaleTimeString("en-GB")}  ${line}`).join("\n");
  if (pre.textContent === text) return;
  const atEnd = pre.scrollTop + pre.clientHeight > pre.scrollHeight - 20;
  pre.textContent = text;
  if (atEnd) pre.scrollTop = pre.scrollHeight;
}

// What the server has, again and again

function reset(name) {
  for (const url of images.values()) URL.revokeObjectURL(url);
  images.clear();
  play(false);
  follow(true);
  shown = -1;
  changed = true;
  Object.assign(run, { name, offset: 0, images: 0, series: new Map(), grids: [], lines: [] });
}

function take(answer) {
  if (answer.run !== run.name || answer.from !== run.offset) reset(answer.run);
  if (answer.from !== run.offset) return; // the journal has been replaced
  run.offset = answer.offset;
  changed ||= answer.points.length > 0;
  run.images = Math.max(run.images, ...answer.points.map(([nimg]) => nimg));
  for (const [nimg, values] of answer.points) {
    for (const [name, value] of Object.entries(values)) {
      if (value === null || HIDDEN.test(name)) continue;
      if (!run.series.has(name)) run.series.set(name, []);
      run.series.get(name).push([nimg, value]);
    }
  }
  run.grids.push(...answer.grids);
  run.lines = [...run.lines, ...answer.lines].slice(-MOST_LINES);
}

async function poll() {
  const asked = run.name;
  const answer = await fetch(`state?${new URLSearchParams({ run: run.name, offset: run.offset })}`);
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error);
  if (run.name !== asked) return true; // another run has been chosen meanwhile
  at("network").textContent = "";
  const overview = body.runs.find((one) => one.name === body.run);
  if (!overview) {
    at("progress").textContent = "There are no runs yet.";
    return false;
  }
  if (body.points) take(body);
  else if (run.name !== body.run) reset(body.run);
  showStatus(overview);
  showRuns(body.runs);
  if (body.more) return true;
  showGrids();
  if (changed) showCurves(overview);
  changed = false;
  showLog();
  return false;
}

let timer = 0;
async function loop() {
  clearTimeout(timer);
  let again = false;
  try {
    if (!document.hidden) again = await poll();
  } catch (error) {
    const isNetwork = error instanceof TypeError;
    at("network").textContent = isNetwork ? "The server does not answer. Trying again …" : error.message;
  }
  clearTimeout(timer);
  timer = setTimeout(loop, again ? 0 : POLL_MS);
}

addEventListener("hashchange", () => {
  reset(chosenRun());
  loop();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) loop(); });
loop();
