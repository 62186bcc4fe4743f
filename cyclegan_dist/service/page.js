const byId = (id) => document.getElementById(id);
const main = document.querySelector("main"), maxBytes = Number(main.dataset.maxBytes);
const line = document.querySelector("#status p"), busy = document.querySelector(".busy"), blank = byId("blank");
const drop = document.querySelector(".drop"), link = byId("download");
const compare = comparison(document.querySelector(".compare"));
const KEPT = 40; // results of this session
const SIDE = 208; // pixels of a small picture, twice what it takes on most screens
const entries = []; // results, newest first, with the URLs of their pictures
let shown = null, files = [], running = null;

function report(text, error = "") {
  line.textContent = text;
  byId("error").textContent = error;
}

/** The chosen direction: { value, from, to, label }. */
function chosen() {
  const radio = document.querySelector("input[name=direction]:checked");
  return { value: radio.value, ...radio.dataset, label: radio.labels[0].textContent };
}

/** The answer of an endpoint. */
async function ask(path, body, type, signal) {
  const options = { method: "POST", headers: { "Content-Type": type, ...authorization() }, body, signal };
  const answer = await fetch(path, options).catch((error) => {
    throw signal.aborted ? error : new Error("the service does not answer: it may have been stopped");
  });
  if (answer.ok) return answer;
  const { error } = await answer.json().catch(() => ({ error: `the service answered ${answer.status}` }));
  if (answer.status === 401 && unlock) { // it has expired, or was revoked
    askForToken(sentence(error));
    running?.abort();
    report("");
  }
  throw new Error(error);
}

/** Let a task run with its signs: the moving bar, the seconds, the button that cancels. Only the newest one has them. */
async function working(text, task) {
  running?.abort();
  const mine = running = new AbortController(), began = performance.now();
  const seconds = () => ((performance.now() - began) / 1000);
  report(text);
  const timer = setInterval(() => { if (running === mine) byId("elapsed").textContent = `${seconds().toFixed(0)} s`; }, 1000);
  busy.hidden = byId("cancel").hidden = false;
  try {
    await task(mine.signal, seconds);
  } catch (error) {
    if (mine.signal.aborted) return;
    report("", error.message);
    await showEntry(shown);
  } finally {
    clearInterval(timer);
    if (running === mine) {
      running = null;
      if (document.activeElement === byId("cancel")) byId("file").focus();
      busy.hidden = byId("cancel").hidden = true;
      byId("elapsed").textContent = "";
    }
  }
}

/** Show pictures, or in words that the browser cannot. */
async function showPictures(before, after) {
  drop.hidden = true;
  const can = await compare.show(before, after);
  if (!can) return;
  blank.hidden = can[0] || can[1];
  const saved = after ? ": download its translation" : "";
  blank.textContent = `This browser cannot show this kind of file${saved}.`;
}

async function showEntry(entry) {
  shown = entry;
  byId("result").hidden = !entry;
  for (const one of entries) one.button.toggleAttribute("aria-current", one === entry);
  if (!entry) {
    drop.hidden = false;
    blank.hidden = true;
    await compare.show(null, null);
    return;
  }
  const { way, file } = entry;
  const translated = document.querySelector("input[name=view]"); // of models of two directions only
  if (translated && !entry.reconstruction) translated.checked = true;
  const view = document.querySelector("input[name=view]:checked")?.value ?? "translation";
  const source = entry[view];
  link.href = source;
  link.download = `${file.name.replace(/\.[^.]*$/, "")}-${view === "translation" ? way.value : "reconstruction"}.${entry.ending}`;
  const input = { source: entry.source, tag: `Input: ${way.from}`, alt: `Input, ${way.from}` };
  const domain = view === "translation" ? way.to : way.from, name = view === "translation" ? "Translation" : "Reconstruction";
  await showPictures(input, { source, tag: `${name}: ${domain}`, alt: `${name}, ${domain}` });
}

/** Translate a file. A file and a direction that have been translated are shown again. */
async function translate(file, way, signal) {
  const past = entries.find((entry) => entry.file === file && entry.way.value === way.value);
  if (past) return select(past);
  if (file.size > maxBytes) throw new Error(`the file exceeds the limit of ${maxBytes / 1e6} megabytes: reduce the image`);
  const source = URL.createObjectURL(file);
  byId("result").hidden = true;
  showPictures({ source, tag: `Input: ${way.from}`, alt: `Input, ${way.from}` }, null);
  try {
    const answer = await ask(`translate?direction=${way.value}`, file, "application/octet-stream", signal);
    const made = await answer.blob();
    const ending = { "image/png": "png", "image/jpeg": "jpg" }[made.type] ?? "npy";
    const translation = URL.createObjectURL(made);
    const model = answer.headers.get("X-Model"); // null: of services that do not name it
    const entry = { file, way, source, translation, reconstruction: null, ending, made, model };
    remember(entry);
    await showEntry(entry);
  } catch (error) {
    URL.revokeObjectURL(source);
    throw error;
  }
}

function select(entry) {
  files = [entry.file];
  document.querySelector(`input[name=direction][value=${entry.way.value}]`).checked = true;
  report(`${entry.file.name}, ${entry.way.label}`);
  return showEntry(entry);
}

