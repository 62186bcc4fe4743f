/**
 * One picture over another, with a slider between them: the element of compare.html.
 *
 * A side is { source, tag, alt }, or null if it is not there: then the other is shown alone, without the slider.
 */
function comparison(frame) {
  const slider = frame.querySelector("input");
  const sides = [frame.querySelector(".before"), frame.querySelector(".after")];
  let latest = 0, touchedAt = null; // where a finger came down that may be about to scroll the page

  function move(percent) {
    slider.value = percent;
    frame.style.setProperty("--at", `${slider.value}%`);
    const [before, after] = sides.map((side) => side.querySelector(".tag").textContent);
    slider.setAttribute("aria-valuetext", `left ${slider.value} %: ${before}, right ${100 - slider.value} %: ${after}`);
  }

  function drag(event) {
    const box = frame.getBoundingClientRect();
    move((100 * (event.clientX - box.left)) / box.width);
  }

  // Decoded before it replaces what is shown, so that large pictures neither flicker nor block the page.
  async function decoded(side) {
    if (!side) return null;
    const image = new Image();
    image.src = side.source;
    await image.decode().catch(() => {});
    return image.naturalWidth ? image : null;
  }

  /** Show two pictures. Returns which of them this browser can show, or null if others were to be shown meanwhile. */
  async function show(before, after) {
    const mine = ++latest, wanted = [before, after];
    const images = await Promise.all(wanted.map(decoded));
    if (mine !== latest) return null;
    const first = images.find(Boolean);
    frame.hidden = !first;
    images.forEach((image, i) => {
      sides[i].hidden = !image;
      if (!image) return;
      image.alt = wanted[i].alt;
      image.classList.toggle("small", image.naturalWidth < 200);
      image.draggable = false;
      sides[i].querySelector("img").replaceWith(image);
      sides[i].querySelector(".tag").textContent = wanted[i].tag;
    });
    if (first) frame.style.setProperty("--ratio", first.naturalWidth / first.naturalHeight);
    const both = images.every(Boolean);
    if (!both) move(images[0] ? 100 : 0);
    else if (frame.classList.contains("alone")) move(50);
    else move(slider.value);
    frame.classList.toggle("alone", !both);
    return images.map(Boolean);
  }

  slider.addEventListener("input", () => move(slider.value));
  // By pointer events and not by the slider's own: some browsers only move it if its thumb is touched.
  frame.addEventListener("pointerdown", (event) => {
    if (frame.classList.contains("alone") || event.button) return;
    frame.setPointerCapture(event.pointerId);
    touchedAt = event.pointerType === "touch" ? event.clientX : null;
    if (touchedAt === null) drag(event);
    slider.focus({ preventScroll: true });
    event.preventDefault();
  });
  frame.addEventListener("pointermove", (event) => {
    if (touchedAt !== null && Math.abs(event.clientX - touchedAt) > 6) touchedAt = null;
    if (touchedAt === null && frame.hasPointerCapture(event.pointerId)) drag(event);
  });
  frame.addEventListener("pointerup", (event) => { if (frame.hasPointerCapture(event.pointerId)) drag(event); });
  return { show };
}
