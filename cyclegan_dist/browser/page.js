"use strict";
const element = (id) => document.getElementById(id);
const main = document.querySelector("main"), multiple = Number(main.dataset.multiple);
const input = element("input"), output = element("translation"), video = element("video");
const sessions = new Map(); // of models that have been loaded, by file name
let picture = null, camera = null, backend = null, busy = false, again = false;
let last = Promise.resolve(); // translation: a model computes one at a time

function report(text, bad = false) {
  const status = element("status");
  status.setAttribute("role", bad ? "alert" : "status");
  status.classList.toggle("bad", bad);
  status.textContent = text;
}

function script(source) {
  return new Promise((resolve, reject) => {
    const tag = document.createElement("script");
    tag.src = source;
    tag.onload = resolve;
    tag.onerror = () => reject(new Error(`${source} cannot be loaded.`));
    document.head.append(tag);
  });
}

function bytesFromDisk(name) {
  return Uint8Array.from(atob(globalThis.filesFromDisk[name]), (character) => character.charCodeAt(0));
}

async function withGpu() {
  if (location.protocol === "file:" || !navigator.gpu) return false;
  const adapter = await navigator.gpu.requestAdapter().catch(() => null);
  return Boolean(adapter) && !adapter.info?.isFallbackAdapter; // a GPU in software is slower than WebAssembly
}

/** Load the runtime: with WebGPU where the browser has it. A page from disk has all files in a script. */
async function loadRuntime() {
  backend = (await withGpu()) ? "webgpu" : "wasm";
  await script(`ort.${backend}.min.js`);
  if (location.protocol === "file:") {
    await script("from_disk.js");
    const module = new Blob([bytesFromDisk("ort-wasm-simd-threaded.mjs")], { type: "text/javascript" });
    ort.env.wasm.wasmPaths = { mjs: URL.createObjectURL(module) };
    ort.env.wasm.wasmBinary = bytesFromDisk("ort-wasm-simd-threaded.wasm");
  } else {
    ort.env.wasm.wasmPaths = new URL(".", location.href).href;
  }
  ort.env.wasm.numThreads = globalThis.crossOriginIsolated ? navigator.hardwareConcurrency : 1;
  const threads = ort.env.wasm.numThreads === 1 ? "1 thread" : `${ort.env.wasm.numThreads} threads`;
  element("backend").textContent = backend === "webgpu" ? "WebGPU" : `WebAssembly, ${threads}`;
}

async function session(name) {
  if (!sessions.has(name)) {
    const model = location.protocol === "file:" ? bytesFromDisk(name) : name;
    sessions.set(name, ort.InferenceSession.create(model, { executionProviders: [...new Set([backend, "wasm"])] }));
  }
  return sessions.get(name);
}

/** Pixels to add to a side, as in Python: up to a multiple, and two cells at the coarsest scale. */
function padding(side) {
  return Math.max(multiple === 4 ? 2 * multiple : multiple, Math.ceil(side / multiple) * multiple) - side;
}

/** RGBA pixels as a tensor in [-1, 1], padded at the right and below by reflection, or by the edge if too small. */
function tensorOf({ data, width, height }, channels) {
  const right = padding(width), down = padding(height), reflect = right < width && down < height;
  const inside = (i, side) => (i < side ? i : reflect ? 2 * side - 2 - i : side - 1);
  const wide = width + right, high = height + down, plane = wide * high;
  const values = new Float32Array(channels * plane);
  for (let y = 0; y < high; y++) {
    for (let x = 0; x < wide; x++) {
      const from = 4 * (inside(y, height) * width + inside(x, width)), to = y * wide + x;
      const [r, g, b] = [data[from], data[from + 1], data[from + 2]];
      const bytes = channels === 3 ? [r, g, b] : [(19595 * r + 38470 * g + 7471 * b + 32768) >> 16];
      for (let c = 0; c < channels; c++) values[c * plane + to] = bytes[c] / 127.5 - 1;
    }
  }
  return new ort.Tensor("float32", values, [1, channels, high, wide]);
}

/** The upper left width x height pixels of a tensor. Uint8ClampedArray rounds half to even, as Python does. */
function pixelsOf({ data, dims }, width, height) {
  const [, channels, high, wide] = dims, plane = high * wide, pixels = new ImageData(width, height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const to = 4 * (y * width + x), from = y * wide + x;
      for (let c = 0; c < 3; c++) pixels.data[to + c] = (data[(channels === 3 ? c : 0) * plane + from] + 1) * 127.5;
      pixels.data[to + 3] = 255;
    }
  }
  return pixels;
}

