const dialog = document.querySelector("dialog"), sides = document.getElementById("sides");
const compare = comparison(dialog.querySelector(".compare"));
const rows = [...document.querySelectorAll("figure")];
let shown = 0, label = "translation"; // the picture on the right

const links = (row) => [...row.querySelectorAll("a")];

/** The first picture of a row, the input, beside the one with the chosen label. */
function compareSides(row) {
  const [input, ...others] = links(row), other = others.find((link) => link.dataset.label === label);
  compare.show(...[input, other].map((link) => {
    const tag = link.dataset.label;
    return { source: link.href, tag, alt: `${row.dataset.name}, ${tag}` };
  }));
}

function choices(names) {
  const legend = sides.firstElementChild;
  sides.replaceChildren(legend, ...names.map((name) => {
    const choice = document.createElement("label"), radio = document.createElement("input");
    radio.type = "radio";
    radio.name = "side";
    radio.checked = name === label;
    radio.addEventListener("change", () => {
      label = name;
      compareSides(rows[shown]);
    });
    choice.append(radio, name);
    return choice;
  }));
}

function show(number) {
  shown = (number + rows.length) % rows.length;
  const row = rows[shown], names = links(row).slice(1).map((link) => link.dataset.label);
  if (!names.includes(label)) label = names[0];
  document.getElementById("name").textContent = `${row.dataset.name}, ${row.dataset.section} (${shown + 1} of ${rows.length})`;
  choices(names);
  compareSides(row);
}

for (const [i, row] of rows.entries()) {
  for (const [j, link] of links(row).entries()) {
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return; // a new tab or window, as with any link
      event.preventDefault();
      if (j) label = link.dataset.label;
      show(i);
      dialog.showModal();
    });
  }
}
document.getElementById("next").addEventListener("click", () => show(shown + 1));
document.getElementById("previous").addEventListener("click", () => show(shown - 1));
document.getElementById("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); }); // beside it
dialog.addEventListener("close", () => {
  links(rows[shown]).find((link) => link.dataset.label === label).focus();
});
// The slider and the choice have arrow keys of their own.
dialog.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step || event.target.matches("input") || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  show(shown + step);
});
