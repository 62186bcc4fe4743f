// Line charts as SVG, with what the rest of the page needs to make elements and to write numbers.

const MOST_POINTS = 300;
const count = new Intl.NumberFormat("en");
const short = (value) => (value === null || value === undefined ? "none" : Number(value.toPrecision(3)).toString());

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function svg(tag, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Means of parts of equal length, so that no more points are drawn than can be told apart.
function thinned(points) {
  const size = Math.ceil(points.length / MOST_POINTS);
  if (size < 2) return points;
  const means = [];
  for (let i = 0; i < points.length; i += size) {
    const part = points.slice(i, i + size);
    means.push([part.at(-1)[0], part.reduce((sum, point) => sum + point[1], 0) / part.length]);
  }
  return means;
}

// Means of all points before, with weights that fall by half every fortieth of them, and at least every two points.
function smoothed(points) {
  const keep = 0.5 ** (1 / Math.max(2, points.length / 40));
  let mean = 0, weight = 0;
  return points.map(([x, y]) => {
    mean = keep * mean + (1 - keep) * y;
    weight = keep * weight + (1 - keep);
    return [x, mean / weight];
  });
}

function ticks(low, high, wanted) {
  const raw = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= raw) * power;
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high + step * 1e-6; i++) found.push(i * step);
  return found;
}

class Chart {
  constructor(title) {
    this.title = title;
    this.legend = element("p", { class: "legend" });
    this.figure = svg("svg", { role: "img" });
    this.node = element("div", { class: "chart" }, element("h3", {}, title), this.figure, this.legend);
    this.cursor = null;
    this.figure.addEventListener("pointermove", (event) => { this.cursor = event.offsetX; this.draw(); });
    this.figure.addEventListener("pointerleave", () => { this.cursor = null; this.draw(); });
  }

  // Lines are { label, colour, points: [[x, y], ...] }, with a point at least; `end` is the largest x of all charts.
  show(lines, end) {
    Object.assign(this, { lines, end });
    this.draw();
  }

  draw() {
    const width = this.figure.clientWidth, height = this.figure.clientHeight;
    if (!width) return; // in a closed group
    const ys = this.lines.flatMap((line) => line.points.map((point) => point[1]));
    const left = 44, right = width - 8, top = 8, bottom = height - 20;
    let [low, high] = [Math.min(...ys), Math.max(...ys)];
    if (high - low <= 1e-9 * Math.abs(high)) [low, high] = [low - (Math.abs(low) || 1) / 10, high + (Math.abs(high) || 1) / 10];
    const x = (value) => left + (value / this.end) * (right - left);
    const y = (value) => bottom - ((value - low) / (high - low)) * (bottom - top);
    const parts = [];
    for (const tick of ticks(low, high, 4)) {
      parts.push(svg("line", { class: "axis", x1: left, x2: right, y1: y(tick), y2: y(tick) }));
      parts.push(svg("text", { x: left - 5, y: y(tick) + 4, "text-anchor": "end" }, short(tick)));
    }
    for (const tick of ticks(0, this.end, Math.max(2, width / 60))) {
      const anchor = tick === 0 ? "start" : x(tick) > right - 20 ? "end" : "middle";
      parts.push(svg("text", { x: x(tick), y: height - 5, "text-anchor": anchor }, count.format(tick)));
    }
    for (const { points, colour } of this.lines) {
      const corners = points.map((point) => `${x(point[0]).toFixed(1)} ${y(point[1]).toFixed(1)}`);
      if (points.length > 1) parts.push(svg("path", { class: colour, d: `M${corners.join("L")}` }));
      if (points.length <= 20) for (const [a, b] of points) parts.push(svg("circle", { class: colour, cx: x(a), cy: y(b), r: 2.5 }));
    }
    let where = "", values = this.lines.map((line) => line.points.at(-1));
    if (this.cursor !== null) {
      const wanted = ((this.cursor - left) / (right - left)) * this.end, distance = (point) => Math.abs(point[0] - wanted);
      values = this.lines.map((line) => line.points.reduce((best, point) => (distance(point) < distance(best) ? point : best)));
      where = `at ${count.format(values[0][0])} images`;
      parts.push(svg("line", { class: "cross", x1: x(values[0][0]), x2: x(values[0][0]), y1: top, y2: bottom }));
    }
    const legend = this.lines.map((line, i) => `${line.label} ${short(values[i][1])}`);
    this.figure.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.figure.setAttribute("aria-label", `${this.title}, between ${short(low)} and ${short(high)}; ${where || "newest"}: ${legend.join(", ")}`);
    this.figure.replaceChildren(...parts);
    this.legend.replaceChildren(...this.lines.map((line, i) => element("span", { class: line.colour }, legend[i])), where);
  }
}
