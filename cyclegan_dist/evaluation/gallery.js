const dialog = document.querySelector("dialog"), sides = document.getElementById("sides");
const compare = comparison(dialog.querySelector(".compare"));
const rows = [...document.querySelectorAll("figure")];
let shown = 0, kind = "translation"; // of the picture on the right

const links = (row) => [...row.querySelectorAll("a")];
const nameOf = (row) => row.querySelector("figcaption").textContent;
const chosen = (row) => links(row).find((link) => link.dataset.kind === kind);

/** The first picture of a row, the input, beside the one of the chosen kind. */
function compareSides(row) {
  const [input] = links(row), other = chosen(row);
  compare.show(...[input, other].map((link) => {
    const tag = link.dataset.label;
    return { source: link.href, tag, alt: `${nameOf(row)}, ${tag}` };
  }));
}

function show(number) {
  shown = (number + rows.length) % rows.length;
  const row = rows[shown], others = links(row).slice(1);
  if (!chosen(row)) kind = others[0].dataset.kind;
  const { title } = row.closest(".rows").dataset;
  document.getElementById("name").textContent = `${nameOf(row)}, ${title} (${shown + 1} of ${rows.length})`;
  sides.replaceChildren(sides.firstElementChild, ...others.map((link) => {
    const choice = document.createElement("label"), radio = document.createElement("input");
    radio.type = "radio";
    radio.name = "side";
    radio.checked = link.dataset.kind === kind;
    radio.addEventListener("change", () => {
      kind = link.dataset.kind;
      compareSides(row);
    });
    choice.append(radio, link.dataset.label);
    return choice;
  }));
  compareSides(row);
}

for (const [i, row] of rows.entries()) {
  for (const [j, link] of links(row).entries()) {
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return; // a new tab or window, as with any link
      event.preventDefault();
      if (j) kind = link.dataset.kind;
      show(i);
      dialog.showModal();
    });
  }
}
document.getElementById("next").addEventListener("click", () => show(shown + 1));
document.getElementById("previous").addEventListener("click", () => show(shown - 1));
document.getElementById("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => chosen(rows[shown]).focus());
// The slider and the choice have arrow keys of their own.
dialog.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step || event.target.matches("input") || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  show(shown + step);
});