function translateAll() {
  const way = chosen(), mine = files;
  const of = (i) => (mine.length > 1 ? ` (${i + 1} of ${mine.length})` : "");
  return working(`Translating ${mine[0].name}${of(0)}, ${way.label} …`, async (signal, seconds) => {
    const failures = [];
    for (const [i, file] of mine.entries()) {
      if (i) line.textContent = `Translating ${file.name}${of(i)}, ${way.label} …`;
      try {
        await translate(file, way, signal);
      } catch (error) {
        if (signal.aborted) throw error;
        failures.push(`${file.name}: ${error.message}`);
      }
    }
    const made = mine.length - failures.length;
    const what = mine.length > 1 ? `${made} of ${mine.length} pictures` : mine[0].name;
    const by = made && shown.model ? ` by ${shown.model}` : "";
    report(made ? `Translated ${what}, ${way.label}, in ${seconds().toFixed(1)} s${by}.` : "", failures.join("; "));
    if (failures.length) await showEntry(shown);
  });
}

/** The reconstruction of the result that is shown; its input is sent again, which is often smaller than the translation. */
async function reconstruct() {
  const entry = shown, { file, way } = entry;
  if (entry.reconstruction) return showEntry(entry);
  await working(`Translating ${file.name} there and back …`, async (signal, seconds) => {
    const body = JSON.stringify({ image: await asText(file), direction: way.value, reconstruction: true });
    const answer = await (await ask("v1/translate", body, "application/json", signal)).json();
    const url = (text, type) => URL.createObjectURL(new Blob([bytesOf(text)], { type }));
    entry.reconstruction = url(answer.reconstruction, answer.reconstruction_media_type);
    if ((answer.model ?? null) !== entry.model) { // another one serves now: show what it made of the input
      URL.revokeObjectURL(entry.translation);
      entry.translation = url(answer.image, answer.media_type);
      entry.model = answer.model;
    }
    report(`Reconstructed ${file.name} in ${seconds().toFixed(1)} s.`);
    if (shown === entry) await showEntry(entry);
  });
}

function bytesOf(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text); // not in browsers from before September 2025
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function asText(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(new Error("the file cannot be read"));
    reader.readAsDataURL(blob);
  });
}

/** A button for a result: the input at its left, the translation at its right. */
function remember(entry) {
  const button = entry.button = document.createElement("button"), item = document.createElement("li");
  button.type = "button";
  button.className = "past";
  button.setAttribute("aria-label", `${entry.file.name}, ${entry.way.label}`);
  button.title = button.getAttribute("aria-label");
  button.append(entry.file.name);
  button.addEventListener("click", () => {
    running?.abort();
    select(entry);
  });
  item.append(button);
  document.querySelector("#history ul").prepend(item);
  byId("history").hidden = false;
  entries.unshift(entry);
  if (entries.length > KEPT) forget(entries.at(-1));
  drawSmall(entry);
}

async function drawSmall({ file, made, button }) {
  const size = { resizeHeight: SIDE, resizeQuality: "medium" };
  const halves = await Promise.all([file, made].map((blob) => createImageBitmap(blob, size).catch(() => null)));
  if (!halves[1]) return; // the button has the file's name
  const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
  canvas.width = canvas.height = SIDE;
  for (const [i, image] of [halves[0] ?? halves[1], halves[1]].entries()) {
    const wide = Math.max(SIDE, (image.width * SIDE) / image.height);
    const high = (wide * image.height) / image.width;
    context.save();
    context.beginPath();
    context.rect((i * SIDE) / 2 + i, 0, SIDE / 2, SIDE);
    context.clip();
    context.drawImage(image, (SIDE - wide) / 2, (SIDE - high) / 2, wide, high);
    context.restore();
  }
  button.replaceChildren(canvas);
}

function forget(entry) {
  entries.splice(entries.indexOf(entry), 1);
  entry.button.parentElement.remove();
  for (const url of [entry.source, entry.translation, entry.reconstruction]) if (url) URL.revokeObjectURL(url);
}

function take(list) {
  if (!list.length) return;
  files = [...list];
  if (main.classList.contains("locked")) return report("", "Give the token first: these pictures are translated then.");
  translateAll();
}

for (const input of document.querySelectorAll("input[type=file]")) {
  input.addEventListener("change", () => {
    take(input.files);
    input.value = "";
  });
}
for (const radio of document.querySelectorAll("input[name=direction]")) {
  radio.addEventListener("change", () => { if (files.length) translateAll(); });
}
for (const radio of document.querySelectorAll("input[name=view]")) {
  radio.addEventListener("change", () => (radio.value === "translation" ? showEntry(shown) : reconstruct()));
}
drop.addEventListener("click", () => byId("file").click()); // from the keyboard, the button above does the same
addEventListener("dragover", (event) => {
  event.preventDefault();
  main.classList.add("over");
});
addEventListener("dragleave", (event) => { if (!event.relatedTarget) main.classList.remove("over"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  main.classList.remove("over");
  if (event.dataTransfer.files.length) take(event.dataTransfer.files);
  else report("", "This is no file: drop an image file.");
});
addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) take(event.clipboardData.files);
  else report("", "The clipboard has no picture: copy one, and paste it here.");
});
addEventListener("submit", (event) => event.preventDefault());
byId("cancel").addEventListener("click", () => {
  running?.abort();
  report("Cancelled.");
  showEntry(shown);
});
byId("clear").addEventListener("click", () => {
  running?.abort();
  while (entries.length) forget(entries[0]);
  files = [];
  byId("history").hidden = true;
  report("");
  showEntry(null);
  byId("file").focus();
});