function draw(source, width, height) {
  const scale = Math.min(1, Number(element("side").value) / Math.max(width, height));
  input.width = Math.max(1, Math.round(width * scale));
  input.height = Math.max(1, Math.round(height * scale));
  const context = input.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white"; // behind transparency
  context.fillRect(0, 0, input.width, input.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, input.width, input.height);
  return context.getImageData(0, 0, input.width, input.height);
}

function translate(source, width, height) {
  last = last.catch(() => {}).then(() => translateNow(source, width, height));
  return last;
}

async function translateNow(source, width, height) {
  const chosen = document.querySelector("input[name=direction]:checked");
  const loaded = await session(chosen.value);
  const pixels = draw(source, width, height);
  const began = performance.now();
  const results = await loaded.run({ [loaded.inputNames[0]]: tensorOf(pixels, Number(chosen.dataset.channels)) });
  const made = pixelsOf(results[loaded.outputNames[0]], pixels.width, pixels.height);
  const milliseconds = performance.now() - began;
  output.width = pixels.width;
  output.height = pixels.height;
  output.getContext("2d").putImageData(made, 0, 0);
  for (const canvas of [input, output]) canvas.classList.toggle("small", Math.max(pixels.width, pixels.height) < 256);
  input.setAttribute("aria-label", `Input: ${picture ? picture.name : "camera"}`);
  output.setAttribute("aria-label", "Translation");
  element("size").textContent = `${pixels.width} × ${pixels.height}`;
  element("time").textContent = `${milliseconds.toFixed(0)} ms`;
  element("save").disabled = false;
  return milliseconds;
}

/** Translate the chosen picture; once more if another was chosen meanwhile. */
async function update() {
  if (camera || !picture) return;
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  try {
    do {
      again = false;
      report(`Translating ${picture.name} …`);
      await new Promise((resolve) => setTimeout(resolve)); // so that the line is seen
      const milliseconds = await translate(picture.bitmap, picture.bitmap.width, picture.bitmap.height);
      report(`Translated ${picture.name} in ${milliseconds.toFixed(0)} ms.`);
    } while (again);
  } catch (error) {
    report(`This picture could not be translated: ${error.message}`, true);
  } finally {
    busy = false;
  }
}

async function choose(file) {
  if (!file) return;
  stopCamera();
  try {
    picture = { name: file.name, bitmap: await createImageBitmap(file) };
  } catch {
    report(`${file.name} is no picture that this browser can read.`, true);
    return;
  }
  await update();
}

function stopCamera() {
  if (!camera) return;
  for (const track of camera.getTracks()) track.stop();
  camera = null;
  video.srcObject = null;
  const button = element("camera");
  button.textContent = "Use the camera";
  button.setAttribute("aria-pressed", "false");
}

async function startCamera() {
  const button = element("camera");
  button.disabled = true; // until the permission is given
  try {
    if (!navigator.mediaDevices) throw new Error("open the page over https or from localhost");
    camera = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    picture = null;
    video.srcObject = camera;
    await video.play();
    button.disabled = false;
    button.focus();
    button.textContent = "Stop the camera";
    button.setAttribute("aria-pressed", "true");
    report("Translating what the camera sees …");
    let smooth = 0;
    while (camera) {
      const milliseconds = await translate(video, video.videoWidth, video.videoHeight);
      smooth = smooth ? 0.8 * smooth + 0.2 * milliseconds : milliseconds;
      element("time").textContent = `${smooth.toFixed(0)} ms, ${(1000 / smooth).toFixed(1)} images/s`;
      await new Promise(requestAnimationFrame);
    }
    if (!picture) report("The camera is off.");
  } catch (error) {
    stopCamera();
    button.disabled = false;
    report(`The camera cannot be used: ${error.message}`, true);
  }
}

function save() {
  output.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = "translation.png";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

element("file").addEventListener("change", (event) => choose(event.target.files[0]));
element("camera").addEventListener("click", () => (camera ? stopCamera() : startCamera()));
element("save").addEventListener("click", save);
element("side").addEventListener("change", update);
for (const radio of document.querySelectorAll("input[name=direction]")) radio.addEventListener("change", update);
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", () => document.body.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  choose(event.dataTransfer.files[0]);
});
for (const canvas of [input, output]) canvas.getContext("2d", { willReadFrequently: true });

loadRuntime()
  .then(() => session(document.querySelector("input[name=direction]:checked").value))
  .then(() => {
    if (!picture && !camera) report("Ready: choose a picture.");
  })
  .catch((error) => report(`The model cannot be loaded: ${error.message}`, true));
